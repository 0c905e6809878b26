#include "platform/spool.hpp"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "platform/platform.hpp"

namespace mailbridge::platform {
namespace {

std::error_code last_error() { return {errno, std::generic_category()}; }

}  // namespace

tl::expected<SpoolFile, std::error_code> SpoolFile::create(const std::string& directory) {
  const auto descriptor = platform::nameless_file(directory);
  if (!descriptor) return tl::unexpected(descriptor.error());
  return SpoolFile(*descriptor);
}

SpoolFile::SpoolFile(SpoolFile&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

SpoolFile& SpoolFile::operator=(SpoolFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

SpoolFile::~SpoolFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

std::error_code SpoolFile::write(std::string_view bytes, std::size_t at) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return last_error();
    bytes.remove_prefix(static_cast<std::size_t>(n));
    at += static_cast<std::size_t>(n);
  }
  return {};
}

std::error_code SpoolFile::read(char* to, std::size_t size, std::size_t at) const {
  while (size > 0) {
    const ssize_t n = pread(descriptor_, to, size, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return last_error();
    if (n == 0) return std::make_error_code(std::errc::io_error);  // the file is shorter than what was written
    to += n;
    size -= static_cast<std::size_t>(n);
    at += static_cast<std::size_t>(n);
  }
  return {};
}

}  // namespace mailbridge::platform
