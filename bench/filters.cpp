// Plays smtpd (protocol 0.6, as Debian 12's) and rspamd around one filter at a time and measures the filter alone: its CPU time,
// its memory, and the mails that went through per second. Each mail is its own session, as most mail is; several are in flight,
// their lines interleaved. A wrong, doubled or missing answer, or a mail that came back altered, ends the run.
//
//   bench-filters [--smoke] [--rounds N] REPLY.json NAME=COMMAND…
//
// In a command @RSPAMD@ stands for the address of the rspamd played here. The first filter is the floor, the second the one that
// is judged, and the last its peer.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

constexpr int silence_ms = 60'000;  // a filter that says nothing for so long has failed
constexpr std::size_t io_size = 64 * 1024;
constexpr std::size_t turn = 16 * 1024;  // what one session may write before the next has its turn
constexpr auto drip_pause = std::chrono::milliseconds(5);

using Clock = std::chrono::steady_clock;

// For poll(2): until `due`, if that comes before the filter has been silent for too long.
int wait_ms(Clock::time_point due) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now()).count();
  return static_cast<int>(std::clamp<decltype(left)>(left, 0, silence_ms));
}

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }
void check(bool good, const char* what) {
  if (!good) fail(std::string(what) + ": " + std::strerror(errno));
}
void set_non_blocking(int fd) { check(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0, "fcntl"); }

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { close(); }
  int get() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

// What is there to be read, up to `io_size`; nothing at the end of the stream.
std::optional<std::string_view> read_some(int fd) {
  static char buffer[io_size];
  const ssize_t n = read(fd, buffer, sizeof buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return std::string_view();
  if (n <= 0) return std::nullopt;
  return std::string_view(buffer, static_cast<std::size_t>(n));
}

// A mail as smtpd hands it over: lines without line ends, its own Received field first.
std::vector<std::string> make_mail(std::size_t size) {
  std::vector<std::string> lines = {
      "Received: from mx.example.net (mx.example.net [192.0.2.25])",
      "\tby mail.example.org (OpenSMTPD) with ESMTP id 0123abcd",
      "\tfor <b@example.org>;",
      "\tSun, 1 Jun 2025 10:00:00 +0000 (UTC)",
      "From: A Sender <a@example.net>",
      "To: <b@example.org>",
      "Subject: What is measured",
      "Date: Sun, 1 Jun 2025 09:59:58 +0000",
      "Message-ID: <1@example.net>",
      "MIME-Version: 1.0",
      "Content-Type: text/plain; charset=us-ascii",
      "",
      ".a line that wants one more dot",
      "",
  };
  std::size_t bytes = 0;
  for (const auto& line : lines) bytes += line.size() + 2;
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::uint32_t random = 1;
  while (bytes < size) {
    std::string line(76, ' ');  // as base64 has it, RFC 2045 6.8
    for (char& c : line) {
      random = random * 1664525 + 1013904223;
      c = alphabet[random >> 26];
    }
    bytes += line.size() + 2;
    lines.push_back(std::move(line));
  }
  return lines;
}

// One that comes a byte at a time: each byte a line, for smtpd passes on whole lines.
std::vector<std::string> make_drip(std::size_t lines) {
  std::vector<std::string> mail = make_mail(0);
  mail.insert(mail.end(), lines, "x");
  return mail;
}

// rspamd, as far as a filter can tell: every POST is answered with the same verdict, some time after its body is there.
class Rspamd {
 public:
  explicit Rspamd(const std::string& verdict)
      : listener_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)),
        local_(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    reply_ = "HTTP/1.1 200 OK\r\nConnection: close\r\nServer: rspamd/3.4\r\nContent-Type: application/json\r\nContent-Length: " +
             std::to_string(verdict.size()) + "\r\n\r\n" + verdict;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    check(bind(listener_.get(), generic, size) == 0 && listen(listener_.get(), 4096) == 0, "listen");
    check(getsockname(listener_.get(), generic, &size) == 0, "getsockname");
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    sockaddr_un path{};
    path.sun_family = AF_UNIX;
    std::snprintf(path.sun_path, sizeof path.sun_path, "/tmp/bench-filters.%d", static_cast<int>(getpid()));
    unlink(path.sun_path);
    check(bind(local_.get(), reinterpret_cast<sockaddr*>(&path), sizeof path) == 0 && listen(local_.get(), 4096) == 0, "listen");
    path_ = path.sun_path;
  }
  ~Rspamd() { unlink(path_.c_str()); }
  Rspamd(const Rspamd&) = delete;
  Rspamd& operator=(const Rspamd&) = delete;

  const std::string& url() const { return url_; }
  std::string local_url() const { return "unix:" + path_; }

  // How long every scan takes, and the next one.
  void take(Clock::duration each, Clock::duration next) {
    each_ = each;
    next_ = std::max(each, next);
  }

  void add_to(std::vector<pollfd>& polls) const {
    polls.push_back({listener_.get(), POLLIN, 0});
    polls.push_back({local_.get(), POLLIN, 0});
    for (const auto& [fd, talk] : talks_) {
      if (!talk.complete) polls.push_back({fd, POLLIN, 0});
    }
  }

  void on_readable(int fd) {
    if (fd == listener_.get() || fd == local_.get()) return accept_all(fd);
    const auto found = talks_.find(fd);
    if (found == talks_.end()) return;
    Talk& talk = found->second;
    const auto bytes = read_some(fd);
    if (!bytes) {
      if (talk.received > 0 || !talk.head.empty()) fail("the filter closed its connection to rspamd in the middle of a request");
      talks_.erase(found);
      return;
    }
    receive(talk, *bytes);
    if (talk.complete) due_.emplace(Clock::now() + std::exchange(next_, each_), fd);
  }

  std::optional<Clock::time_point> next_answer() const {
    return due_.empty() ? std::nullopt : std::optional(due_.begin()->first);
  }

  void answer() {
    while (!due_.empty() && due_.begin()->first <= Clock::now()) {
      const int fd = due_.begin()->second;
      due_.erase(due_.begin());
      // 4 kB into the empty buffer of a fresh socket: it all goes.
      check(write(fd, reply_.data(), reply_.size()) == static_cast<ssize_t>(reply_.size()), "answering as rspamd");
      talks_.erase(fd);
    }
  }

 private:
  struct Talk {
    Fd fd;
    std::string head;
    std::size_t expected = 0;
    std::size_t received = 0;
    bool in_body = false;
    bool complete = false;
  };

  void accept_all(int listener) {
    for (;;) {
      Fd fd(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd.get() < 0) return;
      const int key = fd.get();
      talks_.emplace(key, Talk{std::move(fd), {}});
    }
  }

  static void receive(Talk& talk, std::string_view bytes) {
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

  Fd listener_, local_;
  std::string url_, path_;
  std::string reply_;
  Clock::duration each_{}, next_{};
  std::multimap<Clock::time_point, int> due_;
  std::unordered_map<int, Talk> talks_;
};

