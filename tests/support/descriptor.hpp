// What the peers in this folder and in bench/ share: a descriptor that closes itself, and listening sockets.
#pragma once

#include <unistd.h>

#include <string>
#include <utility>

namespace mailbridge::test {

class Descriptor {
 public:
  explicit Descriptor(int descriptor = -1) : descriptor_(descriptor) {}
  Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Descriptor() { close(); }

  int get() const { return descriptor_; }  // -1: closed
  void close() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }

 private:
  int descriptor_;
};

// Throws std::system_error with errno unless `good`.
void require(bool good, const char* what);

class Listener {
 public:
  enum class Kind { local, tcp };

  // A local socket lies in a directory of its own below TMPDIR, which is removed at the end; a TCP socket is on 127.0.0.1.
  explicit Listener(Kind kind, int backlog = 64);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int get() const { return descriptor_.get(); }
  const std::string& endpoint() const { return endpoint_; }  // "/path" or "127.0.0.1:port"
  // The next connection; -1 if accept4(2) fails. `flags` as SOCK_NONBLOCK.
  int accept(int flags = 0) const;
  void close() { descriptor_.close(); }

 private:
  Descriptor descriptor_;
  std::string directory_;
  std::string endpoint_;
};

}  // namespace mailbridge::test
