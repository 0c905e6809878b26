#include "tests/support/descriptor.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace mailbridge::test {

void require(bool good, const char* what) {
  if (!good) throw std::system_error(errno, std::generic_category(), what);
}

Listener::Listener(Kind kind, int backlog)
    : descriptor_(socket(kind == Kind::local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  require(get() >= 0, "socket");
  if (kind == Kind::local) {
    const char* tmp = std::getenv("TMPDIR");
    std::string pattern = std::string(tmp ? tmp : "/tmp") + "/mb-XXXXXX";
    require(mkdtemp(pattern.data()) != nullptr, "mkdtemp");
    directory_ = pattern;
    endpoint_ = directory_ + "/lmtp";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, endpoint_.c_str(), endpoint_.size() + 1);
    require(bind(get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "bind");
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    require(bind(get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "bind");
    socklen_t size = sizeof address;
    getsockname(get(), reinterpret_cast<sockaddr*>(&address), &size);
    endpoint_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  require(listen(get(), backlog) == 0, "listen");
}

Listener::~Listener() {
  std::error_code nothing_to_remove;
  if (!directory_.empty()) std::filesystem::remove_all(directory_, nothing_to_remove);
}

int Listener::accept(int flags) const { return accept4(get(), nullptr, nullptr, SOCK_CLOEXEC | flags); }

}  // namespace mailbridge::test