struct Usage {
  double cpu_us;
  long peak_kb;
  long now_kb;
};

// The filter's process, with one stream socket as standard input and output and another for what it logs, as smtpd starts it.
class Process {
 public:
  explicit Process(const std::string& command) {
    int talk[2], log[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, talk) == 0 &&
              socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, log) == 0,
          "socketpair");
    protocol_ = Fd(talk[0]);
    log_ = Fd(log[0]);
    const Fd theirs(talk[1]), their_log(log[1]);
    const std::string line = "exec " + command;
    pid_ = fork();
    check(pid_ >= 0, "fork");
    if (pid_ == 0) {
      dup2(theirs.get(), 0);
      dup2(theirs.get(), 1);
      dup2(their_log.get(), 2);
      execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      _exit(127);
    }
    set_non_blocking(protocol_.get());
    set_non_blocking(log_.get());
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  int protocol() const { return protocol_.get(); }
  int log() const { return log_.get(); }
  void log_closed() { log_.close(); }

  Usage usage() const {
    clockid_t clock{};
    timespec cpu{};
    // All threads of the process, user and system, those that ended included.
    check(clock_getcpuclockid(pid_, &clock) == 0 && clock_gettime(clock, &cpu) == 0, "CPU clock of the filter");
    std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
    Usage usage{static_cast<double>(cpu.tv_sec) * 1e6 + static_cast<double>(cpu.tv_nsec) / 1e3, 0, 0};
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmHWM:")) usage.peak_kb = std::strtol(line.c_str() + 6, nullptr, 10);
      if (line.starts_with("VmRSS:")) usage.now_kb = std::strtol(line.c_str() + 6, nullptr, 10);
    }
    return usage;
  }

  // smtpd's way to end a filter is to close its end.
  void end() {
    protocol_.close();
    for (int tries = 0; tries < 500; ++tries) {
      int status = 0;
      if (waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        return;
      }
      usleep(10'000);
    }
    fail("the filter did not end within 5 s of the end of its input");
  }

 private:
  Fd protocol_;
  Fd log_;
  pid_t pid_ = 0;
};

