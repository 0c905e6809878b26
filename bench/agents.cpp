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
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/io.hpp"
#include "tests/support/scripted_server.hpp"

namespace {

using mailbridge::bench::fail;
using mailbridge::test::Peer;
using mailbridge::test::require;
using mailbridge::test::ScriptedServer;

constexpr double target = 1.1;  // lda2lmtp, of the last agent's time
constexpr std::chrono::seconds patience{60};

// What smtpd's mda puts before every mail; agents may keep it or leave it to the server.
const std::string trace = "Return-Path: <a@example.net>\nDelivered-To: user@example.org\n";

std::string make_mail() {
  std::string mail =
      "Received: from mx.example.net (mx.example.net [192.0.2.25])\n\tby mail.example.org (OpenSMTPD) with ESMTP id 0123abcd\n"
      "\tfor <user@example.org>;\n\tSun, 1 Jun 2025 10:00:00 +0000 (UTC)\n"
      "From: A Sender <a@example.net>\nTo: <user@example.org>\nSubject: What is measured\n"
      "Date: Sun, 1 Jun 2025 09:59:58 +0000\nMessage-ID: <1@example.net>\n\n.a line that wants one more dot\n";
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

// An LMTP server that answers as Dovecot does, one connection after the other.
class Lmtp {
 public:
  const std::string& path() const { return server_.endpoint(); }

  // What has been delivered since the last call, once the connection that brought it has ended.
  std::vector<std::string> take() {
    std::unique_lock lock(mutex_);
    ended_.wait_for(lock, patience, [this] { return connections_ > 0; });
    connections_ = 0;
    return std::exchange(delivered_, {});
  }

 private:
  void serve(Peer& peer) {
    std::vector<std::string> mails;
    try {
      talk(peer, mails);
    } catch (const std::exception&) {  // agents may leave without hearing the farewell
    }
    const std::lock_guard lock(mutex_);
    for (const std::string& mail : mails) delivered_.push_back(unstuffed(mail));
    ++connections_;
    ended_.notify_one();
  }

  // smtplib writes its commands in small letters.
  static bool is(std::string_view verb, std::string_view name) {
    return verb.size() == name.size() && strncasecmp(verb.data(), name.data(), name.size()) == 0;
  }

  // `mails` gets each mail as it came, up to its final dot.
  static void talk(Peer& peer, std::vector<std::string>& mails) {
    peer.say("220 mail.example.org Dovecot ready.\r\n");
    for (std::string replies;;) {
      const std::string line = peer.hear_line();
      const std::string_view verb = std::string_view(line).substr(0, 4);
      if (is(verb, "DATA")) {
        peer.say(replies + "354 OK\r\n");
        mails.push_back(peer.hear_until("\r\n.\r\n"));
        replies = "250 2.0.0 <user> 0123abcd Saved\r\n";
      } else if (is(verb, "LHLO")) {
        replies += "250-mail.example.org\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 PIPELINING\r\n";
      } else if (is(verb, "QUIT")) {
        return peer.say(replies + "221 2.0.0 Bye\r\n");
      } else {
        replies += "250 2.1.5 OK\r\n";
      }
      if (peer.has("\n")) continue;  // all commands of a pipelined group are answered at once
      peer.say(replies);
      replies.clear();
    }
  }

  static std::string unstuffed(std::string_view mail) {
    std::string stored;
    for (mail.remove_suffix(3); !mail.empty();) {  // without the final dot
      if (mail.starts_with('.')) mail.remove_prefix(1);
      const std::size_t end = mail.find('\n') + 1;
      stored += mail.substr(0, end);
      mail.remove_prefix(end);
    }
    return stored;
  }

  std::mutex mutex_;
  std::condition_variable ended_;
  std::size_t connections_ = 0;
  std::vector<std::string> delivered_;
  ScriptedServer server_{[this](Peer& peer) { serve(peer); }};
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
  require(pipe2(input, O_CLOEXEC) == 0, "pipe");
  const std::string all = trace + mail;
  require(write(input[1], all.data(), all.size()) == static_cast<ssize_t>(all.size()), "write");  // a pipe holds 64 KiB
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
  require(errno == 0, argv[0]);
  int status = 0;
  rusage usage{};
  require(wait4(pid, &status, 0, &usage) == pid, "wait4");
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
  require(prctl(PR_SET_NAME, "mail.mda") == 0, "prctl");
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
