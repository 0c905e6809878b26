// The program as smtpd runs it, against a scripted LMTP server.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "lmtp/mark.hpp"
#include "platform/platform.hpp"
#include "tests/support/authority.hpp"
#include "tests/support/program.hpp"
#include "tests/support/scripted_server.hpp"

namespace mailbridge::test {
namespace {

const std::string mail = "Return-Path: <s@x>\nDelivered-To: r@y\nSubject: test\n\nhello\n";

void open_transaction(Peer& peer) {
  peer.say("220 test\r\n");
  peer.hear_line();
  peer.say("250-test\r\n250-8BITMIME\r\n250 PIPELINING\r\n");
  for (int i = 0; i < 3; ++i) peer.hear_line();
  peer.say("250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 OK\r\n");
}

void deliver(Peer& peer) {
  open_transaction(peer);
  peer.hear_until("\r\n.\r\n");
  peer.say("250 2.0.0 <r@y> 8MhqC1 Saved\r\n");
  peer.wait_for_close();
}

// A thread that is told when this is over (std::jthread, which is not in every C++ library).
class Meanwhile {
 public:
  template <class Work>
  explicit Meanwhile(Work work) : thread_([this, work] { work(over_); }) {}
  ~Meanwhile() { join(); }
  Meanwhile(const Meanwhile&) = delete;
  Meanwhile& operator=(const Meanwhile&) = delete;

