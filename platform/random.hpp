// Random bytes from the source of the system, by randombytes_buf of libsodium.
#pragma once

#include <sodium.h>

namespace mailbridge::platform {

// `Array` is an array of bytes, std::array for instance.
template <class Array>
Array random_bytes() {
  Array bytes;
  randombytes_buf(bytes.data(), bytes.size());
  return bytes;
}

}  // namespace mailbridge::platform
