#include "bench/io.hpp"

#include <unistd.h>

#include <cerrno>

namespace mailbridge::bench {

std::optional<std::string_view> read_some(int descriptor) {
  static char buffer[io_size];
  const ssize_t n = read(descriptor, buffer, sizeof buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return std::string_view();
  if (n <= 0) return std::nullopt;
  return std::string_view(buffer, static_cast<std::size_t>(n));
}

}  // namespace mailbridge::bench
