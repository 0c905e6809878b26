// The program as smtpd runs it: one socket as standard input and output, rspamd a script.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <thread>

#include <openssl/pem.h>

#include "base/transcript.hpp"
#include "tests/support/authority.hpp"
#include "tests/support/filter_player.hpp"
#include "tests/support/filter_process.hpp"
#include "tests/support/limits.hpp"
#include "tests/support/program.hpp"
#include "tests/support/scripted_server.hpp"

namespace mailbridge {
namespace {

using test::FilterProcess;
using test::Peer;
using test::ScriptedServer;
using test::SoftLimit;

const std::string registrations_end = "register|ready\n";
const std::string no_action = "{\"action\":\"no action\"}";

std::string reply(const std::string& json) {
  return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + std::to_string(json.size()) + "\r\n\r\n" + json;
}

// A whole request; its head.
std::string hear_request(Peer& peer) {
  std::string head = peer.hear_until("\r\n\r\n");
  const std::size_t at = head.find("Content-Length: ");
  if (at == std::string::npos) return head;
  const std::size_t size = head.size() + std::stoul(head.substr(at + 16));
  while (peer.heard().size() < size) peer.hear_until("\n");
  return head;
}

// smtpd's end of the socket.
class Smtpd {
 public:
  // `runner`: a program that becomes the filter.
  explicit Smtpd(const std::vector<std::string>& arguments, std::vector<std::string> runner = {})
      : filter_(argv(std::move(runner), arguments)) {
    say("config|smtpd-version|7.8.0\nconfig|protocol|0.7\nconfig|admd|mx.example.org\nconfig|ready\n");
    hear(registrations_end);
  }

