#include "bench/rspamd.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace mailbridge::bench {
namespace {

constexpr int backlog = 4096;

}  // namespace

Rspamd::Rspamd(const std::string& verdict)
    : tcp_(test::Listener::Kind::tcp, backlog), local_(test::Listener::Kind::local, backlog) {
  reply_ = "HTTP/1.1 200 OK\r\nConnection: close\r\nServer: rspamd/3.4\r\nContent-Type: application/json\r\nContent-Length: " +
           std::to_string(verdict.size()) + "\r\n\r\n" + verdict;
  for (const test::Listener* listener : {&tcp_, &local_})
    test::require(fcntl(listener->get(), F_SETFL, fcntl(listener->get(), F_GETFL) | O_NONBLOCK) == 0, "fcntl");
}

void Rspamd::take(Clock::duration each, Clock::duration next) {
  each_ = each;
  next_ = std::max(each, next);
}

void Rspamd::add_to(std::vector<pollfd>& polls) const {
  polls.push_back({tcp_.get(), POLLIN, 0});
  polls.push_back({local_.get(), POLLIN, 0});
  for (const auto& [descriptor, talk] : talks_) {
    if (!talk.complete) polls.push_back({descriptor, POLLIN, 0});
  }
}

void Rspamd::on_readable(int descriptor) {
  if (descriptor == tcp_.get()) return accept_all(tcp_);
  if (descriptor == local_.get()) return accept_all(local_);
  const auto found = talks_.find(descriptor);
  if (found == talks_.end()) return;
  Talk& talk = found->second;
  const auto bytes = read_some(descriptor);
  if (!bytes) {
    if (talk.received > 0 || !talk.head.empty()) fail("the filter closed its connection to rspamd in the middle of a request");
    talks_.erase(found);
    return;
  }
  receive(talk, *bytes);
  if (talk.complete) due_.emplace(Clock::now() + std::exchange(next_, each_), descriptor);
}

std::optional<Clock::time_point> Rspamd::next_answer() const {
  return due_.empty() ? std::nullopt : std::optional(due_.begin()->first);
}

void Rspamd::answer() {
  while (!due_.empty() && due_.begin()->first <= Clock::now()) {
    const int descriptor = due_.begin()->second;
    due_.erase(due_.begin());
    // 4 kB into the empty buffer of a fresh socket: it all goes.
    test::require(write(descriptor, reply_.data(), reply_.size()) == static_cast<ssize_t>(reply_.size()), "answering as rspamd");
    talks_.erase(descriptor);
  }
}

void Rspamd::accept_all(const test::Listener& listener) {
  for (;;) {
    test::Descriptor descriptor(listener.accept(SOCK_NONBLOCK));
    if (descriptor.get() < 0) return;
    const int key = descriptor.get();
    talks_.emplace(key, Talk{std::move(descriptor), {}});
  }
}

void Rspamd::receive(Talk& talk, std::string_view bytes) {
  if (talk.in_body) {
    talk.received += bytes.size();
  } else {
    talk.head += bytes;
    const std::size_t end = talk.head.find("\r\n\r\n");
    if (end == std::string::npos) return;
    constexpr std::string_view name = "\r\nContent-Length: ";
    const std::size_t at = talk.head.find(name);
    if (!talk.head.starts_with("POST /checkv2 HTTP/1.1\r\n") || at > end)
      fail("no request rspamd would understand: " + talk.head);
    talk.expected = std::strtoul(talk.head.c_str() + at + name.size(), nullptr, 10);
    talk.received = talk.head.size() - end - 4;
    talk.in_body = true;
  }
  if (talk.received > talk.expected) fail("more than Content-Length says");
  talk.complete = talk.received == talk.expected;
}

}  // namespace mailbridge::bench
