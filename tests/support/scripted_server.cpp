#include "tests/support/scripted_server.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <stdexcept>
#include <utility>

namespace mailbridge::test {
namespace {

constexpr int patience = 10'000;

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
    require(n >= 0, "the script cannot speak");
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

bool Peer::has(std::string_view end) const { return heard_.find(end, taken_) != std::string::npos; }

void Peer::wait_for_close() { hear_all(); }

void Peer::pause(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

ScriptedServer::ScriptedServer(Script script, Kind kind) : script_(std::move(script)), listener_(kind) {
  thread_ = std::thread([this] { serve(); });
}

ScriptedServer::~ScriptedServer() { finish(); }

std::string ScriptedServer::finish() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  listener_.close();
  return wrong_;
}

void ScriptedServer::serve() {
  for (;;) {
    const bool last = stop_;  // who has connected by then is served
    if (!wait(listener_.get(), POLLIN, last ? 0 : 20)) {
      if (last) return;
      continue;
    }
    const int fd = listener_.accept();
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