  void say(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = send(filter_.protocol(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) throw std::runtime_error("the filter is gone");
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  // What came, up to and with `end`.
  std::string hear(const std::string& end) {
    std::size_t at = 0;
    while ((at = heard_.find(end)) == std::string::npos) {
      pollfd poll{filter_.protocol(), POLLIN, 0};
      char block[65536];
      const ssize_t n = ::poll(&poll, 1, 20'000) == 1 ? read(filter_.protocol(), block, sizeof block) : -1;
      if (n <= 0) throw std::runtime_error("the filter said no " + end + " but: " + heard_);
      heard_.append(block, static_cast<std::size_t>(n));
    }
    std::string text = heard_.substr(0, at + end.size());
    heard_.erase(0, text.size());
    return text;
  }
  void report(const std::string& event, const std::string& fields = {}) {
    say("report|0.7|1.2|smtp-in|" + event + "|0a" + fields + "\n");
  }
  void data(const std::string& line) { say("filter|0.7|1.2|smtp-in|data-line|0a|d0|" + line + "\n"); }
  void begin() {
    report("link-connect", "|mx.example.net|pass|192.0.2.1:99|192.0.2.9:25");
    report("link-greeting", "|mx.example.org");
    report("tx-begin", "|00000001");
    report("tx-mail", "|00000001|ok|a@example.net");
    report("tx-rcpt", "|00000001|ok|r@example.org");
  }
  void mail(const std::string& body = "Hello") {
    begin();
    data("Received: by us");
    data("");
    data(body);
    data(".");
  }
  // smtpd's question once the mail is back, and our answer.
  std::string answer() {
    hear("filter-dataline|0a|d0|.\n");
    say("filter|0.7|1.2|smtp-in|commit|0a|c0|\n");
    hear("filter-result|0a|c0|");
    return hear("\n");
  }
  pid_t pid() const { return filter_.pid(); }
  int leave() {
    filter_.close_protocol();
    return wait();
  }
  int wait() { return filter_.wait(); }
  // Its log on standard error, up to and with `end`.
  std::string hear_log(const std::string& end) {
    std::string text;
    char byte = 0;
    while (!text.ends_with(end)) {
      pollfd poll{filter_.log(), POLLIN, 0};
      if (::poll(&poll, 1, 20'000) != 1 || read(filter_.log(), &byte, 1) != 1)
        throw std::runtime_error("not logged: " + end + " but: " + text);
      text += byte;
    }
    return text;
  }
  std::string errors() {
    std::string text;
    char block[4096];
    for (ssize_t n; (n = read(filter_.log(), block, sizeof block)) > 0;) text.append(block, static_cast<std::size_t>(n));
    return text;
  }

 private:
  static std::vector<std::string> argv(std::vector<std::string> words, const std::vector<std::string>& arguments) {
    words.emplace_back(MB_FILTER);
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }

  FilterProcess filter_;
  std::string heard_;
};

std::vector<std::string> with(const ScriptedServer& rspamd, std::vector<std::string> more = {}) {
  more.insert(more.end(),
              {"--rspamd", rspamd.endpoint().starts_with('/') ? "unix:" + rspamd.endpoint() : "http://" + rspamd.endpoint(),
               "--log-target", "stderr"});
  return more;
}

// Each recording in the directory, which is removed.
void expect_to_play(const std::filesystem::path& directory, const std::string& name = {}, const std::string& holds = {}) {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    ++files;
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const auto played = mailbridge::testing::play_filter(transcript::parse(text), {});
    for (const std::string& difference : played.differences) ADD_FAILURE() << name << ": " << difference.substr(0, 200);
    EXPECT_EQ(played.violations, std::vector<std::string>{}) << name;
    EXPECT_NE(text.find(holds), std::string::npos) << holds;
  }
  EXPECT_EQ(files, 1U) << name;
  std::filesystem::remove_all(directory);
}

const std::string overloaded = "reject|451 4.3.2 Too many messages are being scanned, try again later\n";
const std::string deferred = "reject|451 4.3.0 Message could not be scanned, try again later\n";

TEST(FilterProgram, AScanOverEitherKindOfSocket) {
  for (const auto kind : {ScriptedServer::Kind::local, ScriptedServer::Kind::tcp}) {
    ScriptedServer rspamd([](Peer& peer) { hear_request(peer), peer.say(reply(no_action)); }, kind);
    Smtpd smtpd(with(rspamd));
    smtpd.mail();
    EXPECT_EQ(smtpd.answer(), "proceed\n");
    smtpd.report("tx-commit", "|00000001|9");
    EXPECT_EQ(smtpd.leave(), 0);
    EXPECT_NE(smtpd.errors().find(" action=\"no action\" "), std::string::npos);
    EXPECT_EQ(rspamd.finish(), "");
  }
}

TEST(FilterProgram, EveryRequestIsAnsweredWhateverRspamdDoes) {
  struct Row {
    std::string name;
    ScriptedServer::Script script;
    std::string error;
  };
  const Row rows[] = {
      {"silent", [](Peer& peer) { peer.wait_for_close(); }, "error=timed_out"},
      {"closes at once", [](Peer&) {}, "error=http reason=\"refused: connection lost twice, last: "},
      {"closes early", [](Peer& peer) { hear_request(peer); }, "error=http reason=\"refused: connection lost twice, last: "},
      {"closes in mid-reply", [](Peer& peer) { hear_request(peer), peer.say(reply(no_action).substr(0, 60)); },
       "error=http reason=\"refused: connection lost twice, last: "},
      {"garbage", [](Peer& peer) { peer.say("\x01garbage\r\n\r\n"); }, "error=unreadable"},
      {"refuses in mid-upload",
       [](Peer& peer) { peer.hear_line(), peer.say("HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n"), peer.pause(200); },
       "error=http"},
      {"an error without an action", [](Peer& peer) { hear_request(peer), peer.say(reply("{\"error\":\"no\"}")); },
       "error=unreadable"},
      {"slow drip",
       [](Peer& peer) {
         peer.hear_line();
         for (const char c : reply(no_action)) {
           try {
             peer.say(std::string_view(&c, 1));
           } catch (const std::exception&) {  // hung up on, as it should be
             return;
           }
           peer.pause(100);
         }
       },
       "error=timed_out"},
      {"huge reply",
       [](Peer& peer) {
         hear_request(peer);
         try {
           peer.say("HTTP/1.1 200 OK\r\n\r\n");
           for (int i = 0; i < 100; ++i) peer.say(std::string(100'000, ' '));
         } catch (const std::exception&) {
         }
       },
       "error=unreadable"},
  };
  const std::string large(60'000, 'x');
  for (const Row& row : rows) {
    ScriptedServer rspamd(row.script);
    Smtpd smtpd(with(rspamd, {"--scan-timeout", "1"}));
    smtpd.begin();
    smtpd.data("Received: by us");
    smtpd.data("");
    for (int i = 0; i < 40; ++i) smtpd.data(large);  // more than a socket holds
    smtpd.data(".");
    EXPECT_EQ(smtpd.answer(), deferred) << row.name;
    smtpd.report("tx-rollback", "|00000001");
    EXPECT_EQ(smtpd.leave(), 0) << row.name;
    const std::string errors = smtpd.errors();
    EXPECT_NE(errors.find(row.error), std::string::npos) << row.name << ": " << errors;
  }
}

TEST(FilterProgram, NobodyListens) {
  for (const char* endpoint : {"http://127.0.0.1:1", "unix:/nonexistent/rspamd.sock", "http://no-such-host.invalid:1"}) {
    Smtpd smtpd({"--rspamd", endpoint, "--log-target", "stderr", "--connect-timeout", "1"});
    smtpd.mail();
    EXPECT_EQ(smtpd.answer(), deferred) << endpoint;
    EXPECT_EQ(smtpd.leave(), 0) << endpoint;
  }
}

TEST(FilterProgram, OnErrorAcceptPassesTheMailWithTheReason) {
  Smtpd smtpd({"--rspamd", "http://127.0.0.1:1", "--on-error", "accept", "--log-target", "stderr"});
  smtpd.mail();
  EXPECT_NE(smtpd.hear("filter-dataline|0a|d0|Hello\n").find("|X-Spam-Error: unreachable: "), std::string::npos);
  EXPECT_EQ(smtpd.answer(), "proceed\n");
}

// A server of several: it answers /ping, and `scan` is what it does with a request, whose head it has heard.
ScriptedServer::Script one_of_several(std::function<void(Peer&, const std::string& head)> scan) {
  return [scan = std::move(scan)](Peer& peer) {
    const std::string head = peer.hear_until("\r\n\r\n");
    if (head.starts_with("GET /ping HTTP/1.1\r\n")) return peer.say("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npong\r\n");
    scan(peer, head);
  };
}

void answer(Peer& peer, const std::string&) {
  peer.hear_until("Hello\r\n");
  peer.say(reply(no_action));
}

TEST(FilterProgram, SomeServerGivesTheVerdict) {
  constexpr auto tcp = ScriptedServer::Kind::tcp;
  ScriptedServer resets(one_of_several([](Peer&, const std::string&) {}), tcp);  // in mid-body: there are bytes it has not read
  ScriptedServer answers(one_of_several(answer), tcp);
  const std::filesystem::path directory = ::testing::TempDir() + "several." + std::to_string(getpid());
  std::filesystem::create_directory(directory);
  const std::string nobody = "http://127.0.0.1:1";
  Smtpd smtpd({"--rspamd", nobody + ",priority=2", "--rspamd", "http://" + resets.endpoint() + ",priority=1", "--rspamd",
               "http://" + answers.endpoint(), "--log-target", "stderr", "--record", directory.string()});
  for (int mail = 0; mail < 3; ++mail) {
    smtpd.mail(std::string(60'000, 'x') + "Hello");
    EXPECT_EQ(smtpd.answer(), "proceed\n");
    smtpd.report("tx-commit", "|00000001|9");
    smtpd.report("link-disconnect");
  }
  EXPECT_EQ(smtpd.leave(), 0);
  expect_to_play(directory);
  EXPECT_EQ(resets.finish(), "");
  EXPECT_EQ(answers.finish(), "");
  EXPECT_EQ(answers.heard().size(), 3U);
  EXPECT_TRUE(answers.heard().at(0).starts_with("POST /checkv2 HTTP/1.1\r\nHost: " + answers.endpoint() + "\r\n"));
  const std::string errors = smtpd.errors();
  const std::string down = "rspamd=127.0.0.1:1 state=down reason=\"Connection refused\"\n";
  const std::size_t at = errors.find(down);
  EXPECT_NE(at, std::string::npos) << errors;
  EXPECT_EQ(errors.find("state=", at + down.size()), std::string::npos) << "once, and only that: " << errors;
  EXPECT_NE(errors.find(" server=" + answers.endpoint() + " action=\"no action\" "), std::string::npos) << errors;
}

TEST(FilterProgram, AMailThatEveryServerResetsIsRefusedAndTheServersStayUp) {
  constexpr auto tcp = ScriptedServer::Kind::tcp;
  const auto only_small = one_of_several([](Peer& peer, const std::string& head) {
    if (std::stoul(head.substr(head.find("Content-Length: ") + 16)) < 1000) answer(peer, head);
  });
  ScriptedServer one(only_small, tcp);
  ScriptedServer two(only_small, tcp);
  ScriptedServer three(only_small, tcp);
  Smtpd smtpd({"--rspamd", "http://" + one.endpoint(), "--rspamd", "http://" + two.endpoint(), "--rspamd",
               "http://" + three.endpoint(), "--log-target", "stderr"});
  for (int mail = 0; mail < 6; ++mail) {
    const bool large = mail % 2 == 0;
    smtpd.mail((large ? std::string(60'000, 'x') : "") + "Hello");
    EXPECT_EQ(smtpd.answer(), large ? deferred : "proceed\n");
    smtpd.report(large ? "tx-rollback" : "tx-commit", large ? "|00000001" : "|00000001|9");
    smtpd.report("link-disconnect");
  }
  EXPECT_EQ(smtpd.leave(), 0);
  std::size_t scans = 0;
  for (ScriptedServer* server : {&one, &two, &three}) {
    EXPECT_EQ(server->finish(), "");
    for (const std::string& heard : server->heard()) scans += heard.starts_with("POST ") ? 1 : 0;
  }
  EXPECT_EQ(scans, 3 * 2 + 3U) << "each large one twice";
  const std::string errors = smtpd.errors();
  EXPECT_NE(errors.find(" error=http reason=\"refused: connection lost twice, last: "), std::string::npos) << errors;
  EXPECT_EQ(errors.find("state="), std::string::npos) << errors;
}

TEST(FilterProgram, AServerWhoseScansNeverEndIsLeftAlone) {
  constexpr auto tcp = ScriptedServer::Kind::tcp;
  ScriptedServer hangs(one_of_several([](Peer& peer, const std::string&) { peer.wait_for_close(); }), tcp);
  ScriptedServer answers(one_of_several(answer), tcp);
  Smtpd smtpd({"--rspamd", "http://" + hangs.endpoint() + ",priority=1", "--rspamd", "http://" + answers.endpoint(),
               "--scan-timeout", "0.1", "--log-target", "stderr"});
  for (int mail = 0; mail < 5; ++mail) {
    smtpd.mail();
    EXPECT_EQ(smtpd.answer(), mail < 4 ? deferred : "proceed\n") << mail;
    smtpd.report(mail < 4 ? "tx-rollback" : "tx-commit", mail < 4 ? "|00000001" : "|00000001|9");
    smtpd.report("link-disconnect");
  }
  EXPECT_EQ(smtpd.leave(), 0);
  EXPECT_EQ(hangs.finish(), "");
  const std::string errors = smtpd.errors();
  EXPECT_NE(errors.find("rspamd=" + hangs.endpoint() + " state=down reason=\"several scans in a row timed out\"\n"),
            std::string::npos)
      << errors;
  EXPECT_NE(errors.find(" server=" + hangs.endpoint() + " error=timed_out "), std::string::npos) << errors;
}

// On a port of this host that nobody else gets meanwhile; it does not listen yet.
std::pair<int, sockaddr_in> bound_socket() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(fd, generic, size) != 0 || getsockname(fd, generic, &size) != 0) throw std::runtime_error("no port");
  return {fd, address};
}

TEST(FilterProgram, AServerThatAnswersPingAgainGetsMailAgain) {
  const auto bound = bound_socket();
  const int listener = bound.first;
  const std::string back = "127.0.0.1:" + std::to_string(ntohs(bound.second.sin_port));
  ScriptedServer answers(one_of_several(answer), ScriptedServer::Kind::tcp);
  Smtpd smtpd(
      {"--rspamd", "http://" + back + ",priority=1", "--rspamd", "http://" + answers.endpoint(), "--log-target", "stderr"});
  const auto one_mail = [&] {
    smtpd.mail();
    EXPECT_EQ(smtpd.answer(), "proceed\n");
    smtpd.report("tx-commit", "|00000001|9");
    smtpd.report("link-disconnect");
  };
  one_mail();
  ASSERT_EQ(listen(listener, 5), 0);
  std::vector<std::string> heard;
  std::thread server([&] {
    while (heard.size() < 2) {
      pollfd poll{listener, POLLIN, 0};
      if (::poll(&poll, 1, 20'000) != 1) return;
      const int fd = accept(listener, nullptr, nullptr);
      Peer peer(fd);
      one_of_several(answer)(peer);
      close(fd);
      heard.push_back(peer.heard());
    }
  });
  smtpd.hear_log("rspamd=" + back + " state=up\n");
  one_mail();
  server.join();
  close(listener);
  EXPECT_EQ(smtpd.leave(), 0);
  ASSERT_EQ(heard.size(), 2U);
  EXPECT_TRUE(heard[0].starts_with("GET /ping HTTP/1.1\r\nHost: " + back + "\r\n"));
  EXPECT_TRUE(heard[1].starts_with("POST /checkv2 "));
}

TEST(FilterProgram, AClientThatLeavesClosesItsScan) {
  ScriptedServer rspamd([](Peer& peer) {
    hear_request(peer);
    peer.wait_for_close();  // at once, not at the scan's deadline of 30 s; a script that waits 10 s fails
  });
  Smtpd smtpd(with(rspamd));
  smtpd.mail();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  smtpd.report("tx-rollback", "|00000001");
  smtpd.report("tx-reset", "|00000001");
  smtpd.report("link-disconnect");
  EXPECT_EQ(rspamd.finish(), "");
  EXPECT_EQ(smtpd.leave(), 0);
  EXPECT_NE(smtpd.errors().find("answer=none result=rolled-back"), std::string::npos);
}

TEST(FilterProgram, AClientThatLeavesWhileWeConnectSaysNothingAboutTheServer) {
  // A listener that has as many connections waiting as it takes: the kernel answers no other.
  const auto [listener, address] = bound_socket();
  ASSERT_EQ(listen(listener, 0), 0);
  std::vector<int> waiting;
  for (pollfd poll{-1, POLLOUT, 0}; poll.fd < 0 || ::poll(&poll, 1, 100) == 1;) {
    waiting.push_back(poll.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    connect(poll.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  const std::string full = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  Smtpd smtpd({"--rspamd", full, "--rspamd", "http://127.0.0.1:1", "--log-target", "stderr", "--connect-timeout", "30"});
  smtpd.mail();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  smtpd.report("tx-rollback", "|00000001");
  smtpd.report("link-disconnect");
  EXPECT_EQ(smtpd.hear_log("answer=none result=rolled-back\n").find("state="), std::string::npos);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(smtpd.leave(), 0);
  EXPECT_EQ(smtpd.errors(), "counters answer.none=1 mails=1 result.rolled-back=1\n");
  for (const int fd : waiting) close(fd);
  close(listener);
}

TEST(FilterProgram, EndOfFileEndsItWithAScanInFlight) {
  ScriptedServer rspamd([](Peer& peer) { hear_request(peer), peer.wait_for_close(); });
  Smtpd smtpd(with(rspamd));
  smtpd.mail();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(smtpd.leave(), 0);
  EXPECT_EQ(rspamd.finish(), "");
}

TEST(FilterProgram, AuthAndTlsOfSmtpd78ReachRspamd) {
  // As recorded from OpenSMTPD 7.8, for Debian 12's cannot do either; see tests/data/smtpd-7.8/tls-auth.session.
  ScriptedServer rspamd([](Peer& peer) { hear_request(peer), peer.say(reply(no_action)); });
  Smtpd smtpd(with(rspamd));
  smtpd.report("link-connect", "|localhost|pass|127.0.0.1:50148|127.0.0.1:3601");
  smtpd.report("link-tls", "|TLSv1.3:TLS_AES_256_GCM_SHA384:256");
  smtpd.report("link-auth", "|fail|mallory");
  smtpd.report("link-auth", "|pass|carol");
  smtpd.report("tx-begin", "|00000001");
  smtpd.report("tx-mail", "|00000001|ok|carol@example.org");
  smtpd.report("tx-rcpt", "|00000001|ok|dave@example.net");
  smtpd.data("Received: by us");
  smtpd.data(".");
  EXPECT_EQ(smtpd.answer(), "proceed\n");
  EXPECT_EQ(rspamd.finish(), "");
  for (const char* line : {"\r\nUser: carol\r\n", "\r\nTLS-Version: TLSv1.3\r\n", "\r\nTLS-Cipher: TLS_AES_256_GCM_SHA384\r\n"}) {
    EXPECT_NE(rspamd.heard().at(0).find(line), std::string::npos) << line;
  }
}

TEST(FilterProgram, AWrongOptionNeverTakesSmtpdDown) {
  const std::string path = ::testing::TempDir() + "filter-mailbridge." + std::to_string(getpid()) + ".toml";
  std::ofstream(path) << "# a comment\nscan-timeout = 'soon'\n";
  const std::string crowd = ::testing::TempDir() + "crowd." + std::to_string(getpid()) + ".toml";
  std::ofstream crowded(crowd);
  crowded << "rspamd = [";
  for (int i = 0; i < 65; ++i) crowded << "'http://scan" << i << ".example.org',";
  crowded << "]\n" << std::flush;
  const std::string list = ::testing::TempDir() + "networks." + std::to_string(getpid());
  std::ofstream(list) << "# ours\n10.0.0.0/8\n10.0.0.0/33 # too narrow\n";
  const std::string short_key = ::testing::TempDir() + "key." + std::to_string(getpid());
  std::ofstream(short_key).put('x');
  struct Row {
    std::vector<std::string> arguments;
    std::string complaint;
  };
  const Row rows[] = {
      {{"--no-such-option"}, "--no-such-option"},
      {{"--rspamd", "http://a", "--rspamd", "http://b,prio=1"},
       "--rspamd: 'priority=N' and 'key=KEY' can follow an endpoint, each once, not 'prio=1'"},
      {{"--rspamd", "http://a", "http://b"}, "http://b"},
      {{"--config", crowd}, "--rspamd: 64 servers at most"},
      {{"--rspamd", "ftp://x"}, "--rspamd: an rspamd endpoint begins with 'http://', 'https://' or 'unix:/'"},
      {{"--scan-timeout", "0"}, "--scan-timeout: a number of seconds from 0.1 to 600 is wanted, not 0"},
      {{"--scan-timeout", "nan"}, "--scan-timeout: a number of seconds from 0.1 to 600 is wanted, not nan"},
      {{"--connect-timeout", "60.1"}, "--connect-timeout: a number of seconds from 0.1 to 60 is wanted, not 60.1"},
      {{"--on-error", "explode"}, "--on-error"},
      {{"--max-size", "40 MB"}, "--max-size: a size such as 4096, 512K, 64M or 1G is wanted, not 40 MB"},
      {{"--networks", list}, "--networks: " + list + ":3: an address or ADDRESS/BITS is wanted, not 10.0.0.0/33"},
      {{"--recipients", "/nonexistent"}, "--recipients: /nonexistent: No such file or directory"},
      {{"--verify", "alice@example.org"}, "--verify: a domain is wanted, not alice@example.org"},
      {{"--verify", "example.org"}, "--verify goes with --lmtp or --quota-status"},
      {{"--lmtp", "dovecot"}, "--lmtp: the port is missing"},
      {{"--lmtp-connections", "0"}, "--lmtp-connections: a number from 1 to 1000 is wanted, not 0"},
      {{"--lmtp-source", "dovecot"}, "--lmtp-source: an IPv4 or IPv6 address is wanted, not dovecot"},
      {{"--lmtp-source", "192.0.2.0/24"}, "--lmtp-source: an IPv4 or IPv6 address is wanted, not 192.0.2.0/24"},
      {{"--lmtp", "/run/lmtp", "--lmtp-starttls"}, "--lmtp-starttls over a unix socket goes with --lmtp-name"},
      {{"--lmtp-cert", "/cert.pem"}, "--lmtp-cert and --lmtp-cert-key go together"},
      {{"--lmtp", "lmtps://127.0.0.1:24", "--lmtp-ca", "/nonexistent"}, "/nonexistent: No such file or directory"},
      {{"--lmtp", "127.0.0.1:24", "--lmtp-starttls", "--lmtp-ca", "/nonexistent"}, "/nonexistent: No such file or directory"},
      {{"--quota-status", "dovecot"}, "--quota-status: "},
      {{"--deliver"}, "--deliver goes with --lmtp, --verify and --mark-key"},
      {{"--mark-key", "/nonexistent"}, "--mark-key: /nonexistent: No such file or directory"},
      {{"--mark-key", "/dev/null"}, "--mark-key: /dev/null: not a regular file"},
      {{"--mark-key", short_key}, "--mark-key: " + short_key + ": line 1: a key of at least 32 bytes is wanted"},
      {{"--deliver-timeout", "601"}, "--deliver-timeout: a number of seconds from 0.1 to 600 is wanted, not 601"},
      {{"--max-unknown=-1"}, "--max-unknown: a number from 0 to 1000 is wanted, not -1"},
      {{"--skip", "friends"}, "--skip: one of authenticated, local, networks and recipients is wanted, not friends"},
      {{"--settings-id", "friends=x"},
       "--settings-id: one of authenticated, local, networks and recipients is wanted, not friends"},
      {{"--action", "reject"}, "--action: NAME=DO is wanted, not reject"},
      {{"--config", path}, path + ":2: scan-timeout: "},
      {{"--config", "/nonexistent"}, "/nonexistent: No such file or directory"},
      {{"--help"}, "an option that only prints text has no place in smtpd.conf"},
  };
  for (const Row& row : rows) {
    Smtpd smtpd(row.arguments);
    smtpd.mail();
    EXPECT_EQ(smtpd.answer(), "reject|451 4.3.0 Mail scanning is out of order, try again later\n") << row.complaint;
    EXPECT_EQ(smtpd.leave(), 0) << row.complaint;
    const std::string errors = smtpd.errors();
    EXPECT_NE(errors.find(row.complaint), std::string::npos) << errors;
    EXPECT_EQ(errors.find('\n') + 1, errors.size()) << "one line: " << errors;

    // The same line where there is no smtpd, and an exit status.
    std::vector<std::string> argv = {MB_FILTER};
    argv.insert(argv.end(), row.arguments.begin(), row.arguments.end());
    if (row.arguments[0] == "--help") continue;
    for (const bool check : {false, true}) {
      if (check) argv.emplace_back("--check-config");
      const test::Ended ended = test::run({argv, {}, ""});
      EXPECT_EQ(ended.status, 1) << row.complaint;
      EXPECT_NE(ended.err.find(row.complaint), std::string::npos) << ended.err;
    }
  }
  std::filesystem::remove(path);
  std::filesystem::remove(list);
  std::filesystem::remove(short_key);
  std::filesystem::remove(crowd);
}

TEST(FilterProgram, SighupReadsTheConfigurationFileAgain) {
  const std::filesystem::path file = ::testing::TempDir() + "again." + std::to_string(getpid()) + ".toml";
  const auto write = [&](const std::string& text) {
    std::ofstream(file, std::ios::binary) << "rspamd = 'unix:/nonexistent'\n" << text;
  };
  const auto hang_up = [](const Smtpd& smtpd) { kill(smtpd.pid(), SIGHUP); };
  write("on-error = 'tempfail'\n");
  Smtpd smtpd({"--config", file, "--log-target", "stderr"});
  smtpd.mail();
  EXPECT_EQ(smtpd.answer(), deferred);

  // A session that began before.
  smtpd.report("tx-reset", "|00000001");
  smtpd.begin();
  smtpd.data("Received: by us");
  write("on-error = 'accept'\n");
  hang_up(smtpd);
  smtpd.hear_log("the settings were read again\n");
  smtpd.data("");
  smtpd.data(".");
  EXPECT_EQ(smtpd.answer(), "proceed\n");

  write("on-error = 'tempfail'\nscan-timeout = 0\n");
  hang_up(smtpd);
  smtpd.hear_log("the settings stay as they were: " + file.string() + ":3: scan-timeout: ");
  smtpd.report("tx-reset", "|00000001");
  smtpd.mail();
  EXPECT_EQ(smtpd.answer(), "proceed\n");
  EXPECT_EQ(smtpd.leave(), 0);

  // So a mistake is repaired without a restart.
  Smtpd broken({"--config", file, "--log-target", "stderr"});
  broken.hear_log("scan-timeout: ");
  broken.mail();
  EXPECT_EQ(broken.answer(), "reject|451 4.3.0 Mail scanning is out of order, try again later\n");
  write("on-error = 'accept'\nlog-target = 'stderr'\n");
  hang_up(broken);
  broken.hear_log("the settings were read again\n");
  broken.report("tx-reset", "|00000001");
  broken.mail();
  EXPECT_EQ(broken.answer(), "proceed\n");
  EXPECT_EQ(broken.leave(), 0);
  std::filesystem::remove(file);
}

TEST(FilterProgram, Sigusr1AndTheEndTellWhatHappened) {
  Smtpd smtpd({"--rspamd", "unix:/nonexistent", "--log-target", "stderr", "--on-unreachable", "reject"});
  smtpd.mail();
  EXPECT_EQ(smtpd.answer(), "reject|554 5.3.0 Message could not be scanned\n");
  smtpd.report("tx-rollback", "|00000001");
  smtpd.report("tx-reset", "|00000001");
  smtpd.hear_log("result=rolled-back\n");
  kill(smtpd.pid(), SIGUSR1);
  const std::string figures = "counters answer.reject=1 error.unreachable=1 mails=1 result.rolled-back=1\n";
  smtpd.hear_log(figures);
  EXPECT_EQ(smtpd.leave(), 0);
  EXPECT_NE(smtpd.errors().find(figures), std::string::npos);
}

// To open it, or to ask for the pass phrase of a key, would be to wait for ever.
TEST(FilterProgram, FilesThatWouldMakeItWaitAreRefused) {
  const std::filesystem::path file = ::testing::TempDir() + "waits." + std::to_string(getpid()) + ".toml";
  const std::filesystem::path fifo = ::testing::TempDir() + "fifo." + std::to_string(getpid());
  test::Authority authority;
  test::Certificate certificate;
  authority.issue(certificate, "filter", {});
  const std::string locked = authority.write("locked", [&](std::FILE* to) {
    PEM_write_PrivateKey(to, certificate.key, EVP_aes_256_cbc(), reinterpret_cast<const unsigned char*>("secret"), 6, nullptr,
                         nullptr);
  });
  const std::string same = "rspamd = 'unix:/nonexistent'\non-error = 'accept'\n";
  std::ofstream(file) << same;
  Smtpd smtpd({"--config", file, "--log-target", "stderr"});
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const std::string quoted = "'" + fifo.string() + "'\n";
  const std::string no_file = fifo.string() + ": not a regular file\n";
  const std::string tls = "rspamd = 'https://127.0.0.1:1'\nrspamd-cert = '" + certificate.file + "'\nrspamd-cert-key = ";
  const std::pair<std::string, std::string> rows[] = {
      {same + "networks = " + quoted, "--networks: " + no_file},
      {same + "recipients = " + quoted, "--recipients: " + no_file},
      {same + "mark-key = " + quoted, "--mark-key: " + no_file},
      {same + "lmtp = 'lmtps://127.0.0.1:1'\nlmtp-ca = " + quoted, no_file},
      {tls + quoted, no_file},
      {tls + "'" + locked + "'\n", locked + ": it has a pass phrase, and nobody is there to be asked\n"},
  };
  for (const auto& [text, complaint] : rows) {
    std::ofstream(file, std::ios::trunc) << text;
    kill(smtpd.pid(), SIGHUP);
    smtpd.hear_log("the settings stay as they were: " + complaint);
  }
  std::filesystem::rename(fifo, file);
  kill(smtpd.pid(), SIGHUP);
  smtpd.hear_log("the settings stay as they were: " + file.string() + ": not a regular file\n");
  smtpd.mail();
  EXPECT_EQ(smtpd.answer(), "proceed\n");
  EXPECT_EQ(smtpd.leave(), 0);
  std::filesystem::remove(file);
}

TEST(FilterProgram, SighupBringsOtherServers) {
  const std::filesystem::path file = ::testing::TempDir() + "servers." + std::to_string(getpid()) + ".toml";
  ScriptedServer before(one_of_several(answer), ScriptedServer::Kind::tcp);
  ScriptedServer after(one_of_several(answer), ScriptedServer::Kind::tcp);
  std::ofstream(file) << "rspamd = 'http://" + before.endpoint() + "'\n";
  Smtpd smtpd({"--config", file, "--log-target", "stderr"});
  smtpd.mail();
  EXPECT_EQ(smtpd.answer(), "proceed\n");
  smtpd.report("tx-reset", "|00000001");
  std::ofstream(file) << "rspamd = ['http://" + after.endpoint() + ",priority=1', 'http://" + before.endpoint() + "']\n";
  kill(smtpd.pid(), SIGHUP);
  smtpd.hear_log("the settings were read again\n");
  smtpd.mail();
  EXPECT_EQ(smtpd.answer(), "proceed\n");
  EXPECT_EQ(smtpd.leave(), 0);
  EXPECT_EQ(before.finish() + after.finish(), "");
  EXPECT_EQ(before.heard().size(), 1U);
  EXPECT_EQ(after.heard().size(), 1U);
  std::filesystem::remove(file);
}

TEST(FilterProgram, CheckAsksEachServer) {
  const auto worker = [](Peer& peer, const std::string& verdict) {
    const std::string request = hear_request(peer);
    if (request.starts_with("GET /ping ")) return peer.say("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npong\r\n");
    if (request.starts_with("GET ")) return peer.say("HTTP/1.1 500 invalid command\r\nContent-Length: 0\r\n\r\n");
    peer.say(reply(verdict));
  };
  ScriptedServer knows([&](Peer& peer) { worker(peer, "{\"action\":\"reject\"}"); });
  ScriptedServer passes([&](Peer& peer) { worker(peer, no_action); });
  const auto check = [](std::vector<std::string> servers) {
    servers.insert(servers.begin(), {MB_FILTER, "--check"});
    return test::run({.argv = std::move(servers), .environment = {}, .input = ""});
  };
  const auto good = check({"--rspamd", "unix:" + knows.endpoint()});
  EXPECT_EQ(good.status, 0) << good.err;
  EXPECT_NE(good.out.find("configuration OK\nunix:" + knows.endpoint() + ": OK, refuses the test spam ("), std::string::npos)
      << good.out;
  const auto bad = check({"--rspamd", "unix:" + passes.endpoint(), "--rspamd", "unix:/nonexistent"});
  EXPECT_EQ(bad.status, 1);
  EXPECT_EQ(bad.out, "configuration OK\nunix:" + passes.endpoint() +
                         ": answers, but with \"no action\" to the test spam GTUBE\n"
                         "unix:/nonexistent: No such file or directory\n");
  EXPECT_EQ(check({"--rspamd", "smb://x"}).status, 1);
}

// The scan under way goes on with the servers it began with, and as they are reached.
TEST(FilterProgram, SighupWhileAScanIsTriedWithTls) {
  const std::filesystem::path file = ::testing::TempDir() + "tls." + std::to_string(getpid()) + ".toml";
  std::promise<void> under_way;
  std::promise<void> read_again;
  ScriptedServer first([&](Peer& peer) { peer.hear_until("\x16"), under_way.set_value(), read_again.get_future().wait(); },
                       ScriptedServer::Kind::tcp);
  ScriptedServer second([](Peer& peer) { peer.hear_until("\x16"); }, ScriptedServer::Kind::tcp);
  std::ofstream(file) << "rspamd = ['https://" + first.endpoint() + "', 'https://" + second.endpoint() + "']\n";
  Smtpd smtpd({"--config", file, "--log-target", "stderr"});
  smtpd.mail();
  under_way.get_future().wait();
  std::ofstream(file) << "rspamd = 'http://127.0.0.1:1'\n";
  kill(smtpd.pid(), SIGHUP);
  smtpd.hear_log("the settings were read again\n");
  read_again.set_value();
  EXPECT_EQ(smtpd.answer(), deferred);
  EXPECT_EQ(smtpd.leave(), 0);
  EXPECT_EQ(first.finish() + second.finish(), "");
  std::filesystem::remove(file);
}

// smtpd reads its filters' standard error in the process that it can be busy in, and a full one is no reason to wait.
TEST(FilterProgram, AStandardErrorThatNobodyReadsStopsNoMail) {
  Smtpd smtpd({"--networks", "192.0.2.0/24", "--skip", "networks", "--log-target", "stderr"});
  const std::string sender = std::string(240, 'a') + "@example.net";
  constexpr std::size_t mails = 3500;  // lines of 400 bytes: more than is kept
  for (std::size_t mail = 0; mail < mails; ++mail) {
    smtpd.begin();
    smtpd.report("tx-mail", "|00000001|ok|" + sender);
    smtpd.data("Received: by us");
    smtpd.data("");
    smtpd.data("Hello");
    smtpd.data(".");
    ASSERT_EQ(smtpd.answer(), "proceed\n");
    smtpd.report("tx-commit", "|00000001|9");
    smtpd.report("link-disconnect");
  }
  const std::string words = " lines were lost: the log could not be written\n";
  const std::string log = smtpd.hear_log(words);
  const std::size_t last = log.rfind('\n', log.size() - 2) + 1;
  const std::size_t lost = std::stoul(log.substr(last));
  std::size_t lines = 0;
  for (std::size_t at = 0; (at = log.find(" result=committed\n", at)) != std::string::npos; ++at) ++lines;
  EXPECT_EQ(lines + lost, mails);
  EXPECT_EQ(smtpd.leave(), 0);
  EXPECT_TRUE(smtpd.errors().starts_with("counters ")) << "it is told once";
}

TEST(FilterProgram, ItConfinesItself) {
  Smtpd smtpd({"--log-target", "stderr", "--log-level", "debug", "--rspamd", "http://name.to.be.looked.up.invalid"});
  std::vector<std::string> threads;  // the look-up's is there for as long as that takes
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(smtpd.pid()) + "/task")) {
    std::ifstream in(thread.path() / "status");
    threads.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  EXPECT_EQ(smtpd.leave(), 0);
  if (smtpd.errors().find("not confined: ") != std::string::npos) GTEST_SKIP() << "no Landlock here";
  std::erase(threads, "");  // gone meanwhile
  for (const std::string& status : threads) EXPECT_NE(status.find("NoNewPrivs:\t1"), std::string::npos) << status;
}

TEST(FilterProgram, SaysWhatItIsWhenNobodyServes) {
  EXPECT_EQ(test::run({{MB_FILTER, "--check-config"}, {}, ""}).out, "configuration OK\n");
  const std::string help = test::run({{MB_FILTER, "--help"}, {}, ""}).out;
  EXPECT_NE(help.find("--rspamd"), std::string::npos);
  EXPECT_EQ(help.find("=[]"), std::string::npos);
  const test::Ended spool = test::run({{MB_FILTER, "--check-config", "--spool", "/nonexistent"}, {}, ""});
  EXPECT_EQ(spool.status, 1);
  EXPECT_EQ(spool.err, "filter-mailbridge: --spool /nonexistent: No such file or directory\n");
  const test::Ended ended = test::run({{MB_FILTER}, {}, ""});
  EXPECT_EQ(ended.status, 1);
  EXPECT_NE(ended.err.find("standard input is no socket"), std::string::npos);
}

TEST(FilterProgram, ALargeMailWithLittleMemoryReachesRspamdWhole) {
  ScriptedServer rspamd([](Peer& peer) { hear_request(peer), peer.say(reply(no_action)); });
  Smtpd smtpd(with(rspamd, {"--memory", "100K", "--spool", ::testing::TempDir()}));
  smtpd.begin();
  std::string sent = "Received: by us\r\n\r\n";
  smtpd.data("Received: by us");
  smtpd.data("");
  for (int i = 0; i < 4000; ++i) {
    const std::string line = std::to_string(i) + std::string(990, 'x');
    smtpd.data(line);
    sent += line + "\r\n";
  }
  smtpd.data(".");
  const std::string back = smtpd.hear("filter-dataline|0a|d0|.\n");
  EXPECT_EQ(std::count(back.begin(), back.end(), '\n'), 4003);
  EXPECT_EQ(rspamd.finish(), "");
  EXPECT_TRUE(rspamd.heard().at(0).ends_with("\r\n\r\n" + sent));
}

TEST(FilterProgram, AMailThatFindsNoStorageIsDeferredAlone) {
  ScriptedServer rspamd([](Peer& peer) { hear_request(peer), peer.say(reply(no_action)); });
  std::unique_ptr<Smtpd> smtpd;
  {
    const SoftLimit full(RLIMIT_FSIZE, 1 << 20);
    smtpd = std::make_unique<Smtpd>(with(rspamd, {"--memory", "100K", "--spool", ::testing::TempDir()}));
  }
  smtpd->begin();
  smtpd->data("");
  for (int i = 0; i < 2000; ++i) smtpd->data(std::string(1000, 'x'));
  smtpd->say("report|0.7|1.2|smtp-in|link-connect|0b|mx.example.net|pass|192.0.2.1:99|192.0.2.9:25\n");
  smtpd->say("filter|0.7|1.2|smtp-in|data-line|0b|d1|Received: by us\nfilter|0.7|1.2|smtp-in|data-line|0b|d1|.\n");
  smtpd->hear("filter-dataline|0b|d1|Received: by us\nfilter-dataline|0b|d1|.\n");
  smtpd->say("filter|0.7|1.2|smtp-in|commit|0b|c1|\n");
  smtpd->hear("filter-result|0b|c1|proceed\n");
  smtpd->data(".");
  EXPECT_EQ(smtpd->answer(), "reject|451 4.3.1 Not enough storage for the message, try again later\n");
  EXPECT_EQ(smtpd->leave(), 0);
  EXPECT_NE(smtpd->errors().find(": File too large"), std::string::npos);
}

TEST(FilterProgram, AScanThatWaitsIsSentWhenThePlaceOfAnotherIsFree) {
  ScriptedServer rspamd([](Peer& peer) { hear_request(peer), peer.say(reply(no_action)); });
  Smtpd smtpd(with(rspamd, {"--max-scans", "1"}));
  for (const std::string id : {"0a", "0b", "0c"}) {
    smtpd.say("report|0.7|1.2|smtp-in|link-connect|" + id + "|mx.example.net|pass|192.0.2.1:99|192.0.2.9:25\n");
    for (const std::string line : {"Received: by us", "Subject: x", "."}) {
      smtpd.say("filter|0.7|1.2|smtp-in|data-line|" + id + "|d0|" + line + "\n");
    }
  }
  for (const std::string id : {"0a", "0b", "0c"}) smtpd.hear("filter-dataline|" + id + "|d0|.\n");
  EXPECT_EQ(smtpd.leave(), 0);
  EXPECT_EQ(rspamd.finish(), "");
  EXPECT_EQ(rspamd.heard().size(), 3U);
}

// Each fails in the moment it begins, and makes room for the next one.
TEST(FilterProgram, AThousandScansThatWaitFailInARow) {
  std::promise<void> under_way;
  ScriptedServer rspamd([&](Peer& peer) { hear_request(peer), under_way.set_value(), peer.wait_for_close(); });
  std::unique_ptr<Smtpd> smtpd;
  {
    const SoftLimit small(RLIMIT_STACK, rlim_t{1024} * 1024);
    smtpd = std::make_unique<Smtpd>(with(rspamd, {"--max-scans", "1", "--log-level", "error"}));
  }
  smtpd->mail();
  under_way.get_future().wait();
  constexpr unsigned first = 1000;
  constexpr unsigned last = first + 999;
  for (unsigned id = first; id <= last; ++id) {
    smtpd->say("report|0.7|1.2|smtp-in|link-connect|" + std::to_string(id) + "|mx.example.net|pass|192.0.2.1:99|192.0.2.9:25\n");
    for (const std::string line : {"Received: by us", "Subject: x", "."}) {
      smtpd->say("filter|0.7|1.2|smtp-in|data-line|" + std::to_string(id) + "|d0|" + line + "\n");
    }
  }
  std::filesystem::remove(rspamd.endpoint());
  smtpd->report("link-disconnect");
  smtpd->hear("filter-dataline|" + std::to_string(last) + "|d0|.\n");
  EXPECT_EQ(smtpd->leave(), 0);
  EXPECT_EQ(rspamd.finish(), "");
}

TEST(FilterProgram, AsManyScansAtOnceAsTheHardLimitOfDescriptorsAllows) {
  std::unique_ptr<Smtpd> smtpd;
  {
    const SoftLimit few(RLIMIT_NOFILE, 64);
    smtpd = std::make_unique<Smtpd>(std::vector<std::string>{"--rspamd", "unix:/nonexistent", "--log-target", "stderr"});
  }
  rlimit own{};
  rlimit limit{};
  ASSERT_EQ(prlimit(smtpd->pid(), RLIMIT_NOFILE, nullptr, &limit), 0);
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &own), 0);
  EXPECT_EQ(limit.rlim_cur, own.rlim_max);
}

// As many sessions with a mail each, all of which end at once: all that comes back of them.
std::string crowd(Smtpd& smtpd, unsigned sessions) {
  for (unsigned id = 1000; id < 1000 + sessions; ++id) {
    const std::string name = std::to_string(id);
    smtpd.say("report|0.7|1.2|smtp-in|link-connect|" + name + "|mx.example.net|pass|192.0.2.1:99|192.0.2.9:25\n");
    for (const std::string line : {"Received: by us", "", "Hello", "."}) {
      smtpd.say("filter|0.7|1.2|smtp-in|data-line|" + name + "|d0|" + line + "\n");
    }
  }
  std::string all;
  for (unsigned mail = 0; mail < sessions; ++mail) all += smtpd.hear("|d0|.\n");
  for (unsigned id = 1000; id < 1000 + sessions; ++id) {
    smtpd.say("filter|0.7|1.2|smtp-in|commit|" + std::to_string(id) + "|c0|\n");
    all += smtpd.hear("filter-result|" + std::to_string(id) + "|c0|");
    all += smtpd.hear("\n");
    smtpd.say("report|0.7|1.2|smtp-in|tx-commit|" + std::to_string(id) + "|00000001|9\n");
    smtpd.say("report|0.7|1.2|smtp-in|link-disconnect|" + std::to_string(id) + "\n");
  }
  return all;
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t found = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++found;
  return found;
}

// Whatever is to be done when rspamd cannot be reached: that we cannot reach it for want of descriptors is another matter.
TEST(FilterProgram, WithFewDescriptorsNoMailPassesUnscanned) {
  constexpr unsigned sessions = 200;
  for (const auto kind : {ScriptedServer::Kind::local, ScriptedServer::Kind::tcp}) {
    ScriptedServer rspamd([](Peer& peer) { hear_request(peer), peer.say(reply(no_action)); }, kind);
    Smtpd smtpd(with(rspamd, {"--on-unreachable", "accept"}), {"/bin/sh", "-c", R"(ulimit -n 64 && exec "$@")", "sh"});
    const std::string note = smtpd.hear_log(" instead of 256: no more than 64 descriptors may be open (RLIMIT_NOFILE)\n");
    const std::string option = "--max-scans is ";
    const unsigned long scans = std::stoul(note.substr(note.find(option) + option.size()));
    EXPECT_GE(scans, 16U);
    EXPECT_LE(scans, 24U);
    const std::string all = crowd(smtpd, sessions);
    EXPECT_EQ(all.find("X-Spam-Error"), std::string::npos);
    EXPECT_EQ(count(all, "|c0|proceed\n"), sessions);
    EXPECT_EQ(smtpd.leave(), 0);
    EXPECT_EQ(rspamd.finish(), "");
    EXPECT_EQ(rspamd.heard().size(), sessions);
    EXPECT_EQ(smtpd.errors().find("error="), std::string::npos);
  }
}

#ifndef __SANITIZE_ADDRESS__  // the sanitizers want descriptors of their own, to look at memory through a pipe
// The limit was another one when it began, or descriptors went elsewhere.
TEST(FilterProgram, ScansThatFindNoDescriptorWaitForOthersToEnd) {
  constexpr unsigned sessions = 100;
  ScriptedServer rspamd(one_of_several(answer));
  const std::filesystem::path directory = ::testing::TempDir() + "waiting." + std::to_string(getpid());
  std::filesystem::create_directory(directory);
  Smtpd smtpd(with(rspamd, {"--on-unreachable", "accept", "--rspamd", "unix:/nonexistent,priority=0", "--record", directory}));
  const rlimit few{.rlim_cur = 20, .rlim_max = 20};
  ASSERT_EQ(prlimit(smtpd.pid(), RLIMIT_NOFILE, &few, nullptr), 0);
  const std::string all = crowd(smtpd, sessions);
  EXPECT_EQ(all.find("X-Spam-Error"), std::string::npos);
  EXPECT_EQ(count(all, "|c0|proceed\n"), sessions);
  EXPECT_EQ(smtpd.leave(), 0);
  expect_to_play(directory, {}, "! lacking Too many open files\n");
  EXPECT_EQ(rspamd.finish(), "");
  const std::string errors = smtpd.errors();
  EXPECT_EQ(errors.find("error="), std::string::npos) << errors;
  EXPECT_EQ(errors.find("rspamd=unix:" + rspamd.endpoint() + " state=down"), std::string::npos) << errors;
}

TEST(FilterProgram, WithoutADescriptorForTheScanTheMailIsDeferred) {
  ScriptedServer rspamd([](Peer& peer) { hear_request(peer), peer.say(reply(no_action)); });
  Smtpd smtpd(with(rspamd));
  rlimit before{};
  ASSERT_EQ(prlimit(smtpd.pid(), RLIMIT_NOFILE, nullptr, &before), 0);
  rlimit none = before;  // the lowest number that is free: a limit of so many leaves none
  for (none.rlim_cur = 0; std::filesystem::exists(
           std::filesystem::symlink_status("/proc/" + std::to_string(smtpd.pid()) + "/fd/" + std::to_string(none.rlim_cur)));) {
    ++none.rlim_cur;
  }
  ASSERT_EQ(prlimit(smtpd.pid(), RLIMIT_NOFILE, &none, nullptr), 0);
  smtpd.mail();
  EXPECT_EQ(smtpd.answer(), overloaded);
  smtpd.report("tx-rollback", "|00000001");
  smtpd.report("tx-reset", "|00000001");
  ASSERT_EQ(prlimit(smtpd.pid(), RLIMIT_NOFILE, &before, nullptr), 0);
  smtpd.mail();
  EXPECT_EQ(smtpd.answer(), "proceed\n");
  EXPECT_EQ(smtpd.leave(), 0);
  EXPECT_NE(smtpd.errors().find("error=overload reason=\"Too many open files\""), std::string::npos);
}
#endif

TEST(FilterProgram, ARecordingThatMayNotGrowStopsNoMail) {
  const std::filesystem::path directory = ::testing::TempDir() + "short." + std::to_string(getpid());
  std::filesystem::create_directory(directory);
  std::unique_ptr<Smtpd> smtpd;
  {
    const SoftLimit small(RLIMIT_FSIZE, 100);
    smtpd = std::make_unique<Smtpd>(
        std::vector<std::string>{"--rspamd", "unix:/nonexistent", "--log-target", "stderr", "--record", directory.string()});
  }
  smtpd->mail();
  EXPECT_EQ(smtpd->answer(), deferred);
  EXPECT_EQ(smtpd->leave(), 0);
  std::filesystem::remove_all(directory);
}

#ifndef __SANITIZE_ADDRESS__  // which wants terabytes of addresses for itself
TEST(FilterProgram, AMailThatMemoryDoesNotSufficeForIsDeferredAndNoOtherOne) {
  ScriptedServer rspamd([](Peer& peer) { hear_request(peer), peer.say(reply(no_action)); });
  std::unique_ptr<Smtpd> smtpd;
  {
    const SoftLimit small(RLIMIT_AS, rlim_t{64} << 20);
    smtpd = std::make_unique<Smtpd>(with(rspamd));
  }
  smtpd->begin();
  smtpd->data("Received: by us");
  smtpd->data("");
  const std::string large(60'000, 'x');
  for (int i = 0; i < 1000; ++i) smtpd->data(large);
  smtpd->data(".");
  EXPECT_EQ(smtpd->answer(), deferred);
  smtpd->report("tx-rollback", "|00000001");
  smtpd->report("link-disconnect");
  smtpd->mail();
  EXPECT_EQ(smtpd->answer(), "proceed\n");
  EXPECT_EQ(smtpd->leave(), 0);
  EXPECT_EQ(rspamd.finish(), "");
  EXPECT_EQ(rspamd.heard().size(), 1U) << "nothing of the large one is scanned";
}
#endif

TEST(FilterProgram, ARecordingPlaysAgain) {
  const std::filesystem::path directory = ::testing::TempDir() + "recordings." + std::to_string(getpid());
  std::filesystem::create_directory(directory);
  ScriptedServer rspamd([](Peer& peer) {
    hear_request(peer);
    peer.pause(30);
    peer.say(reply("{\"action\":\"add header\",\"score\":7,\"required_score\":15}"));
  });
  Smtpd smtpd(with(rspamd, {"--record", directory.string(), "--scan-timeout", "5"}));
  smtpd.mail(
      "odd\x01"
      "bytes\\ \xff");
  EXPECT_EQ(smtpd.answer(), "proceed\n");
  smtpd.report("tx-commit", "|00000001|9");
  smtpd.report("tx-reset", "|00000001");
  EXPECT_EQ(smtpd.leave(), 0);
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    ++files;
    struct stat status {};
    ASSERT_EQ(stat(entry.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600U);
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const auto played = mailbridge::testing::play_filter(transcript::parse(text), {});
    EXPECT_EQ(played.differences, std::vector<std::string>{}) << text;
    EXPECT_EQ(played.violations, std::vector<std::string>{});
    EXPECT_NE(text.find("N session=0a "), std::string::npos) << text;
    EXPECT_NE(text.find("\nR1> "), std::string::npos) << text;
  }
  EXPECT_EQ(files, 1U);
  std::filesystem::remove_all(directory);
}

TEST(FilterProgram, ARecordingOfAnUploadThatStoppedPlaysAgain) {
  struct Row {
    std::string name;
    ScriptedServer::Script script;
    bool client_leaves;
  };
  const Row rows[] = {
      {"refuses in mid-upload",
       [](Peer& peer) { peer.hear_line(), peer.say("HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n"), peer.pause(100); },
       false},
      {"a verdict in mid-upload", [](Peer& peer) { peer.hear_line(), peer.say(reply(no_action)), peer.pause(100); }, false},
      {"closes in mid-upload", [](Peer& peer) { peer.hear_line(); }, false},
      {"takes no more", [](Peer& peer) { peer.pause(400); }, false},
      {"takes no more, and the client leaves", [](Peer& peer) { peer.pause(400); }, true},
  };
  const std::string large(60'000, 'x');
  for (const Row& row : rows) {
    const std::filesystem::path directory = ::testing::TempDir() + "stopped." + std::to_string(getpid());
    std::filesystem::create_directory(directory);
    ScriptedServer rspamd(row.script);
    Smtpd smtpd(with(rspamd, {"--record", directory.string(), "--scan-timeout", "0.2"}));
    smtpd.begin();
    smtpd.data("Received: by us");
    smtpd.data("");
    for (int i = 0; i < 40; ++i) smtpd.data(large);  // more than a socket holds
    smtpd.data(".");
    if (!row.client_leaves) {
      EXPECT_EQ(smtpd.answer(), deferred) << row.name;
    }
    smtpd.report("tx-rollback", "|00000001");
    smtpd.report("link-disconnect");
    EXPECT_EQ(smtpd.leave(), 0) << row.name;
    expect_to_play(directory, row.name);
  }
}

}  // namespace
}  // namespace mailbridge
