// Plays mail.mda and an LMTP server around delivery agents, in alternating rounds: one process, one mail of 4 kB on its standard
// input, one LMTP transaction over a unix socket, from the start of the process to its end. An exit status other than 0, a second
// delivery or an altered mail ends the run.
//
//   bench-agents [--rounds N] NAME=COMMAND…
//
// A command is an absolute path and its arguments; @LMTP@ stands for the socket. The last agent is what the others are compared
// with.
#include <fcntl.h>
#include <spawn.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr double target = 1.1;  // lda2lmtp, of the last agent's time
constexpr std::chrono::seconds patience{60};

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }
void check(bool good, const char* what) {
  if (!good) fail(std::string(what) + ": " + std::strerror(errno));
}

// What smtpd's mda puts before every mail; agents may keep it or leave it to the server.
const std::string trace = "Return-Path: <a@example.net>\nDelivered-To: user@example.org\n";

std::string make_mail() {
  std::string mail =
      "Received: from mx.example.net (mx.example.net [192.0.2.25])\n\tby mail.example.org (OpenSMTPD) with ESMTP id 0123abcd\n"
      "\tfor <user@example.org>;\n\tSun, 1 Jun 2025 10:00:00 +0000 (UTC)\nFrom: A Sender <a@example.net>\nTo: "
      "<user@example.org>\n"
      "Subject: What is measured\nDate: Sun, 1 Jun 2025 09:59:58 +0000\nMessage-ID: <1@example.net>\n\n.a line that wants one "
      "more dot\n";
  while (mail.size() < 4096) mail += "Seventy bytes of text to fill a line, and once more to fill it, and on.\n";
  return mail;
}

// The mail as a server stores it: unstuffed, line ends CRLF.
std::string with_crlf(const std::string& mail) {
  std::string stored;
  for (const char c : mail) {
    if (c == '\n') stored += '\r';
    stored += c;
  }
  return stored;
}

// Answers as Dovecot does, one connection after the other.
class Lmtp {
 public:
  Lmtp() {
    char directory[] = "/tmp/bench-agents.XXXXXX";
    check(mkdtemp(directory) != nullptr, "mkdtemp");
    directory_ = directory;
    path_ = directory_ + "/lmtp";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && listen(listener_, 16) == 0, "listen");
    thread_ = std::thread([this] { serve(); });
  }
  Lmtp(const Lmtp&) = delete;
  Lmtp& operator=(const Lmtp&) = delete;
  ~Lmtp() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
    unlink(path_.c_str());
    rmdir(directory_.c_str());
  }

  const std::string& path() const { return path_; }

  // What has been delivered since the last call, once the connection that brought it is closed.
  std::vector<std::string> take() {
    std::unique_lock lock(mutex_);
    closed_.wait_for(lock, patience, [this] { return connections_ > 0; });
    connections_ = 0;
    return std::exchange(delivered_, {});
  }

 private:
  void serve() {
    for (;;) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      talk(fd);
      close(fd);
      const std::lock_guard lock(mutex_);
      ++connections_;
      closed_.notify_one();
    }
  }

  static void say(int fd, std::string_view reply) {
    if (send(fd, reply.data(), reply.size(), MSG_NOSIGNAL) < 0) return;  // agents may leave without hearing the farewell
  }

  // smtplib writes its commands in small letters.
  static bool is(std::string_view verb, std::string_view name) {
    return verb.size() == name.size() && strncasecmp(verb.data(), name.data(), name.size()) == 0;
  }

  void talk(int fd) {
    say(fd, "220 mail.example.org Dovecot ready.\r\n");
    std::string held, mail;
    bool in_data = false;
    char buffer[16384];
    for (;;) {
      const ssize_t n = read(fd, buffer, sizeof buffer);
      if (n <= 0) return;
      held.append(buffer, static_cast<std::size_t>(n));
      std::size_t from = 0;
      std::string replies;  // to all commands of a pipelined group at once
      for (std::size_t lf = 0; (lf = held.find('\n', from)) != std::string::npos; from = lf + 1) {
        const std::string_view line = std::string_view(held).substr(from, lf + 1 - from);
        if (!in_data) {
          const std::string_view verb = line.substr(0, 4);
          in_data = is(verb, "DATA");
          if (in_data) replies += "354 OK\r\n";
          else if (is(verb, "LHLO"))
            replies += "250-mail.example.org\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 PIPELINING\r\n";
          else if (is(verb, "QUIT")) return say(fd, replies + "221 2.0.0 Bye\r\n");
          else replies += "250 2.1.5 OK\r\n";
        } else if (line == ".\r\n") {
          {
            const std::lock_guard lock(mutex_);
            delivered_.push_back(std::exchange(mail, {}));
          }
          in_data = false;
          replies += "250 2.0.0 <user> 0123abcd Saved\r\n";
        } else {
          mail += line.starts_with('.') ? line.substr(1) : line;
        }
      }
      held.erase(0, from);
      if (!replies.empty()) say(fd, replies);
    }
  }

  std::string directory_, path_;
  int listener_ = -1;
  std::mutex mutex_;
  std::condition_variable closed_;
  std::size_t connections_ = 0;
  std::vector<std::string> delivered_;
  std::thread thread_;
};