// smtpd: leads sessions through one mail each and judges what comes back.
class Smtpd {
 public:
  Smtpd(Process& filter, Rspamd& rspamd) : filter_(filter), rspamd_(rspamd) {
    out_ =
        "config|smtpd-version|6.8.0p2\nconfig|smtp-session-timeout|300\nconfig|subsystem|smtp-in\nconfig|admd|mail.example.org\n"
        "config|ready\n";
    run_until([this] { return ready_; });
    if (!phases_.contains("data-line") || !phases_.contains("commit"))
      fail("a filter that registers neither data-line nor commit");
  }

  // The milliseconds each mail took, from its client's connection to its end.
  std::vector<double> deliver(const std::vector<std::string>& mail, std::size_t count, std::size_t in_flight) {
    took_ms_.clear();
    std::size_t begun = 0;
    run_until([&] {
      for (; begun < count && begun - took_ms_.size() < in_flight; ++begun) begin(mail, stages().size());
      return took_ms_.size() == count;
    });
    return std::exchange(took_ms_, {});
  }

  // Clients that have said EHLO and nothing more.
  void open_idle(std::size_t count) {
    const auto first_mail =
        std::find_if(stages().begin(), stages().end(), [](const Stage& stage) { return stage.fields.starts_with("|MAIL"); });
    for (std::size_t i = 0; i < count; ++i) begin(no_mail_, static_cast<std::size_t>(first_mail - stages().begin()));
    run_until([&] { return idle_ == count && out_from_ == out_.size(); });
  }

  // A client that sends a line of one byte now and then, beside all that is delivered, until finish_drip().
  void begin_drip(const std::vector<std::string>& mail) {
    begin(mail, stages().size(), true);
    run_until([&] { return drip_.has_value(); });
    next_drip_ = Clock::now();
  }
  void finish_drip() {
    senders_.push_back(*std::exchange(drip_, std::nullopt));
    took_ms_.clear();
    run_until([&] { return took_ms_.size() == 1; });
  }

 private:
  struct Stage {
    bool asks;  // a request of that phase, or a report of that event
    std::string name;
    std::string fields;
  };
  struct Session {
    std::string id;
    const std::vector<std::string>* mail;
    std::size_t last;  // the stage to stop before
    bool drips;
    Clock::time_point begun;
    std::size_t next = 0;  // of stages()
    std::string awaited;   // the phase that was asked about
    std::string sending;   // data-lines not yet written
    std::size_t sent = 0;
    std::vector<std::string> returned;
  };

  static const std::vector<Stage>& stages() {
    static const std::vector<Stage> all = {
        {false, "link-connect", "|mx.example.net|pass|192.0.2.25:40321|198.51.100.1:25"},
        {true, "connect", "mx.example.net|192.0.2.25"},
        {false, "protocol-server", "|220 mail.example.org ESMTP OpenSMTPD"},
        {false, "link-greeting", "|mail.example.org"},
        {false, "protocol-client", "|EHLO mx.example.net"},
        {true, "ehlo", "mx.example.net"},
        {false, "link-identify", "|EHLO|mx.example.net"},
        {false, "protocol-server", "|250-mail.example.org Hello mx.example.net [192.0.2.25], pleased to meet you"},
        {false, "protocol-server", "|250-8BITMIME"},
        {false, "protocol-server", "|250-SIZE 36700160"},
        {false, "protocol-server", "|250 HELP"},
        {false, "protocol-client", "|MAIL FROM:<a@example.net>"},
        {true, "mail-from", "a@example.net"},
        {false, "tx-begin", "|0123abcd"},
        {false, "tx-mail", "|0123abcd|ok|a@example.net"},
        {false, "protocol-server", "|250 2.0.0 Ok"},
        {false, "protocol-client", "|RCPT TO:<b@example.org>"},
        {true, "rcpt-to", "b@example.org"},
        {false, "tx-envelope", "|0123abcd|0123abcd89abcdef"},
        {false, "tx-rcpt", "|0123abcd|ok|b@example.org"},
        {false, "protocol-server", "|250 2.1.5 Destination address valid: Recipient ok"},
        {false, "protocol-client", "|DATA"},
        {true, "data", ""},
        {false, "tx-data", "|0123abcd|ok"},
        {false, "protocol-server", "|354 Enter mail, end with \".\" on a line by itself"},
        {true, "data-line", ""},
        {false, "protocol-client", "|."},
        {true, "commit", ""},
        {false, "tx-commit", "|0123abcd|4096"},
        {false, "tx-reset", "|0123abcd"},
        {false, "protocol-server", "|250 2.0.0 0123abcd Message accepted for delivery"},
        {false, "protocol-client", "|QUIT"},
        {true, "quit", ""},
        {false, "protocol-server", "|221 2.0.0 Bye"},
        {false, "link-disconnect", ""},
    };
    return all;
  }

