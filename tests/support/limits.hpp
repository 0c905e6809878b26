// Less of something than this process had, for as long as one of these lives. A program started meanwhile inherits it.
#pragma once

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace mailbridge::test {

class SoftLimit {
 public:
  SoftLimit(__rlimit_resource resource, rlim_t value) : resource_(resource) {
    getrlimit(resource_, &before_);
    rlimit limit = before_;
    limit.rlim_cur = value;
    setrlimit(resource_, &limit);
  }
  ~SoftLimit() { setrlimit(resource_, &before_); }
  SoftLimit(const SoftLimit&) = delete;
  SoftLimit& operator=(const SoftLimit&) = delete;

 private:
  __rlimit_resource resource_;
  rlimit before_{};
};

// Descriptors are given from the lowest free number on.
inline rlim_t lowest_free_descriptor() {
  const int lowest = socket(AF_UNIX, SOCK_STREAM, 0);
  close(lowest);
  return static_cast<rlim_t>(lowest);
}

class NoDescriptors : public SoftLimit {
 public:
  NoDescriptors() : SoftLimit(RLIMIT_NOFILE, lowest_free_descriptor()) {}
};

}  // namespace mailbridge::test
