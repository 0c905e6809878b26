// Plays smtpd (protocol 0.6, as Debian 12's) and rspamd around one filter at a time and measures the filter alone: its CPU time,
// its memory, and the mails that went through per second. Each mail is its own session, as most mail is; several are in flight,
// their lines interleaved. A wrong, doubled or missing answer, or a mail that came back altered, ends the run.
//
//   bench-filters [--smoke] [--rounds N] REPLY.json NAME=COMMAND…
//
// In a command @RSPAMD@ stands for the address of the rspamd played here. The last filter is what the others are compared with.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
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

// rspamd, as far as a filter can tell: every POST is answered with the same verdict once its body is there.
class Rspamd {
 public:
  explicit Rspamd(const std::string& verdict) : listener_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
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
  }

  const std::string& url() const { return url_; }

  // No verdict before so many mails are here.
  void hold(std::size_t mails) { held_back_ = mails; }

  void add_to(std::vector<pollfd>& polls) const {
    polls.push_back({listener_.get(), POLLIN, 0});
    for (const auto& [fd, talk] : talks_) {
      if (!talk.complete) polls.push_back({fd, POLLIN, 0});
    }
  }

  void on_readable(int fd) {
    if (fd == listener_.get()) return accept_all();
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
    if (!talk.complete) return;
    ready_.push_back(fd);
    if (ready_.size() < held_back_) return;
    held_back_ = 0;
    for (const int waiting : std::exchange(ready_, {})) {
      // 4 kB into the empty buffer of a fresh socket: it all goes.
      check(write(waiting, reply_.data(), reply_.size()) == static_cast<ssize_t>(reply_.size()), "answering as rspamd");
      talks_.erase(waiting);
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

  void accept_all() {
    for (;;) {
      Fd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
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

  Fd listener_;
  std::string url_;
  std::string reply_;
  std::size_t held_back_ = 0;
  std::vector<int> ready_;
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

  void deliver(const std::vector<std::string>& mail, std::size_t count, std::size_t in_flight) {
    mail_ = &mail;
    const std::size_t goal = delivered_ + count;
    std::size_t begun = delivered_;
    run_until([&] {
      while (begun < goal && sessions_.size() < in_flight) {
        begin();
        ++begun;
      }
      return delivered_ == goal;
    });
  }

 private:
  struct Stage {
    bool asks;  // a request of that phase, or a report of that event
    std::string name;
    std::string fields;
  };
  struct Session {
    std::string id;
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

  void begin() {
    char id[17];
    std::snprintf(id, sizeof id, "%016llx", static_cast<unsigned long long>(++serial_ * 0x9e3779b97f4a7c15u));
    Session& session = sessions_[id];
    session.id = id;
    advance(session);
  }

  // Up to the next request that the filter wants, or to the end of the session.
  void advance(Session& session) {
    for (;;) {
      if (session.next == stages().size()) {
        sessions_.erase(std::string(session.id));
        ++delivered_;
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
      for (const std::string& line : *mail_) {
        session.sending += prefix;
        if (line.starts_with('.')) session.sending += '.';
        session.sending += line;
        session.sending += '\n';
      }
      session.sending += prefix + ".\n";
      senders_.push_back(session.id);
      return;
    }
  }

  void fill() {
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
      const int n = poll(polls.data(), polls.size(), silence_ms);
      if (n == 0) fail("nothing happened for a minute with " + std::to_string(sessions_.size()) + " mails in flight");
      if (n < 0) continue;
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
    const auto& sent = *mail_;
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
  const std::vector<std::string>* mail_ = nullptr;
  std::size_t delivered_ = 0;
  std::uint64_t serial_ = 0;
};

struct Contender {
  std::string name;
  std::string command;
};
struct Load {
  const char* name;
  std::size_t mail_size, warm_up, mails, in_flight;
  double target;  // of the CPU time of the last contender
};
struct Sample {
  double cpu_us, per_second;
  long peak_kb, rest_kb;
};

Sample measure(const Contender& contender, Rspamd& rspamd, const std::vector<std::string>& mail, const Load& load) {
  std::string command = contender.command;
  constexpr std::string_view mark = "@RSPAMD@";
  if (const std::size_t at = command.find(mark); at != std::string::npos) command.replace(at, mark.size(), rspamd.url());
  Process process(command);
  Smtpd smtpd(process, rspamd);
  const long rest_kb = process.usage().now_kb;
  smtpd.deliver(mail, load.warm_up, load.in_flight);
  const Usage before = process.usage();
  const auto start = std::chrono::steady_clock::now();
  smtpd.deliver(mail, load.mails, load.in_flight);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const Usage after = process.usage();
  process.end();
  const auto mails = static_cast<double>(load.mails);
  return {(after.cpu_us - before.cpu_us) / mails, mails / took.count(), after.peak_kb, rest_kb};
}

template <class Value>
double median(const std::vector<Sample>& samples, Value value) {
  std::vector<double> values;
  for (std::size_t i = 0; i < samples.size(); ++i) values.push_back(value(i));
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

void compare(const std::vector<Contender>& contenders, Rspamd& rspamd, const Load& load, std::size_t rounds) {
  const auto mail = make_mail(load.mail_size);
  std::vector<std::vector<Sample>> samples(contenders.size());
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      samples[i].push_back(measure(contenders[i], rspamd, mail, load));
      std::fprintf(stderr, "%s, round %zu, %s: %.0f us CPU a mail\n", load.name, round + 1, contenders[i].name.c_str(),
                   samples[i].back().cpu_us);
    }
  }
  const auto& base = samples.back();
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    const auto& mine = samples[i];
    const double ratio = median(mine, [&](std::size_t k) { return mine[k].cpu_us / base[k].cpu_us; });
    std::string verdict;
    if (contenders[i].name == "filter-mailbridge") {
      char text[40];
      std::snprintf(text, sizeof text, "%.2f: %s", load.target, ratio <= load.target ? "met" : "missed");
      verdict = text;
    }
    std::printf("| %s | %s | %.0f µs | %.3f | %s | %.0f/s | %.1f MB | %.1f MB |\n", load.name, contenders[i].name.c_str(),
                median(mine, [&](std::size_t k) { return mine[k].cpu_us; }), ratio, verdict.c_str(),
                median(mine, [&](std::size_t k) { return mine[k].per_second; }),
                median(mine, [&](std::size_t k) { return static_cast<double>(mine[k].rest_kb); }) / 1024,
                median(mine, [&](std::size_t k) { return static_cast<double>(mine[k].peak_kb); }) / 1024);
    std::fflush(stdout);
  }
}

// Memory with everything in flight at once: no verdict comes before all mails are with rspamd.
void hold_all(const std::vector<Contender>& contenders, Rspamd& rspamd, const Load& load) {
  const auto mail = make_mail(load.mail_size);
  for (const Contender& contender : contenders) {
    if (contender.command.find("@RSPAMD@") == std::string::npos) continue;
    rspamd.hold(load.mails);
    const Sample sample = measure(contender, rspamd, mail, load);
    std::fprintf(stderr, "%s, %s: %.1f MB\n", load.name, contender.name.c_str(), static_cast<double>(sample.peak_kb) / 1024);
    std::printf("| %s | %s | %.1f MB |\n", load.name, contender.name.c_str(), static_cast<double>(sample.peak_kb) / 1024);
  }
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
  if (smoke) {
    compare(contenders, rspamd, {"4 kB", 4096, 1, 20, 8, 1}, 1);
    compare(contenders, rspamd, {"1 MB", 1024 * 1024, 1, 3, 2, 1}, 1);
    hold_all(contenders, rspamd, {"20 × 100 kB", 100 * 1000, 0, 20, 20, 1});
    return;
  }
  std::puts(
      "| mail | filter | CPU per mail | ratio | target | throughput | memory at rest | peak memory "
      "|\n|---|---|--:|--:|---|--:|--:|--:|");
  compare(contenders, rspamd, {"4 kB", 4096, 100, 1000, 8, 0.25}, rounds);
  compare(contenders, rspamd, {"1 MB", 1024 * 1024, 8, 40, 8, 0.1}, rounds);
  std::puts("\n| in flight at once | filter | peak memory |\n|---|---|--:|");
  hold_all(contenders, rspamd, {"1,000 × 100 kB", 100 * 1000, 0, 1000, 1000, 1});
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
