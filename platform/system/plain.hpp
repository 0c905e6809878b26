// Implementations with POSIX.1-2008 alone, for the systems that have nothing better.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include <tl/expected.hpp>

namespace mailbridge::platform::plain {

inline tl::expected<int, std::error_code> nameless_file(const std::string& directory) {
  std::string path = directory + "/filter-mailbridge.XXXXXX";
  const int descriptor = mkstemp(path.data());
  if (descriptor < 0) return tl::unexpected(std::error_code(errno, std::generic_category()));
  fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  unlink(path.c_str());
  return descriptor;
}

inline int connect_outcome(int socket) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  if (error != 0) return error;
  sockaddr_storage peer{};
  size = sizeof peer;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size) == 0) return 0;
  return errno == ENOTCONN ? EALREADY : errno;
}

}  // namespace mailbridge::platform::plain