  void join() {
    over_ = true;
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

Invocation agent(const std::string& endpoint, std::vector<std::string> more = {}) {
  Invocation invocation{{MB_LDA2LMTP, "-l", endpoint}, {"SENDER=s@x", "RECIPIENT=r@y"}, mail};
  invocation.argv.insert(invocation.argv.end(), more.begin(), more.end());
  return invocation;
}

class Lda2lmtp : public testing::Test {
 protected:
  Lda2lmtp() {
    std::string pattern = testing::TempDir() + "lda2lmtp-XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~Lda2lmtp() override { std::filesystem::remove_all(directory_); }

  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ + "/" + name, std::ios::binary) << text;
    return directory_ + "/" + name;
  }
  // One line on standard error with this status, nothing else.
  static void expect(const Ended& ended, int status, const std::string& line) {
    EXPECT_EQ(ended.status, status);
    EXPECT_EQ(ended.err, line.empty() ? "" : line + "\n");
    EXPECT_EQ(ended.out, "");
    EXPECT_LE(ended.err.size(), 240U);
  }

  std::string directory_;
};

TEST_F(Lda2lmtp, Delivers) {
  ScriptedServer server(deliver);
  expect(run(agent(server.endpoint())), 0, "");
  EXPECT_EQ(server.finish(), "");
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  EXPECT_EQ(server.heard()[0], std::string("LHLO ") + host +
                                   "\r\nMAIL FROM:<s@x> BODY=8BITMIME\r\nRCPT TO:<r@y>\r\nDATA\r\n"
                                   "Subject: test\r\n\r\nhello\r\n.\r\nQUIT\r\n");
}

// What smtpd hands over of a mail that the filter has delivered, at least to alice@y.
TEST_F(Lda2lmtp, WhoIsMarkedHasTheMailAlready) {
  const std::string key = write("key", "0123456789abcdef0123456789abcdef\n");
  const std::string other = write("other", "fedcba9876543210fedcba9876543210\n");
  std::string mark = lmtp::seal(*lmtp::MarkKeys::parse("0123456789abcdef0123456789abcdef"), "2ac23942", {"alice@y", "bob@y"});
  std::erase(mark, '\r');
  const std::string received = "Received: from x\n\tby y (OpenSMTPD) with ESMTP id 2ac23942;\n\tnow\n";
  const auto invocation = [&](const std::string& endpoint, const std::string& user, std::vector<std::string> options) {
    Invocation invoked = agent(endpoint, std::move(options));
    invoked.environment.insert(invoked.environment.end(), {"LOCAL=alice", "DOMAIN=y", "USER=" + user});
    invoked.input = "Return-Path: <s@x>\nDelivered-To: r@y\n" + mark + received + "\nbody\n";
    return invoked;
  };
  // Of an address that smtpd made several mailboxes of, only those are served that the filter has delivered to.
  for (const char* receiver : {"alice@y", "alice", "Alice", "ALICE@Y", "bob@y"})
    expect(run(invocation("/nonexistent", "alice", {"--mark-key", key, "-r", receiver})), 0, "");
  expect(run(invocation("/nonexistent", "alice", {"--mark-key", key, "-r", "carol@z", "--rcpt", "user"})), 0, "");

  struct Row {
    std::string name;
    std::string user;
    std::vector<std::string> options;
    std::string head;
  };
  const auto crlf = [](std::string text) {
    for (std::size_t lf = text.find('\n'); lf != std::string::npos; lf = text.find('\n', lf + 2)) text.insert(lf, 1, '\r');
    return text;
  };
  const Row rows[] = {
      {"another mailbox of the same address", "bob", {"--mark-key", key}, received},
      {"whose name has no domain", "bob", {"--mark-key", key, "-r", "bob"}, received},
      {"the same name in another domain", "alice", {"--mark-key", key, "-r", "alice@z"}, received},
      {"a mailbox by its detail", "alice", {"--mark-key", key, "-r", "alice+x"}, received},
      {"another form of it", "alice", {"--mark-key", key, "-r", "alice", "--rcpt", "{local}@mail.y"}, received},
      {"the trace is kept", "carol", {"--mark-key", key, "--keep-trace"}, "Return-Path: <s@x>\nDelivered-To: r@y\n" + received},
      {"another key", "alice", {"--mark-key", other, "-r", "alice"}, received},
      {"no key", "alice", {"-r", "alice"}, mark + received},
  };
  const auto deliver_in_steps = [](Peer& peer) {  // DATA waits for what is said to ORCPT
    peer.say("220 test\r\n");
    peer.hear_line();
    peer.say("250-test\r\n250-8BITMIME\r\n250 PIPELINING\r\n");
    peer.hear_line();
    peer.hear_line();
    peer.say("250 2.1.0 OK\r\n250 2.1.5 OK\r\n");
    peer.hear_line();
    peer.say("354 OK\r\n");
    peer.hear_until("\r\n.\r\n");
    peer.say("250 2.0.0 <r@y> 8MhqC1 Saved\r\n");
    peer.wait_for_close();
  };
  for (const Row& row : rows) {
    ScriptedServer server(deliver_in_steps);
    expect(run(invocation(server.endpoint(), row.user, row.options)), 0, "");
    EXPECT_EQ(server.finish(), "") << row.name;
    EXPECT_NE(server.heard()[0].find("DATA\r\n" + crlf(row.head) + "\r\nbody\r\n.\r\n"), std::string::npos) << row.name << "\n"
                                                                                                            << server.heard()[0];
  }
}

// Only what may be in its mailbox waits until the key can be read.
TEST_F(Lda2lmtp, WithoutItsKeyItDeliversWhatIsNotMarked) {
  std::string mark = lmtp::seal(*lmtp::MarkKeys::parse("0123456789abcdef0123456789abcdef"), "2ac23942", {"r@y"});
  std::erase(mark, '\r');
  const std::string received = "Received: from x\n\tby y (OpenSMTPD) with ESMTP id 2ac23942;\n\tnow\n";
  const std::string faults[][2] = {
      {directory_ + "/none", directory_ + "/none: No such file or directory"},
      {write("short", "0123456789abcdef\n"), directory_ + "/short: line 1: a key of at least 32 bytes is wanted"},
      {"/dev/null", "/dev/null: not a regular file"},
      {write("empty", ""), directory_ + "/empty: a key of at least 32 bytes is wanted"},
  };
  for (const auto& [key, fault] : faults) {
    Invocation marked = agent("/nonexistent", {"--mark-key", key});
    marked.input = mark + received + "\nbody\n";
    const Ended ended = run(marked);
    EXPECT_EQ(ended.status, 75);
    EXPECT_NE(ended.err.find("the filter may have delivered it, and its mark cannot be read"), std::string::npos) << ended.err;
    EXPECT_NE(ended.err.find("--mark-key: " + fault), std::string::npos) << ended.err;

    ScriptedServer server(deliver);
    expect(run(agent(server.endpoint(), {"--mark-key", key})), 0, "");
    EXPECT_EQ(server.finish(), "");
  }
}

TEST_F(Lda2lmtp, DeliversOverTcp) {
  ScriptedServer server(deliver, ScriptedServer::Kind::tcp);
  expect(run(agent(server.endpoint())), 0, "");
  EXPECT_EQ(server.finish(), "");
}

// The program is linked statically, and OpenSSL with it.
TEST_F(Lda2lmtp, DeliversOverTls) {
  Authority authority;
  Certificate certificate;
  authority.issue(certificate, "mail", {});
  ScriptedServer server(
      [&](Peer& peer) {
        peer.start_tls(certificate);
        deliver(peer);
      },
      ScriptedServer::Kind::tcp);
  expect(run(agent("lmtps://" + server.endpoint(), {"--lmtp-ca", authority.file()})), 0, "");
  EXPECT_EQ(server.finish(), "");
  expect(run(agent("lmtps://h:24", {"--lmtp-ca", directory_ + "/none"})), 75,
         "451 4.3.0 lda2lmtp: " + directory_ + "/none: No such file or directory");
}

TEST_F(Lda2lmtp, TheNextServerWhenOneIsNotThere) {
  ScriptedServer server(deliver);
  expect(run(agent("/nonexistent/lmtp", {"-l", server.endpoint()})), 0, "");
  EXPECT_EQ(server.finish(), "");
  expect(run(agent("/nonexistent/lmtp", {"-l", "127.0.0.1:1"})), 75,
         "451 4.4.1 <r@y> nobody listens there: is Dovecot running? (lmtp=127.0.0.1:1, stage=connect)");
}

TEST_F(Lda2lmtp, ALargeMailArrivesAsItIs) {
  ScriptedServer server(deliver);
  Invocation invocation = agent(server.endpoint());
  std::string expected = "Subject: large\r\n\r\n";
  *invocation.input = "Subject: large\n\n";
  while (expected.size() < (20U << 20)) {
    *invocation.input += std::string("a line \0 of text\n.with a dot\n\xff\r\r\n", 33);
    expected += std::string("a line \0 of text\r\n..with a dot\r\n\xff\r\r\n", 36);
  }
  *invocation.input += std::string(1 << 20, 'x');
  expected += std::string(1 << 20, 'x');
  expect(run(invocation), 0, "");
  EXPECT_EQ(server.finish(), "");
  const std::string& heard = server.heard()[0];
  const std::size_t begin = heard.find("DATA\r\n") + 6;
  EXPECT_TRUE(heard.substr(begin, heard.find("\r\n.\r\nQUIT") - begin) == expected);
}

TEST_F(Lda2lmtp, ABareCrAsAsked) {
  for (const auto& [how, body] : {std::pair{"keep", "a\rb\r\r\nc\r"}, {"blank", "a b \r\nc "}}) {
    ScriptedServer server(deliver);
    Invocation invocation = agent(server.endpoint(), {"--bare-cr", how});
    invocation.input = "Subject: test\n\na\rb\r\r\nc\r";
    expect(run(invocation), 0, "");
    EXPECT_EQ(server.finish(), "");
    EXPECT_NE(server.heard()[0].find(std::string("DATA\r\nSubject: test\r\n\r\n") + body + "\r\n.\r\n"), std::string::npos);
  }
}

TEST_F(Lda2lmtp, AMailBeyondMemoryWantsTheSpool) {
  Invocation large = agent("/nonexistent", {"--spool", directory_ + "/none"});
  *large.input += std::string(9 << 20, 'x') + "\nmore\n";
  expect(run(large), 75,
         "451 4.3.0 <r@y> the mail is large and cannot be kept in " + directory_ +
             "/none: No such file or directory (lmtp=unix:/nonexistent, stage=input)");
  ScriptedServer server(deliver);
  expect(run(agent(server.endpoint(), {"--spool", directory_ + "/none"})), 0, "");
}

TEST_F(Lda2lmtp, AHeaderSectionBeyondMemoryIsTemporary) {
  Invocation large = agent("/nonexistent");
  *large.input = std::string(9 << 20, 'x');
  expect(run(large), 75, "451 4.3.0 <r@y> the header section of the mail is too large (lmtp=unix:/nonexistent, stage=input)");
}

// rspamd, with the same reply to every mail that ends in "hello".
ScriptedServer::Script rspamd_says(const std::string& json) {
  return [json](Peer& peer) {
    peer.hear_until("\r\n\r\nhello\r\n");
    peer.say("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(json.size()) + "\r\n\r\n" + json);
    peer.wait_for_close();
  };
}

const std::string received =
    "Received: from mx.example.net (host.example.net [192.0.2.25])\n\tby mail.example.org (OpenSMTPD) with ESMTP id 0123abcd\n"
    "\tfor <info@y>;\n\tSun, 1 Jun 2025 10:00:00 +0000 (UTC)\n";

Invocation scanning_agent(const std::string& lmtp, const std::string& rspamd, std::vector<std::string> more = {}) {
  more.insert(more.end(), {"--rspamd", rspamd.starts_with('/') ? "unix:" + rspamd : "http://" + rspamd});
  Invocation invocation = agent(lmtp, std::move(more));
  invocation.input = "Return-Path: <s@x>\nDelivered-To: r@y\n" + received + "X-Spam: No\nSubject: test\n\nhello\n";
  return invocation;
}

TEST_F(Lda2lmtp, ScansBeforeItDelivers) {
  ScriptedServer rspamd(rspamd_says(R"({"action":"add header","score":7.5,"milter":{"add_headers":{"X-Test":"v"}}})"));
  ScriptedServer server(deliver);
  expect(run(scanning_agent(server.endpoint(), rspamd.endpoint(), {"--settings-id", "late"})), 0, "");
  EXPECT_EQ(rspamd.finish() + server.finish(), "");
  const std::string& asked = rspamd.heard()[0];
  for (const char* header : {"\r\nIP: 192.0.2.25\r\n", "\r\nHelo: mx.example.net\r\n", "\r\nHostname: host.example.net\r\n",
                             "\r\nQueue-Id: 0123abcd\r\n", "\r\nFrom: <s@x>\r\n", "\r\nRcpt: <r@y>\r\n",
                             "\r\nDeliver-To: r@y\r\n", "\r\nSettings-ID: late\r\n"}) {
    EXPECT_NE(asked.find(header), std::string::npos) << header << "\n" << asked;
  }
  EXPECT_NE(asked.find("\r\n\r\nReceived: from mx"), std::string::npos) << asked;
  std::string head = received + "Subject: test\nX-Test: v\nX-Spam: Yes\n";
  for (std::size_t lf = head.find('\n'); lf != std::string::npos; lf = head.find('\n', lf + 2)) head.insert(lf, 1, '\r');
  EXPECT_NE(server.heard()[0].find("DATA\r\n" + head + "\r\nhello\r\n.\r\n"), std::string::npos) << server.heard()[0];
}

TEST_F(Lda2lmtp, WhatIsDoneAboutAScan) {
  struct Row {
    std::string name, json;
    std::vector<std::string> options;
    std::string line;  // the last one, up to the brackets; empty: delivered
    int status;
    std::string delivered;  // of the header section
  };
  const std::string reject = R"({"action":"reject","score":20,"messages":{"smtp_message":"Gtube pattern"}})";
  const std::string no_verdict = R"({"score":1})";
  const Row rows[] = {
      {"ham", R"({"action":"no action","score":1})", {}, "", 0, "Subject: test\r\n\r\n"},
      {"reject", reject, {}, "", 0, "X-Spam: Yes\r\nX-Spam-Answer: 554 5.7.1 Gtube pattern\r\n\r\n"},
      {"reject, for good", reject, {"--on-reject", "bounce"}, "554 5.7.1 <r@y> Gtube pattern", 77, ""},
      {"soft reject",
       R"({"action":"soft reject","messages":{"smtp_message":"Greylisted"}})",
       {},
       "451 4.7.1 <r@y> Greylisted",
       75,
       ""},
      {"as rspamc marks it", R"({"action":"add header","score":7})", {"--spam-headers", "rspamc"}, "", 0, "X-Spam: yes\r\n"},
      {"no verdict", no_verdict, {}, "451 4.3.0 <r@y> the mail could not be scanned: the reply has no action", 75, ""},
      {"no verdict, accepted",
       no_verdict,
       {"--on-error", "accept"},
       "",
       0,
       "X-Spam-Error: unreadable: the reply has no action\r\n\r\n"},
  };
  for (const Row& row : rows) {
    ScriptedServer rspamd(rspamd_says(row.json));
    ScriptedServer server(deliver);
    expect(run(scanning_agent(server.endpoint(), rspamd.endpoint(), row.options)), row.status,
           row.line.empty() ? "" : row.line + " (rspamd=unix:" + rspamd.endpoint() + ", stage=scan)");
    EXPECT_EQ(rspamd.finish() + server.finish(), "") << row.name;
    ASSERT_EQ(server.heard().size(), row.line.empty() ? 1U : 0U) << row.name;
    if (row.line.empty()) {
      EXPECT_NE(server.heard()[0].find(row.delivered), std::string::npos) << row.name << "\n" << server.heard()[0];
    }
  }
}

TEST_F(Lda2lmtp, RspamdIsNotThere) {
  expect(run(scanning_agent("/nonexistent", "/none")), 75,
         "451 4.3.0 <r@y> the mail could not be scanned: No such file or directory (rspamd=unix:/none, stage=scan)");
  for (const std::vector<std::string>& options : {std::vector<std::string>{"--on-error", "accept"},
                                                  {"--max-size", "10"},
                                                  {"--rspamd", "unix:/other", "--on-error", "accept"}}) {
    ScriptedServer server(deliver);
    expect(run(scanning_agent(server.endpoint(), "/none", options)), 0, "");
    EXPECT_EQ(server.finish(), "");
    EXPECT_NE(server.heard()[0].find("X-Spam-Error: "), std::string::npos);
  }
  ScriptedServer rspamd(rspamd_says(R"({"action":"no action"})"), ScriptedServer::Kind::tcp);
  ScriptedServer server(deliver);
  expect(run(scanning_agent(server.endpoint(), rspamd.endpoint(), {"--rspamd", "unix:/none"})), 0, "");
  EXPECT_EQ(rspamd.finish() + server.finish(), "");
  EXPECT_EQ(rspamd.heard().size(), 1U);
}

TEST_F(Lda2lmtp, TheServersVerdictIsTheLastLine) {
  ScriptedServer server([](Peer& peer) {
    open_transaction(peer);
    peer.hear_until("\r\n.\r\n");
    peer.say("552 5.2.2 <r@y> Quota exceeded (mailbox for user is full)\r\n");
  });
  expect(run(agent(server.endpoint())), 69,
         "552 5.2.2 <r@y> Quota exceeded (mailbox for user is full) (lmtp=unix:" + server.endpoint() + ", stage=dot)");
}

TEST_F(Lda2lmtp, ARefusalInMidBodyIsHeard) {
  ScriptedServer server([](Peer& peer) {
    open_transaction(peer);
    peer.say("552 5.3.4 Too big\r\n");
    peer.pause(200);
  });
  Invocation invocation = agent(server.endpoint());
  *invocation.input += std::string(8 << 20, 'x');
  expect(run(invocation), 65, "552 5.3.4 <r@y> Too big (lmtp=unix:" + server.endpoint() + ", stage=body)");
}

TEST_F(Lda2lmtp, AServerThatDiesAfterTheDotLeavesDoubt) {
  ScriptedServer server([](Peer& peer) {
    open_transaction(peer);
    peer.hear_until("\r\n.\r\n");
  });
  expect(run(agent(server.endpoint())), 75,
         "451 4.4.2 <r@y> the server closed the connection; outcome unknown, may be delivered twice (lmtp=unix:" +
             server.endpoint() + ", stage=dot)");
}

TEST_F(Lda2lmtp, ASilentServerCostsTheTimeoutOnly) {
  ScriptedServer server([](Peer& peer) { peer.wait_for_close(); });
  expect(run(agent(server.endpoint(), {"--timeout", "0.3"})), 75,
         "451 4.4.2 <r@y> no reply in time (lmtp=unix:" + server.endpoint() + ", stage=banner)");
}

TEST_F(Lda2lmtp, WhereNobodyListens) {
  expect(run(agent("/nonexistent/lmtp")), 75,
         "451 4.4.1 <r@y> no such socket: is Dovecot running, and does it listen for LMTP there? (lmtp=unix:/nonexistent/lmtp, "
         "stage=connect)");
  const std::string file = write("lmtp", "");
  expect(run(agent(file)), 75,
         "451 4.4.1 <r@y> nobody listens there: is Dovecot running? (lmtp=unix:" + file + ", stage=connect)");
  expect(run(agent("127.0.0.1:1")), 75,
         "451 4.4.1 <r@y> nobody listens there: is Dovecot running? (lmtp=127.0.0.1:1, stage=connect)");
}

#ifndef __SANITIZE_ADDRESS__  // the sanitizers want descriptors of their own
TEST_F(Lda2lmtp, NamesWhatThisHostIsShortOf) {
  ScriptedServer server(deliver);
  const auto with_descriptors = [](const std::string& limit, Invocation invocation) {
    invocation.argv.insert(invocation.argv.begin(), {"/bin/sh", "-c", "ulimit -n " + limit + R"( && exec "$@")", "sh"});
    return invocation;
  };
  const std::string few = "6";  // three for the event loop
  expect(run(with_descriptors(few, agent(server.endpoint()))), 75,
         "451 4.3.0 <r@y> cannot connect, by this host's own fault: Too many open files (lmtp=unix:" + server.endpoint() +
             ", stage=connect)");
  // Whatever is to be done when rspamd is down.
  expect(run(with_descriptors(few, scanning_agent(server.endpoint(), "/none", {"--on-error", "accept"}))), 75,
         "451 4.3.0 <r@y> the mail could not be scanned: Too many open files (rspamd=unix:/none, stage=scan)");
#ifdef MB_STATIC_AGENT  // otherwise it is not even loaded
  const Ended none = run(with_descriptors("3", agent(server.endpoint())));
  EXPECT_EQ(none.status, 75);
  EXPECT_TRUE(none.err.starts_with("451 4.3.0 lda2lmtp: ") && none.err.ends_with(": Too many open files\n")) << none.err;
#endif
  EXPECT_EQ(server.finish(), "");
  EXPECT_TRUE(server.heard().empty());
}
#endif

// Standard error is smtpd's file, but whoever runs it by hand or from a script may give it a pipe.
TEST_F(Lda2lmtp, ItsLastWordsDoNotWaitForWhoReadsThem) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_LT(ends[1], 10) << "the shell knows no others";
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
  while (::write(ends[1], "x", 1) == 1) {
  }
  fcntl(ends[1], F_SETFL, 0);
  Invocation invocation = agent("/nonexistent");
  invocation.argv.insert(invocation.argv.begin(), {"/bin/sh", "-c", R"(exec "$@" 2>&)" + std::to_string(ends[1]), "sh"});
  EXPECT_EQ(run(invocation).status, 75);
  EXPECT_EQ(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0) << "it is not ours to set";
  close(ends[0]);
  close(ends[1]);
}

TEST_F(Lda2lmtp, PermissionDeniedNamesBothSides) {
  ScriptedServer server([](Peer&) {});
  const std::string& path = server.endpoint();
  const std::string parent = std::filesystem::path(path).parent_path();
  // Root may connect to everything, so it steps down; everybody else is refused by their own socket.
  const bool root = geteuid() == 0;
  const std::string us = std::to_string(root ? 65534 : geteuid()) + " gid=" + std::to_string(root ? 65534 : getegid());
  const std::string owner = std::to_string(geteuid()) + ":" + std::to_string(getegid());
  Invocation invocation = agent(path);
  if (root) {
    invocation.argv.insert(invocation.argv.begin(), {"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"});
  }
  chmod(parent.c_str(), 0755);
  chmod(path.c_str(), 0);
  expect(run(invocation), 75,
         "451 4.4.1 <r@y> no permission for uid=" + us + ": socket owner " + owner + " mode 0000 (lmtp=unix:" + path +
             ", stage=connect)");
  chmod(parent.c_str(), 0);
  expect(run(invocation), 75,
         "451 4.4.1 <r@y> no permission for uid=" + us + ": directory " + parent + " owner " + owner +
             " mode 0000 (lmtp=unix:" + path + ", stage=connect)");
  chmod(parent.c_str(), 0700);
}

TEST_F(Lda2lmtp, MistakesOfConfigurationAreTemporary) {
  Invocation without = agent("/x");
  without.environment = {"SENDER=s@x"};
  expect(run(without), 75, "451 4.3.0 lda2lmtp: no recipient: neither --receiver nor RECIPIENT in the environment");
  without.environment = {"RECIPIENT=r@y"};
  expect(run(without), 75, "451 4.3.0 lda2lmtp: no sender: neither --sender nor SENDER in the environment");
  expect(run(agent("/x", {"--bogus"})), 75, "451 4.3.0 lda2lmtp: no such option: --bogus");
  expect(run(agent("nowhere")), 75, "451 4.3.0 lda2lmtp: --lmtp: the port is missing");
  expect(run(agent("/x", {"--config", "/nonexistent.toml"})), 75,
         "451 4.3.0 lda2lmtp: /nonexistent.toml: No such file or directory");
  const std::string file = write("bad.toml", "lmtp = '/x'\ntime-out = 3\n");
  expect(run({{MB_LDA2LMTP, "--config", file}, {"SENDER=s@x", "RECIPIENT=r@y"}, mail}), 75,
         "451 4.3.0 lda2lmtp: " + file + ":2: time-out: no such option; did you mean timeout?");
}

TEST_F(Lda2lmtp, AConfigurationFileSaysTheSameAsOptions) {
  ScriptedServer server(deliver);
  const std::string file = write("good.toml", "lmtp = '" + server.endpoint() + "'\ntimeout = 20\nkeep-trace = true\n");
  expect(run({{MB_LDA2LMTP, "--config", file, "-s", "-r", "u"}, {}, mail}), 0, "");
  EXPECT_EQ(server.finish(), "");
  EXPECT_NE(
      server.heard()[0].find("MAIL FROM:<> BODY=8BITMIME\r\nRCPT TO:<u>\r\nDATA\r\nReturn-Path: <s@x>\r\nDelivered-To: r@y\r\n"),
      std::string::npos);
}

TEST_F(Lda2lmtp, TellsWhatADeliveryWouldMeet) {
  for (const std::string reply : {"250 2.1.5 OK", "550 5.1.1 <R@y> User doesn't exist"}) {
    ScriptedServer server([&](Peer& peer) {
      peer.say("220 test\r\n");
      peer.hear_line();
      peer.say("250-test\r\n250 PIPELINING\r\n");
      peer.hear_until("RSET\r\n");
      peer.say("250 2.1.0 OK\r\n" + reply + "\r\n250 2.0.0 OK\r\n");
      peer.wait_for_close();
    });
    // Without a mail, and without smtpd's environment.
    const Ended ended = run({{MB_LDA2LMTP, "--check", "R@Y", "-l", server.endpoint(), "-l", directory_ + "/no/lmtp"}, {}, ""});
    EXPECT_EQ(server.finish(), "");
    EXPECT_EQ(server.heard()[0].substr(server.heard()[0].find("MAIL")), "MAIL FROM:<>\r\nRCPT TO:<R@y>\r\nRSET\r\nQUIT\r\n");
    EXPECT_EQ(ended.status, 1);
    EXPECT_EQ(ended.err, "");
    EXPECT_TRUE(ended.out.starts_with("as uid=" + std::to_string(geteuid()) + " gid=" + std::to_string(getegid()))) << ended.out;
    const std::string said = reply[0] == '2' ? "OK, takes mail for <R@y> (250 2.1.5 OK)\n    Whether it can write to that "
                                               "mailbox shows when a mail is delivered, and not before: send one."
                                             : "refuses <R@y>: 550 5.1.1 <R@y> User doesn't exist";
    EXPECT_TRUE(ended.out.ends_with("\nunix:" + server.endpoint() + ": " + said + "\nunix:" + directory_ +
                                    "/no/lmtp: no such socket: is Dovecot running, and does it listen for LMTP there? "
                                    "(stage=connect)\n    there is no directory " +
                                    directory_ + "/no\n"))
        << ended.out;
  }
}

// For smtpd, which sets LOCAL and DOMAIN, an agent that ends with 0 has delivered, and one that ends with 1 has a mail to bounce.
TEST_F(Lda2lmtp, ATextIsNoDelivery) {
  for (const std::string option : {"--help", "--version", "--check"}) {
    for (const bool by_smtpd : {true, false}) {
      Invocation invoked = agent("/nonexistent", {option});
      if (option == "--check") invoked.argv.emplace_back("r@y");
      if (by_smtpd) invoked.environment.insert(invoked.environment.end(), {"LOCAL=r", "DOMAIN=y"});
      const Ended ended = run(invoked);
      EXPECT_EQ(ended.status, by_smtpd ? 75 : option == "--check" ? 1 : 0) << option;
      EXPECT_NE(ended.out, "");
    }
  }
}

TEST_F(Lda2lmtp, ItsCheckLooksAtTheKey) {
  const std::string good = write("good", "# new\n5f2b1c0de94a7d3386aa01c45be97f12\n\n06d3c8a9b4e7f05128c36d9a4f1b7e0c\n");
  const std::string simple = write("simple", std::string(64, '0') + "\n");
  const std::string open = write("open", "5f2b1c0de94a7d3386aa01c45be97f12\n");
  const std::string changeable = write("changeable", "5f2b1c0de94a7d3386aa01c45be97f12\n");
  const std::string is = "; uid=" + std::to_string(geteuid()) + " (rw-), gid=" + std::to_string(getegid()) + " ";
  const std::string key = "key " + lmtp::MarkKeys::fingerprint("5f2b1c0de94a7d3386aa01c45be97f12");
  const std::string other = ", then key " + lmtp::MarkKeys::fingerprint("06d3c8a9b4e7f05128c36d9a4f1b7e0c");
  chmod(good.c_str(), 0640);
  chmod(simple.c_str(), 0600);
  chmod(open.c_str(), 0644);
  chmod(changeable.c_str(), 0660);
  struct Row {
    std::string file, said;
    int status;
  };
  const Row rows[] = {
      {good, good + ": OK, " + key + other + is + "(r--), others (---)\n", 0},
      {open,
       open + ": OK, " + key + is + "(r--), others (r--)\n" +
           "    Everybody on this host can read it, which is right only where mail is delivered as each recipient.\n",
       0},
      {simple,
       simple + ": a key is made of 1 different characters; openssl rand -hex 32 makes a better one\n" + simple + ": key " +
           lmtp::MarkKeys::fingerprint(std::string(64, '0')) + is + "(---), others (---)\n",
       1},
      {changeable,
       changeable + ": others than its owner can change it; chmod go-w " + changeable + "\n" + changeable + ": " + key + is +
           "(rw-), others (---)\n",
       1},
      {directory_ + "/none", directory_ + "/none: No such file or directory\n", 1},
  };
  for (const Row& row : rows) {
    ScriptedServer server([&](Peer& peer) {
      peer.say("220 test\r\n");
      peer.hear_line();
      peer.say("250-test\r\n250 PIPELINING\r\n");
      peer.hear_until("RSET\r\n");
      peer.say("250 2.1.0 OK\r\n250 2.1.5 OK\r\n250 2.0.0 OK\r\n");
      peer.wait_for_close();
    });
    const Ended ended = run({{MB_LDA2LMTP, "--check", "r@y", "-l", server.endpoint(), "--mark-key", row.file}, {}, ""});
    EXPECT_EQ(server.finish(), "");
    EXPECT_EQ(ended.status, row.status);
    EXPECT_NE(ended.out.find("\n" + row.said + "unix:"), std::string::npos) << ended.out << "\nwanted:\n" << row.said;
  }
}

TEST_F(Lda2lmtp, ReadErrorsAreTemporary) {
  Invocation invocation = agent("/nonexistent");
  invocation.input = std::nullopt;
  expect(run(invocation), 75, "451 4.3.0 lda2lmtp: standard input is closed");
  // A directory can be opened and not read.
  expect(run({{"/bin/sh", "-c", "exec \"$0\" -l /nonexistent < /", MB_LDA2LMTP}, {"SENDER=s@x", "RECIPIENT=r@y"}, mail}), 75,
         "451 4.3.0 <r@y> standard input cannot be read: Is a directory (lmtp=unix:/nonexistent, stage=input)");
}

TEST_F(Lda2lmtp, ClosedOutputsDoNotReachTheServer) {
  ScriptedServer server([](Peer& peer) {
    open_transaction(peer);
    peer.hear_until("\r\n.\r\n");
    peer.say("550 5.7.1 no\r\n");
    peer.wait_for_close();
  });
  EXPECT_EQ(run({{"/bin/sh", "-c", "exec \"$0\" -l \"$1\" >&- 2>&-", MB_LDA2LMTP, server.endpoint()},
                 {"SENDER=s@x", "RECIPIENT=r@y"},
                 mail})
                .status,
            77);
  EXPECT_EQ(server.finish(), "");
  EXPECT_TRUE(server.heard()[0].ends_with("\r\n.\r\nQUIT\r\n"));
}

// The agent is told to go while the server thinks: before the dot, and after it.
void end_by_signal(bool after_dot, int number, const std::string& line) {
  std::atomic<bool> there = false;
  ScriptedServer server([&](Peer& peer) {
    if (after_dot) {
      open_transaction(peer);
      peer.hear_until("\r\n.\r\n");
    } else {
      peer.say("220 test\r\n");
      peer.hear_line();
    }
    there = true;
    peer.wait_for_close();
  });
  Invocation invocation = agent(server.endpoint());
  Program program(invocation);
  Meanwhile killer([&](const std::atomic<bool>& over) {
    while (!there && !over) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    program.signal(number);
  });
  const Ended ended = program.wait();
  killer.join();
  EXPECT_EQ(ended.status, 75) << number;
  EXPECT_EQ(ended.err, line) << number;
}

TEST_F(Lda2lmtp, SignalsAreTemporary) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGALRM}) {
    end_by_signal(false, number, "451 4.3.0 lda2lmtp ended by a signal before the mail was handed over\n");
    end_by_signal(true, number, "451 4.3.0 lda2lmtp ended by a signal (stage=dot); outcome unknown, may be delivered twice\n");
  }
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_F(Lda2lmtp, CrashesAreTemporary) {
  for (const int number : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL}) {
    end_by_signal(false, number, "451 4.3.0 lda2lmtp ended by a signal before the mail was handed over\n");
  }
}