  // Tokens name a filter's entry for a phase, not a request.
  static std::string token(std::string_view phase) {
    char text[17];
    std::snprintf(text, sizeof text, "%016zx", 0x9e3779b97f4a7c15u ^ std::hash<std::string_view>()(phase));
    return text;
  }

  static std::string stamp() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
    char text[40];
    std::snprintf(text, sizeof text, "%lld.%06lld", static_cast<long long>(us / 1'000'000),
                  static_cast<long long>(us % 1'000'000));
    return text;
  }

  void begin(const std::vector<std::string>& mail, std::size_t last, bool drips = false) {
    char id[17];
    std::snprintf(id, sizeof id, "%016llx", static_cast<unsigned long long>(++serial_ * 0x9e3779b97f4a7c15u));
    Session& session = sessions_[id];
    session.id = id;
    session.mail = &mail;
    session.last = last;
    session.drips = drips;
    session.begun = Clock::now();
    advance(session);
  }

  // Up to the next request that the filter wants, or to the end of the session.
  void advance(Session& session) {
    for (;;) {
      if (session.next == stages().size()) {
        took_ms_.push_back(std::chrono::duration<double, std::milli>(Clock::now() - session.begun).count());
        sessions_.erase(std::string(session.id));
        return;
      }
      if (session.next == session.last) {
        ++idle_;
        return;
      }
      const Stage& stage = stages()[session.next++];
      if (!stage.asks) {
        if (reports_.contains("*") || reports_.contains(stage.name)) {
          out_ += "report|0.6|" + stamp() + "|smtp-in|" + stage.name + "|" + session.id + stage.fields + "\n";
        }
        continue;
      }
      if (!phases_.contains(stage.name)) continue;
      session.awaited = stage.name;
      const std::string prefix =
          "filter|0.6|" + stamp() + "|smtp-in|" + stage.name + "|" + session.id + "|" + token(stage.name) + "|";
      if (stage.name != "data-line") {
        out_ += prefix + stage.fields + "\n";
        return;
      }
      for (const std::string& line : *session.mail) {
        session.sending += prefix;
        if (line.starts_with('.')) session.sending += '.';
        session.sending += line;
        session.sending += '\n';
      }
      session.sending += prefix + ".\n";
      if (session.drips) drip_ = session.id;
      else senders_.push_back(session.id);
      return;
    }
  }

  void drip() {
    Session& session = sessions_.at(*drip_);
    const std::size_t lf = session.sending.find('\n', session.sent);
    // The last line, the ".", is for finish_drip().
    if (lf + 1 == session.sending.size()) {
      next_drip_ = Clock::time_point::max();
      return;
    }
    out_.append(session.sending, session.sent, lf + 1 - session.sent);
    session.sent = lf + 1;
    next_drip_ = Clock::now() + drip_pause;
  }

  void fill() {
    if (drip_ && next_drip_ <= Clock::now()) drip();
    while (out_.size() - out_from_ < io_size && !senders_.empty()) {
      Session& session = sessions_.at(senders_.front());
      std::string_view rest = std::string_view(session.sending).substr(session.sent);
      if (rest.size() > turn) rest = rest.substr(0, rest.rfind('\n', turn) + 1);
      out_ += rest;
      session.sent += rest.size();
      if (session.sent < session.sending.size()) {
        senders_.push_back(std::move(senders_.front()));
      } else {
        session.sending = {};
      }
      senders_.pop_front();
    }
  }

  template <class Reached>
  void run_until(Reached reached) {
    std::vector<pollfd> polls;
    while (!reached()) {
      fill();
      polls.clear();
      const bool wants_to_write = out_from_ < out_.size();
      polls.push_back({filter_.protocol(), static_cast<short>(wants_to_write ? POLLIN | POLLOUT : POLLIN), 0});
      polls.push_back({filter_.log(), POLLIN, 0});
      rspamd_.add_to(polls);
      const auto silent = Clock::now() + std::chrono::milliseconds(silence_ms);
      auto due = std::min(silent, rspamd_.next_answer().value_or(silent));
      if (drip_) due = std::min(due, next_drip_);
      const int n = poll(polls.data(), polls.size(), wait_ms(due));
      if (n == 0 && Clock::now() >= silent)
        fail("nothing happened for a minute with " + std::to_string(sessions_.size()) + " sessions");
      if (n < 0) continue;
      rspamd_.answer();
      if (polls[0].revents & POLLOUT) write_out();
      if (polls[0].revents & (POLLIN | POLLHUP)) read_in();
      if (polls[1].revents & (POLLIN | POLLHUP)) {
        if (const auto bytes = read_some(filter_.log()); !bytes) filter_.log_closed();
        else last_logged_ = *bytes;
      }
      for (std::size_t i = 2; i < polls.size(); ++i) {
        if (polls[i].revents != 0) rspamd_.on_readable(polls[i].fd);
      }
    }
  }

  void write_out() {
    const ssize_t n = write(filter_.protocol(), out_.data() + out_from_, out_.size() - out_from_);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) fail("the filter is gone; its last words: " + last_logged_);
    out_from_ += static_cast<std::size_t>(n);
    if (out_from_ < out_.size()) return;
    out_.clear();
    out_from_ = 0;
  }

  void read_in() {
    auto bytes = read_some(filter_.protocol());
    if (!bytes) fail("the filter is gone; its last words: " + last_logged_);
    for (std::size_t lf = 0; (lf = bytes->find('\n')) != std::string_view::npos; bytes->remove_prefix(lf + 1)) {
      if (held_.empty()) {
        on_line(bytes->substr(0, lf));
      } else {
        held_ += bytes->substr(0, lf);
        on_line(held_);
        held_.clear();
      }
    }
    held_ += *bytes;
  }

  static std::string_view take(std::string_view& rest) {
    const std::size_t bar = rest.find('|');
    const std::string_view field = rest.substr(0, bar);
    rest.remove_prefix(bar == std::string_view::npos ? rest.size() : bar + 1);
    return field;
  }

  void on_line(std::string_view line) {
    std::string_view rest = line;
    const std::string_view kind = take(rest);
    if (kind == "register" && !ready_) {
      const std::string_view what = take(rest);
      if (what == "ready") ready_ = true;
      if (take(rest) == "smtp-in") (what == "report" ? reports_ : phases_).emplace(rest);
      return;
    }
    const auto found = sessions_.find(std::string(take(rest)));
    if (found == sessions_.end()) fail("an answer for a session that has ended: " + std::string(line));
    Session& session = found->second;
    if (take(rest) != token(session.awaited)) fail("a token that was not asked with: " + std::string(line));
    if (kind == "filter-dataline" && session.awaited == "data-line") {
      if (rest == ".") {
        if (session.sent < session.sending.size()) fail("a mail that ended before it began");
        judge(session);
        advance(session);
      } else {
        session.returned.emplace_back(rest.starts_with('.') ? rest.substr(1) : rest);
      }
      return;
    }
    if (kind != "filter-result" || session.awaited == "data-line") fail("an answer nobody asked for: " + std::string(line));
    if (rest != "proceed") fail("not the answer to a clean mail: " + std::string(line));
    advance(session);
  }

  // Header lines may have been added, none removed; from the empty line on it is the mail that was sent.
  void judge(Session& session) const {
    const auto& sent = *session.mail;
    const auto& got = session.returned;
    const auto body = std::find(sent.begin(), sent.end(), "");
    const auto size = sent.end() - body;
    if (static_cast<std::size_t>(size) > got.size() || !std::equal(body, sent.end(), got.end() - size))
      fail("a body came back altered; the filter logged: " + last_logged_);
    auto at = got.begin();
    for (auto line = sent.begin(); line != body; ++line, ++at) {
      at = std::find(at, got.end() - size, *line);
      if (at == got.end() - size) fail("a header line did not come back: " + *line);
    }
    session.returned.clear();
  }

  Process& filter_;
  Rspamd& rspamd_;
  std::string out_;
  std::size_t out_from_ = 0;
  std::string held_;
  std::string last_logged_;
  bool ready_ = false;
  std::set<std::string, std::less<>> reports_, phases_;
  std::unordered_map<std::string, Session> sessions_;
  std::deque<std::string> senders_;
  const std::vector<std::string> no_mail_;
  std::vector<double> took_ms_;
  std::size_t idle_ = 0;
  std::optional<std::string> drip_;
  Clock::time_point next_drip_ = Clock::time_point::max();
  std::uint64_t serial_ = 0;
};

