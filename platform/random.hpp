// Chance from the system's source (randombytes_buf of libsodium, which knows that of each system).
#pragma once

#include <sodium.h>

namespace mailbridge::platform {

// `Array`: of bytes, std::array for instance.
template <class Array>
Array random_bytes() {
  Array bytes;
  randombytes_buf(bytes.data(), bytes.size());
  return bytes;
}

}  // namespace mailbridge::platform
