#include "net/log_lines.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <utility>

namespace mailbridge::net {
namespace {

constexpr int nap_ms = 10;

int priority_of(Level level) {
  switch (level) {
    case Level::debug:
      return LOG_DEBUG;
    case Level::info:
      return LOG_INFO;
    case Level::warn:
      return LOG_WARNING;
    case Level::error:
      break;
  }
  return LOG_ERR;
}

// RFC 3164 4.1, as syslog(3) writes it to the local socket: no host name. The NUL is for streams alone.
std::string record(Level level, const std::string& program, std::string_view line) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char time[32];
  const std::size_t n = std::strftime(time, sizeof time, "%b %e %H:%M:%S ", &local);
  std::string text = "<" + std::to_string(LOG_MAIL | priority_of(level)) + ">";
  text.append(time, n).append(program).append("[").append(std::to_string(getpid())).append("]: ").append(line);
  text += '\0';
  return text;
}

}  // namespace

ssize_t write_now(int descriptor, std::string_view bytes) noexcept {
  const ssize_t sent = send(descriptor, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent >= 0 || errno != ENOTSOCK) return sent;
  pollfd room{descriptor, POLLOUT, 0};
  if (poll(&room, 1, 0) == 1) return write(descriptor, bytes.data(), std::min<std::size_t>(bytes.size(), PIPE_BUF));
  errno = EAGAIN;
  return -1;
}

LogLines::LogLines(LogTarget target, std::string program, std::string socket)
    : target_(target), program_(std::move(program)), socket_(std::move(socket)) {}

LogLines::~LogLines() { disconnect(); }

void LogLines::use(LogTarget target, std::string program) noexcept {
  program_ = std::move(program);
  if (target == target_) return;
  target_ = target;
  disconnect();
  for (lost_ += kept_.size(); !kept_.empty();) drop_first();
}

void LogLines::write(Level level, std::string_view line) noexcept {
  try {
    line = line.substr(0, max_line);
    const bool flows = flush();
    if (!flows && (lost_ > 0 || kept_bytes_ + line.size() > max_kept)) {
      ++lost_;
      return;
    }
    keep(level, line);
    if (flows) flush();
  } catch (...) {  // no memory
    ++lost_;
  }
}

bool LogLines::flush() noexcept {
  try {
    while (!kept_.empty() || lost_ > 0) {
      if (kept_.empty()) {
        keep(Level::warn, std::to_string(lost_) + " lines were lost: the log could not be written");
        lost_ = 0;
      }
      const ssize_t n = offer(std::string_view(kept_.front()).substr(sent_));
      if (n < 0 && errno != EMSGSIZE) return false;
      if (n < 0) ++lost_;
      else sent_ += static_cast<std::size_t>(n);
      if (n < 0 || sent_ >= kept_.front().size()) drop_first();
    }
    return true;
  } catch (...) {  // no memory for the last word
    return false;
  }
}

bool LogLines::flush(Duration patience) noexcept {
  const TimePoint until = Clock::now() + patience;
  while (!flush()) {
    const int descriptor = target_ == LogTarget::syslog ? syslog_ : STDERR_FILENO;
    if (descriptor < 0 || Clock::now() >= until) return false;
    pollfd room{descriptor, POLLOUT, 0};
    if (poll(&room, 1, nap_ms) == 1 && (room.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) return false;
  }
  return true;
}

void LogLines::keep(Level level, std::string_view line) {
  kept_.push_back(target_ == LogTarget::syslog ? record(level, program_, line) : std::string(line) + "\n");
  kept_bytes_ += kept_.back().size();
}

void LogLines::drop_first() {
  kept_bytes_ -= kept_.front().size();
  kept_.pop_front();
  sent_ = 0;
}

// As write_now(). A connection that is of no use any more is made again, once: that is what a restart of syslogd looks like.
ssize_t LogLines::offer(std::string_view bytes) noexcept {
  if (target_ == LogTarget::stderr_stream) return write_now(STDERR_FILENO, bytes);
  for (int tries = 0; tries < 2; ++tries) {
    if (syslog_ < 0 && !connect()) break;
    const ssize_t n = send(syslog_, bytes.data(), bytes.size() - (is_stream_ ? 0 : 1), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) return is_stream_ ? n : n + 1;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM || errno == EINTR || errno == EMSGSIZE)
      return -1;
    disconnect();
  }
  errno = EAGAIN;
  return -1;
}

bool LogLines::connect() noexcept {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, socket_.c_str(), socket_.size() + 1);
  for (const int type : {SOCK_DGRAM, SOCK_STREAM}) {
    syslog_ = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    is_stream_ = type == SOCK_STREAM;
    if (syslog_ < 0) return false;
    if (::connect(syslog_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return true;
    const bool is_other_type = errno == EPROTOTYPE;
    disconnect();
    if (!is_other_type) return false;
  }
  return false;
}

void LogLines::disconnect() noexcept {
  if (syslog_ >= 0) close(std::exchange(syslog_, -1));
  sent_ = 0;
}

}  // namespace mailbridge::net