struct Contender {
  std::string name;
  std::string command;
  bool scans() const { return command.find(mark) != std::string::npos; }
  static constexpr std::string_view mark = "@RSPAMD@";
};

struct Load {
  std::string name;
  std::size_t mail_size, warm_up, mails, in_flight;
  std::size_t idle = 0;            // other sessions that are open
  bool drip = false;               // one of them sends a byte now and then
  bool local = false;              // rspamd is on a unix socket for a filter that has --rspamd; filter-rspamd speaks TCP alone
  Clock::duration scan{};          // how long rspamd takes for each mail
  Clock::duration slowest_scan{};  // and for the first of them
};

struct Sample {
  double cpu_us, seconds, median_ms, worst_ms, peak_mb, rest_mb, open_mb;
};

template <class Values>
double quantile(Values values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1) + 0.5)];
}
double median(const std::vector<double>& values) { return quantile(values, 0.5); }

Sample measure(const Contender& contender, Rspamd& rspamd, const Load& load) {
  const auto mail = make_mail(load.mail_size);
  const auto drip = make_drip(10'000);
  std::string command = contender.command;
  const bool local = load.local && command.find("--rspamd ") != std::string::npos;
  if (contender.scans())
    command.replace(command.find(Contender::mark), Contender::mark.size(), local ? rspamd.local_url() : rspamd.url());
  Process process(command);
  Smtpd smtpd(process, rspamd);
  const auto mb = [](long kb) { return static_cast<double>(kb) / 1024; };
  const double rest_mb = mb(process.usage().now_kb);
  smtpd.open_idle(load.idle);
  const double open_mb = mb(process.usage().now_kb);
  rspamd.take({}, {});
  if (load.warm_up > 0) smtpd.deliver(mail, load.warm_up, load.in_flight);
  if (load.drip) smtpd.begin_drip(drip);
  rspamd.take(load.scan, load.slowest_scan);
  const Usage before = process.usage();
  const auto start = Clock::now();
  const auto took_ms = smtpd.deliver(mail, load.mails, load.in_flight);
  const std::chrono::duration<double> seconds = Clock::now() - start;
  const Usage after = process.usage();
  if (load.drip) smtpd.finish_drip();
  process.end();
  const double cpu_us = (after.cpu_us - before.cpu_us) / static_cast<double>(load.mails);
  std::fprintf(stderr, "%s, %s: %.0f us CPU a mail, %.1f s\n", load.name.c_str(), contender.name.c_str(), cpu_us,
               seconds.count());
  return {cpu_us, seconds.count(), median(took_ms), quantile(took_ms, 0.99), mb(after.peak_kb), rest_mb, open_mb};
}

std::string number(double value, const char* unit) {
  char text[40];
  std::snprintf(text, sizeof text, value < 10 ? "%.2f%s" : value < 100 ? "%.1f%s" : "%.0f%s", value, unit);
  return text;
}

// One measure of every filter, in rounds that take turns.
class Table {
 public:
  Table(const std::vector<Contender>& contenders, Rspamd& rspamd) : contenders_(contenders), rspamd_(rspamd) {}

  static constexpr std::size_t floor = 0, ours = 1;
  std::size_t peer() const { return contenders_.size() - 1; }

  void begin() const {
    std::printf("| measure |");
    for (const Contender& contender : contenders_) std::printf(" %s |", contender.name.c_str());
    std::printf(" ratio | target |\n|---|");
    for (std::size_t i = 0; i < contenders_.size(); ++i) std::printf("--:|");
    std::printf("--:|---|\n");
  }

  // samples[filter][round]; none of a filter that does not scan when rspamd matters.
  std::vector<std::vector<Sample>> run(const Load& load, std::size_t rounds, bool floor_too) const {
    std::vector<std::vector<Sample>> samples(contenders_.size());
    for (std::size_t round = 0; round < rounds; ++round) {
      for (std::size_t i = 0; i < contenders_.size(); ++i) {
        if (floor_too || contenders_[i].scans()) samples[i].push_back(measure(contenders_[i], rspamd_, load));
      }
    }
    return samples;
  }

  // The target is a bound of ours alone, or, with `of_ratio`, of its ratio to the peer's.
  struct Target {
    double bound;
    bool of_ratio;
    const char* words;
  };

  template <class Value>
  void row(const std::string& name, const std::vector<std::vector<Sample>>& samples, Value value, const char* unit,
           std::optional<Target> target = {}) const {
    std::string line = "| " + name + " |";
    for (const auto& rounds : samples) line += rounds.empty() ? " |" : " " + number(each(rounds, value), unit) + " |";
    const double to_peer = ratio(samples[ours], samples[peer()], value);
    char text[20];
    std::snprintf(text, sizeof text, " %.3f |", to_peer);
    line += text;
    if (target) line += " " + judged(target->of_ratio ? to_peer : each(samples[ours], value), target->bound, target->words);
    print(line + " |");
  }

  // Two loads of the same filters: what the second costs more.
  template <class Value>
  void row_of_ratios(const std::string& name, const std::vector<std::vector<Sample>>& from,
                     const std::vector<std::vector<Sample>>& to, Value value, double bound, const char* words) const {
    std::string line = "| " + name + " |";
    for (std::size_t i = 0; i < from.size(); ++i)
      line += from[i].empty() ? " |" : " " + number(ratio(to[i], from[i], value), "") + " |";
    print(line + "  | " + judged(ratio(to[ours], from[ours], value), bound, words) + " |");
  }

  void row_to_floor(const std::string& name, const std::vector<std::vector<Sample>>& samples, double bound,
                    const char* words) const {
    std::string line = "| " + name + " |";
    for (const auto& rounds : samples) line += " " + number(ratio(rounds, samples[floor], cpu), "") + " |";
    print(line + "  | " + judged(ratio(samples[ours], samples[floor], cpu), bound, words) + " |");
  }

  static double cpu(const Sample& sample) { return sample.cpu_us; }

 private:
  static void print(const std::string& line) {
    std::puts(line.c_str());
    std::fflush(stdout);
  }
  static std::string judged(double value, double bound, const char* words) {
    return std::string(words) + ": " + (value <= bound ? "met" : "missed");
  }
  template <class Value>
  static double each(const std::vector<Sample>& rounds, Value value) {
    std::vector<double> values;
    for (const Sample& sample : rounds) values.push_back(value(sample));
    return median(values);
  }
  // The median of the rounds' own ratios.
  template <class Value>
  static double ratio(const std::vector<Sample>& over, const std::vector<Sample>& under, Value value) {
    std::vector<double> values;
    for (std::size_t i = 0; i < over.size(); ++i) values.push_back(value(over[i]) / value(under[i]));
    return median(values);
  }

  const std::vector<Contender>& contenders_;
  Rspamd& rspamd_;
};

void run_all(const std::vector<Contender>& contenders, Rspamd& rspamd, std::size_t rounds, bool smoke) {
  const Table table(contenders, rspamd);
  const auto scaled = [smoke](std::size_t full, std::size_t small) { return smoke ? small : full; };
  using std::chrono::milliseconds;
  const auto rate = [](std::size_t mails) { return [mails](const Sample& s) { return static_cast<double>(mails) / s.seconds; }; };
  const auto peak = [](const Sample& s) { return s.peak_mb; };
  const auto worst = [](const Sample& s) { return s.worst_ms; };
  const auto typical = [](const Sample& s) { return s.median_ms; };

  table.begin();
  const Load small{"4 kB", 4096, scaled(100, 1), scaled(1000, 20), 8};
  const auto smalls = table.run(small, rounds, true);
  table.row("CPU per 4 kB mail", smalls, Table::cpu, " µs", Table::Target{1.0 / 6, true, "≤ 1/6 of the peer"});
  table.row("4 kB mails per second", smalls, rate(small.mails), "");
  Load locals = small;
  locals.name = "4 kB, rspamd on a unix socket";
  locals.local = true;
  table.row("CPU per 4 kB mail, rspamd on a unix socket (the peer cannot: TCP)", table.run(locals, rounds, false), Table::cpu,
            " µs", Table::Target{1.0 / 6, true, "≤ 1/6 of the peer"});
  const Load large{"1 MB", 1024 * 1024, scaled(8, 1), scaled(40, 3), scaled(8, 2)};
  const auto larges = table.run(large, rounds, true);
  table.row("CPU per 1 MB mail", larges, Table::cpu, " µs", Table::Target{1.0 / 12, true, "≤ 1/12 of the peer"});
  table.row_to_floor("CPU per 1 MB mail, times the floor", larges, 3, "≤ 3 × the floor");
  table.row("1 MB mails per second", larges, rate(large.mails), "");
  table.row(
      "memory at rest", smalls, [](const Sample& s) { return s.rest_mb; }, " MB", Table::Target{10, false, "≤ 10 MB"});

  Load one_open = small;
  one_open.name = "4 kB, 1 session open";
  one_open.idle = 1;
  Load many_open = small;
  many_open.name = "4 kB, many sessions open";
  many_open.idle = scaled(10'000, 100);
  // Round by round, so that a busy machine is busy for both.
  std::vector<std::vector<Sample>> with_one(contenders.size()), with_many(contenders.size());
  for (std::size_t round = 0; round < rounds; ++round) {
    const auto one = table.run(one_open, 1, false);
    const auto many = table.run(many_open, 1, false);
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      with_one[i].insert(with_one[i].end(), one[i].begin(), one[i].end());
      with_many[i].insert(with_many[i].end(), many[i].begin(), many[i].end());
    }
  }
  table.row_of_ratios("CPU per 4 kB mail with 10,000 sessions open, times that with one", with_one, with_many, Table::cpu, 1.2,
                      "≤ 1.2");
  table.row(
      "memory with 10,000 idle sessions", with_many, [](const Sample& s) { return s.open_mb; }, " MB");

  Load crowd{"100 kB each, all at once", 100 * 1000, 0, scaled(1000, 20), scaled(1000, 20)};
  crowd.scan = milliseconds(scaled(1000, 50));
  const auto crowds = table.run(crowd, 1, false);
  table.row("peak memory, 1,000 × 100 kB at once, 1 s a scan", crowds, peak, " MB", Table::Target{96, false, "≤ 96 MB"});
  table.row(
      "until the last of them is through", crowds, [](const Sample& s) { return s.seconds; }, " s");

  const Load giant{"40 MB", scaled(40 << 20, 4 << 20), 0, 1, 1};
  const auto giants = table.run(giant, 1, true);
  table.row(
      "CPU for a 40 MB mail", giants, [](const Sample& s) { return s.cpu_us / 1000; }, " ms");
  table.row("peak memory for it", giants, peak, " MB");

  table.row("4 kB mails, 8 at once: a mail's time, median", smalls, typical, " ms");
  table.row("the 99th percentile of it", smalls, worst, " ms");
  Load beside_drip = small;
  beside_drip.name = "4 kB, beside a client that sends a byte now and then";
  beside_drip.idle = 1;
  beside_drip.drip = true;
  const auto dripping = table.run(beside_drip, rounds, false);
  table.row("beside a client that sends a byte every 5 ms: median", dripping, typical, " ms");
  table.row("the 99th percentile of it", dripping, worst, " ms");
  Load beside_slow = small;
  beside_slow.name = "4 kB, beside a slow scan";
  beside_slow.slowest_scan = milliseconds(scaled(2000, 50));
  const auto slow = table.run(beside_slow, 1, false);
  table.row("while one mail's scan takes 2 s: median", slow, typical, " ms");
  table.row("the 99th percentile of it", slow, worst, " ms");
}

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void run(const std::vector<std::string>& words) {
  bool smoke = false;
  std::size_t rounds = 5;
  std::size_t i = 0;
  for (; i < words.size() && words[i].starts_with("--"); ++i) {
    if (words[i] == "--smoke") smoke = true;
    else if (words[i] == "--rounds" && i + 1 < words.size()) rounds = std::strtoul(words[++i].c_str(), nullptr, 10);
    else fail("unknown option " + words[i]);
  }
  if (i + 1 >= words.size() || rounds == 0) fail("usage: bench-filters [--smoke] [--rounds N] REPLY.json NAME=COMMAND...");
  Rspamd rspamd(content_of(words[i]));
  std::vector<Contender> contenders;
  for (++i; i < words.size(); ++i) {
    const std::size_t equals = words[i].find('=');
    if (equals == std::string::npos) fail("NAME=COMMAND is wanted, not " + words[i]);
    contenders.push_back({words[i].substr(0, equals), words[i].substr(equals + 1)});
  }
  if (contenders.size() < 2) fail("a floor and a filter are wanted");
  run_all(contenders, rspamd, smoke ? 1 : rounds, smoke);
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  try {
    run(std::vector<std::string>(argv + 1, argv + argc));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench-filters: %s\n", error.what());
    return 1;
  }
}