struct Agent {
  std::string name;
  std::vector<std::string> argv;
};
struct Sample {
  double wall_us, cpu_us;
};

Sample measure(const Agent& agent, Lmtp& server, const std::string& mail) {
  int input[2];
  check(pipe2(input, O_CLOEXEC) == 0, "pipe");
  const std::string all = trace + mail;
  check(write(input[1], all.data(), all.size()) == static_cast<ssize_t>(all.size()), "write");  // a pipe holds 64 KiB
  close(input[1]);
  std::vector<char*> argv;
  for (const std::string& word : agent.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  // All that smtpd sets.
  const char* const environment[] = {
      "PATH=/usr/bin:/bin", "DOMAIN=example.org", "HOME=/",    "RECIPIENT=user@example.org", "SHELL=/bin/sh",
      "LOCAL=user",         "LOGNAME=user",       "USER=user", "SENDER=a@example.net",       nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input[0], 0);

  const auto start = std::chrono::steady_clock::now();
  pid_t pid = 0;
  errno = posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), const_cast<char* const*>(environment));
  check(errno == 0, argv[0]);
  int status = 0;
  rusage usage{};
  check(wait4(pid, &status, 0, &usage) == pid, "wait4");
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;

  posix_spawn_file_actions_destroy(&actions);
  close(input[0]);
  if (status != 0) fail(agent.name + " ended with status " + std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : status));
  const auto delivered = server.take();
  const std::string stored = with_crlf(mail);
  if (delivered.size() != 1) fail(agent.name + " delivered " + std::to_string(delivered.size()) + " times");
  if (delivered[0] != stored && delivered[0] != with_crlf(trace) + stored) fail(agent.name + " altered the mail");
  const auto microseconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return {took.count(), microseconds(usage.ru_utime) + microseconds(usage.ru_stime)};
}

template <class Value>
double median(std::size_t count, Value value) {
  std::vector<double> values;
  for (std::size_t i = 0; i < count; ++i) values.push_back(value(i));
  std::sort(values.begin(), values.end());
  return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

void run(const std::vector<std::string>& words) {
  // lda2lmtp looks for this name among its ancestors, and would look further than it does under smtpd.
  check(prctl(PR_SET_NAME, "mail.mda") == 0, "prctl");
  std::size_t rounds = 200;
  std::size_t i = 0;
  if (words.size() > 2 && words[0] == "--rounds") {
    rounds = std::strtoul(words[1].c_str(), nullptr, 10);
    i = 2;
  }
  if (i >= words.size() || rounds == 0) fail("usage: bench-agents [--rounds N] NAME=COMMAND...");
  Lmtp server;
  std::vector<Agent> agents;
  for (; i < words.size(); ++i) {
    const std::size_t equals = words[i].find('=');
    if (equals == std::string::npos) fail("NAME=COMMAND is wanted, not " + words[i]);
    agents.push_back({words[i].substr(0, equals), {}});
    std::istringstream command(words[i].substr(equals + 1));
    for (std::string word; command >> word;) agents.back().argv.push_back(word == "@LMTP@" ? server.path() : word);
  }
  const std::string mail = make_mail();
  std::vector<std::vector<Sample>> samples(agents.size());
  for (const Agent& agent : agents) measure(agent, server, mail);  // their files are in memory then
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t k = 0; k < agents.size(); ++k) {
      const std::size_t turn = (round + k) % agents.size();
      samples[turn].push_back(measure(agents[turn], server, mail));
    }
    if ((round + 1) % 50 == 0) std::fprintf(stderr, "agents: %zu rounds of %zu\n", round + 1, rounds);
  }
  std::puts("| agent | start to end | ratio | target | CPU |\n|---|--:|--:|---|--:|");
  const auto& base = samples.back();
  for (std::size_t a = 0; a < agents.size(); ++a) {
    const auto& mine = samples[a];
    const double ratio = median(rounds, [&](std::size_t k) { return mine[k].wall_us / base[k].wall_us; });
    const char* verdict = agents[a].name != "lda2lmtp" ? "" : ratio <= target ? "1.1: met" : "1.1: missed";
    std::printf("| %s | %.2f ms | %.2f | %s | %.2f ms |\n", agents[a].name.c_str(),
                median(rounds, [&](std::size_t k) { return mine[k].wall_us; }) / 1e3, ratio, verdict,
                median(rounds, [&](std::size_t k) { return mine[k].cpu_us; }) / 1e3);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(std::vector<std::string>(argv + 1, argv + argc));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench-agents: %s\n", error.what());
    return 1;
  }
}
