// A file without a name, for the part of a message that does not fit into memory. The file is gone when this object or the
// process ends.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>

#include <tl/expected.hpp>

namespace mailbridge::platform {

class SpoolFile {
 public:
  // Only its owner may read the file.
  static tl::expected<SpoolFile, std::error_code> create(const std::string& directory);

  SpoolFile(SpoolFile&& other) noexcept;
  SpoolFile& operator=(SpoolFile&& other) noexcept;
  ~SpoolFile();

  // Both transfer all bytes, or return an error.
  std::error_code write(std::string_view bytes, std::size_t at);
  std::error_code read(char* to, std::size_t size, std::size_t at) const;

 private:
  explicit SpoolFile(int descriptor) : descriptor_(descriptor) {}

  int descriptor_;  // -1: moved away
};

}  // namespace mailbridge::platform