// The highest mark of a process that lives, in KiB (proc(5)).
long peak_memory(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string word; status >> word;) {
    if (word == "VmHWM:") break;
  }
  long kib = 0;
  status >> kib;
  return kib;
}

TEST_F(Lda2lmtp, AMailOf100MbTakesLessThan16MiB) {
  const std::string file = directory_ + "/mail";
  std::ofstream out(file, std::ios::binary);
  out << "Subject: large\n\n";
  const std::string line = std::string(99, 'x') + "\n";
  for (int i = 0; i < 1'000'000; ++i) out << line;
  out.close();
  std::atomic<pid_t> pid = 0;
  std::atomic<long> peak = 0;
  ScriptedServer server([&](Peer& peer) {
    open_transaction(peer);
    peer.skip_until("\r\n.\r\n");
    peak = peak_memory(pid);
    peer.say("250 2.0.0 <r@y> 8MhqC1 Saved\r\n");
    peer.wait_for_close();
  });
  Program program(
      {{"/bin/sh", "-c", "exec \"$0\" -l \"$1\" --spool \"$2\" < \"$3\"", MB_LDA2LMTP, server.endpoint(), directory_, file},
       {"SENDER=s@x", "RECIPIENT=r@y"},
       ""});
  pid = program.pid();
  expect(program.wait(), 0, "");
  EXPECT_EQ(server.finish(), "");
  EXPECT_GT(peak, 0);
  EXPECT_LT(peak, 16 * 1024);
}

