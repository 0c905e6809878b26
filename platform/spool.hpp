// A file that has no name any more: what is left of a message when memory is short. It is gone when this process is.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>

#include <tl/expected.hpp>

namespace mailbridge::platform {

class SpoolFile {
 public:
  // Readable by its owner only.
  static tl::expected<SpoolFile, std::error_code> create(const std::string& directory);

  SpoolFile(SpoolFile&& other) noexcept;
  SpoolFile& operator=(SpoolFile&& other) noexcept;
  ~SpoolFile();

  // All of it, or an error.
  std::error_code write(std::string_view bytes, std::size_t at);
  std::error_code read(char* to, std::size_t size, std::size_t at) const;

 private:
  explicit SpoolFile(int descriptor) : descriptor_(descriptor) {}

  int descriptor_;  // -1: moved away
};

}  // namespace mailbridge::platform
