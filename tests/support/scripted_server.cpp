#include "tests/support/scripted_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace mailbridge::test {
namespace {

constexpr int patience = 10'000;

[[noreturn]] void fail_with_errno(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

bool wait(int fd, short events, int milliseconds) {
  pollfd poll_fd{fd, events, 0};
  return poll(&poll_fd, 1, milliseconds) > 0;
}

}  // namespace

void Peer::start_tls(const Certificate& certificate) {
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL knows no MSG_NOSIGNAL
  const timeval at_most{patience / 1000, 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &at_most, sizeof at_most);
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &at_most, sizeof at_most);
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_use_certificate(context, certificate.x509);
  SSL_CTX_use_PrivateKey(context, certificate.key);
  tls_.reset(SSL_new(context));
  SSL_CTX_free(context);
  SSL_set_fd(tls_.get(), fd_);
  if (SSL_accept(tls_.get()) != 1) throw std::runtime_error("no TLS handshake");
}

void Peer::say(std::string_view bytes) {
  if (tls_) {
    if (SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size())) <= 0)
      throw std::runtime_error("the script cannot speak in TLS");
    return;
  }
  while (!bytes.empty()) {
    if (!wait(fd_, POLLOUT, patience)) throw std::runtime_error("nobody reads what the script says");
    const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) fail_with_errno("the script cannot speak");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

bool Peer::fill() {
  char block[65536];
  if (tls_) {
    const int n = SSL_read(tls_.get(), block, sizeof block);
    if (n > 0) heard_.append(block, static_cast<std::size_t>(n));
    return n > 0;
  }
  if (!wait(fd_, POLLIN, patience)) throw std::runtime_error("the script waits in vain; it heard: " + heard_.substr(0, 500));
  const ssize_t n = recv(fd_, block, sizeof block, 0);
  if (n <= 0) return false;
  heard_.append(block, static_cast<std::size_t>(n));
  return true;
}

std::string Peer::hear_until(std::string_view end) {
  std::size_t searched = taken_;
  std::size_t at;
  while ((at = heard_.find(end, searched)) == std::string::npos) {
    searched = std::max(taken_, heard_.size() - std::min(heard_.size(), end.size()));
    if (!fill()) throw std::runtime_error("the other side closed; the script heard: " + heard_.substr(0, 500));
  }
  std::string part = heard_.substr(taken_, at + end.size() - taken_);
  taken_ = at + end.size();
  return part;
}

void Peer::skip_until(std::string_view end) {
  std::size_t at;
  while ((at = heard_.find(end, taken_)) == std::string::npos) {
    heard_.erase(taken_, heard_.size() - taken_ - std::min(heard_.size() - taken_, end.size() - 1));
    if (!fill()) throw std::runtime_error("the other side closed; the script heard: " + heard_.substr(0, 500));
  }
  heard_.erase(taken_, at + end.size() - taken_);
}

std::string Peer::hear_line() { return hear_until("\n"); }

std::string Peer::hear_all() {
  while (fill()) {
  }
  std::string part = heard_.substr(taken_);
  taken_ = heard_.size();
  return part;
}

void Peer::wait_for_close() { hear_all(); }

void Peer::pause(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

ScriptedServer::ScriptedServer(Script script, Kind kind) : script_(std::move(script)) {
  if (kind == Kind::local) {
    const char* tmp = std::getenv("TMPDIR");
    std::string pattern = std::string(tmp ? tmp : "/tmp") + "/mb-XXXXXX";
    if (!mkdtemp(pattern.data())) fail_with_errno("mkdtemp");
    directory_ = pattern;
    endpoint_ = directory_ + "/lmtp";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, endpoint_.c_str(), endpoint_.size() + 1);
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail_with_errno("bind");
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail_with_errno("bind");
    socklen_t size = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    endpoint_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  if (listen(listener_, 64) != 0) fail_with_errno("listen");
  thread_ = std::thread([this] { serve(); });
}

ScriptedServer::~ScriptedServer() {
  finish();
  if (!directory_.empty()) std::filesystem::remove_all(directory_);
}

std::string ScriptedServer::finish() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  if (listener_ >= 0) close(std::exchange(listener_, -1));
  return wrong_;
}

void ScriptedServer::serve() {
  for (;;) {
    const bool last = stop_;  // who has connected by then is served
    if (!wait(listener_, POLLIN, last ? 0 : 20)) {
      if (last) return;
      continue;
    }
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    Peer peer(fd);
    try {
      script_(peer);
    } catch (const std::exception& error) {
      if (wrong_.empty()) wrong_ = error.what();
    }
    heard_.push_back(peer.heard());
    close(fd);
  }
}

}  // namespace mailbridge::test