TEST_F(Lda2lmtp, NoMemoryIsTemporary) {
  Invocation invocation{
      {"/bin/sh", "-c", "ulimit -v 20000; exec \"$0\" -l /nonexistent", MB_LDA2LMTP}, {"SENDER=s@x", "RECIPIENT=r@y"}, {}};
  invocation.input = std::string(40 << 20, 'x');
  const Ended ended = run(invocation);
  EXPECT_EQ(ended.status, 75);
  EXPECT_EQ(ended.err, "451 4.3.0 lda2lmtp: std::bad_alloc\n");
}
#endif

// smtpd's tree: a shell that the alarm ends, mail.mda (a shell by that name here), the agent.
TEST_F(Lda2lmtp, NoDotAfterSmtpdHasGivenUp) {
  if (!platform::process(getpid())) GTEST_SKIP() << "this system says nothing of processes";
  const std::string mda = directory_ + "/mail.mda";
  std::filesystem::copy_file("/bin/dash", mda);
  std::atomic<bool> there = false;
  std::atomic<bool> orphaned = false;
  ScriptedServer server([&](Peer& peer) {
    peer.say("220 test\r\n");
    peer.hear_line();
    peer.say("250-test\r\n250 PIPELINING\r\n");
    for (int i = 0; i < 3; ++i) peer.hear_line();
    there = true;
    while (!orphaned) peer.pause(5);
    peer.say("250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 OK\r\n");
    peer.wait_for_close();
  });
  // `; true` keeps each shell from becoming its last command.
  Program program({{"/bin/dash", "-c", "\"$0\" -c '\"$0\" -l \"$1\"; echo status $? >&2' \"$1\" \"$2\"; true", mda, MB_LDA2LMTP,
                    server.endpoint()},
                   {"SENDER=s@x", "RECIPIENT=r@y"},
                   mail});
  Meanwhile killer([&](const std::atomic<bool>& over) {
    while (!there && !over) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    program.signal(SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    orphaned = true;
  });
  const Ended ended = program.wait();
  killer.join();
  EXPECT_EQ(ended.err, "451 4.4.2 <r@y> mail.mda has lost its parent, so smtpd has given up on this delivery (lmtp=unix:" +
                           server.endpoint() + ", stage=dot)\nstatus 75\n");
  EXPECT_EQ(server.finish(), "");
  EXPECT_TRUE(server.heard()[0].ends_with("hello\r\n")) << server.heard()[0];
}

}  // namespace
}  // namespace mailbridge::test
