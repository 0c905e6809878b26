#include "wires/lmtp.hpp"

#include <atomic>
#include <exception>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/x509_vfy.h>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include "tests/support/authority.hpp"
#include "tests/support/scripted_server.hpp"

namespace mailbridge::wires {
namespace {

using std::chrono::seconds;
using test::Peer;
using test::ScriptedServer;

constexpr const char* capabilities = "250-dc.test\r\n250-8BITMIME\r\n250 PIPELINING\r\n";

void greet(Peer& peer) {
  peer.say("220 dc.test ready\r\n");
  peer.hear_line();
  peer.say(capabilities);
}

void deliver_greeted(Peer& peer) {
  peer.hear_until("DATA\r\n");
  peer.say("250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 OK\r\n");
  peer.hear_until(".\r\n");
  peer.say("250 2.0.0 <user> Saved\r\n");
  peer.wait_for_close();
}

void deliver(Peer& peer) {
  greet(peer);
  deliver_greeted(peer);
}

lmtp::Transaction transaction() {
  lmtp::Transaction wanted;
  wanted.helo = "client.test";
  wanted.sender = "a@example.net";
  wanted.recipients = {{"user@example.net"}};
  return wanted;
}

struct Conversations {
  LmtpClient::Result run(const std::vector<std::string>& endpoints, LmtpClient::Hooks more = {}, Duration time = seconds(20)) {
    std::vector<Endpoint> parsed;
    for (const std::string& endpoint : endpoints) parsed.push_back(*parse_lmtp_endpoint(endpoint));
    LmtpClient client(io.get_executor(), parsed, settings);
    return run(client, std::move(more), time);
  }
  LmtpClient::Result run(LmtpClient& client, LmtpClient::Hooks hooks = {}, Duration time = seconds(20),
                         std::unique_ptr<LmtpClient::Connection> kept = {}) {
    hooks.changed = [this](const std::string& server, std::string_view why) {
      changes.push_back(server + (why.empty() ? " up" : ": " + std::string(why)));
    };
    LmtpClient::Result result;
    const TimePoint now = Clock::now();
    lmtp::Transaction wanted = transaction();
    wanted.keep = keep;
    asio::co_spawn(io,
                   client.transact(std::move(wanted), {.dot_by = now + time, .reply_by = now + 2 * time}, hooks, std::move(kept)),
                   [&](const std::exception_ptr& thrown, LmtpClient::Result ended) {
                     if (thrown) std::rethrow_exception(thrown);
                     result = std::move(ended);
                   });
    io.run();
    io.restart();
    return result;
  }

  asio::io_context io;
  LmtpClient::Settings settings;
  bool keep = false;
  std::vector<std::string> changes;
};

TEST(Wire, Delivers) {
  for (const auto kind : {ScriptedServer::Kind::local, ScriptedServer::Kind::tcp}) {
    ScriptedServer server(deliver, kind);
    Conversations conversations;
    const LmtpClient::Result result = conversations.run({server.endpoint()});
    EXPECT_EQ(server.finish(), "");
    ASSERT_EQ(result.outcomes.size(), 1U);
    EXPECT_TRUE(result.outcomes[0].delivered());
    EXPECT_EQ(result.server, to_string(*parse_lmtp_endpoint(server.endpoint())));
    EXPECT_TRUE(conversations.changes.empty());
  }
}

// An address of ours that is not there, as when all ports are taken.
TEST(Wire, WhatWeAreShortOfIsNoFaultOfAServer) {
  ScriptedServer server(deliver, ScriptedServer::Kind::tcp);
  Conversations conversations;
  conversations.settings.source = asio::ip::make_address("192.0.2.1");
  const std::string failure = "cannot connect, by this host's own fault: Cannot assign requested address";
  for (const std::vector<std::string>& endpoints : {std::vector<std::string>{server.endpoint()}, {server.endpoint(), "/none"}}) {
    const LmtpClient::Result result = conversations.run(endpoints);
    ASSERT_EQ(result.outcomes.size(), 1U);
    EXPECT_TRUE(result.outcomes[0].ours) << "that the other one is not there says nothing about both";
    EXPECT_EQ(result.outcomes[0].failure, failure);
    EXPECT_EQ(result.server, server.endpoint());
  }
  EXPECT_EQ(conversations.changes,
            std::vector<std::string>{"unix:/none: no such socket: is Dovecot running, and does it listen for LMTP there?"});
  EXPECT_FALSE(conversations.run({"/none"}).outcomes[0].ours);
  EXPECT_EQ(server.finish(), "");
  EXPECT_TRUE(server.heard().empty());

  ScriptedServer other(deliver);
  EXPECT_TRUE(conversations.run({"127.0.0.1:1", other.endpoint()}).outcomes[0].delivered());
}

TEST(Wire, TheNextServerIsAskedWhenThisOneIsNotThere) {
  const struct {
    const char* what;
    ScriptedServer::Script script;
  } rows[] = {
      {"closes without a word", [](Peer&) {}},
      {"refuses everybody", [](Peer& peer) { peer.say("554 no\r\n"); }},
      {"shuts down", [](Peer& peer) { peer.say("421 4.3.2 Shutting down\r\n"); }},
      {"does not know LHLO",
       [](Peer& peer) {
         peer.say("220 x\r\n");
         peer.hear_line();
         peer.say("500 5.5.1 what?\r\n");
       }},
      {"closes after LHLO", greet},
      {"takes no mail for now",
       [](Peer& peer) {
         greet(peer);
         peer.hear_line();
         peer.say("451 4.3.0 later\r\n451 4.3.0 later\r\n503 5.5.1 no\r\n");
       }},
      {"shuts down at RCPT",
       [](Peer& peer) {
         greet(peer);
         peer.hear_line();
         peer.say("250 OK\r\n421 4.3.2 Shutting down\r\n");
       }},
      {"closes before the dot",
       [](Peer& peer) {
         greet(peer);
         peer.hear_until("DATA\r\n");
         peer.say("250 OK\r\n250 OK\r\n");
       }},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.what);
    ScriptedServer first(row.script);
    ScriptedServer second(deliver);
    Conversations conversations;
    const LmtpClient::Result result = conversations.run({first.endpoint(), second.endpoint()});
    first.finish();
    EXPECT_EQ(second.finish(), "");
    EXPECT_TRUE(result.outcomes[0].delivered());
    EXPECT_EQ(result.server, "unix:" + second.endpoint());
  }
}

TEST(Wire, NoOtherServerIsAskedAfterAVerdictOrTheDot) {
  const struct {
    const char* what;
    ScriptedServer::Script script;
    lmtp::Stage stage;
    bool unknown;
  } rows[] = {
      {"no such user",
       [](Peer& peer) {
         greet(peer);
         peer.hear_until("DATA\r\n");
         peer.say("250 OK\r\n550 5.1.1 no such user\r\n503 5.5.1 no\r\n");
         peer.wait_for_close();
       },
       lmtp::Stage::rcpt, false},
      {"a mailbox with too many deliveries",
       [](Peer& peer) {
         greet(peer);
         peer.hear_until("DATA\r\n");
         peer.say("250 OK\r\n451 4.3.0 Too many concurrent deliveries for user\r\n503 5.5.1 no\r\n");
         peer.wait_for_close();
       },
       lmtp::Stage::rcpt, false},
      {"closes after the dot",
       [](Peer& peer) {
         greet(peer);
         peer.hear_until("DATA\r\n");
         peer.say("250 OK\r\n250 OK\r\n354 OK\r\n");
         peer.hear_until(".\r\n");
       },
       lmtp::Stage::dot, true},
      {"shuts down after the dot",
       [](Peer& peer) {
         greet(peer);
         peer.hear_until("DATA\r\n");
         peer.say("250 OK\r\n250 OK\r\n354 OK\r\n");
         peer.hear_until(".\r\n");
         peer.say("421 4.3.2 Shutting down\r\n");
       },
       lmtp::Stage::dot, true},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.what);
    ScriptedServer first(row.script);
    ScriptedServer second(deliver);
    Conversations conversations;
    const LmtpClient::Result result = conversations.run({first.endpoint(), second.endpoint()});
    EXPECT_EQ(first.finish(), "");
    second.finish();
    EXPECT_TRUE(second.heard().empty());
    EXPECT_EQ(result.outcomes[0].stage, row.stage);
    EXPECT_EQ(result.outcomes[0].unknown, row.unknown);
    EXPECT_FALSE(result.outcomes[0].delivered());
  }
}

TEST(Wire, ADotThatIsNotPermittedIsNoReasonToAskAnotherServer) {
  ScriptedServer first([](Peer& peer) {
    greet(peer);
    peer.hear_until("DATA\r\n");
    peer.say("250 OK\r\n250 OK\r\n354 OK\r\n");
    peer.wait_for_close();
  });
  ScriptedServer second(deliver);
  LmtpClient::Hooks hooks;
  hooks.refusal = [] { return std::string("not wanted any more"); };
  const LmtpClient::Result result = Conversations().run({first.endpoint(), second.endpoint()}, hooks);
  EXPECT_EQ(first.finish(), "");
  second.finish();
  EXPECT_TRUE(second.heard().empty());
  EXPECT_EQ(result.outcomes[0].failure, "not wanted any more");
}

// Dovecot with all its processes busy: connect(2) succeeds, and that is all.
TEST(Wire, AServerThatAcceptsAndStaysSilentLeavesTimeForTheNext) {
  ScriptedServer first([](Peer& peer) { peer.wait_for_close(); });
  ScriptedServer second(deliver);
  Conversations conversations;
  conversations.settings.connect_timeout = std::chrono::milliseconds(200);
  const LmtpClient::Result result = conversations.run({first.endpoint(), second.endpoint()}, {}, seconds(2));
  EXPECT_EQ(first.finish(), "");
  EXPECT_EQ(second.finish(), "");
  EXPECT_TRUE(result.outcomes[0].delivered());
  EXPECT_EQ(conversations.changes, std::vector<std::string>{"unix:" + first.endpoint() + ": no reply in time"});
}

TEST(Wire, WhoTookAllTheTimeIsTheReason) {
  ScriptedServer first([](Peer& peer) {
    greet(peer);
    peer.wait_for_close();
  });
  ScriptedServer second(deliver);
  Conversations conversations;
  const LmtpClient::Result result = conversations.run({first.endpoint(), second.endpoint()}, {}, std::chrono::milliseconds(300));
  second.finish();
  EXPECT_TRUE(second.heard().empty());
  EXPECT_EQ(result.outcomes[0].stage, lmtp::Stage::mail);
  EXPECT_EQ(result.server, "unix:" + first.endpoint());
}

TEST(Wire, AServerThatFailedIsTriedAfterTheOthersForAWhile) {
  std::string second_endpoint;
  Conversations conversations;
  const std::string nowhere = "/nonexistent/lmtp";
  ScriptedServer second(deliver);
  LmtpClient client(conversations.io.get_executor(), {*parse_lmtp_endpoint(nowhere), *parse_lmtp_endpoint(second.endpoint())},
                    {});
  EXPECT_TRUE(conversations.run(client).outcomes[0].delivered());
  EXPECT_EQ(conversations.changes.size(), 1U);
  EXPECT_TRUE(conversations.run(client).outcomes[0].delivered());
  EXPECT_EQ(conversations.changes.size(), 1U) << "it was tried again";
  second.finish();
  const LmtpClient::Result result = conversations.run(client);  // both fail: the one that is left alone is tried, too
  EXPECT_EQ(result.outcomes[0].stage, lmtp::Stage::connect);
  EXPECT_EQ(result.server, "unix:" + nowhere);
}

TEST(Wire, AServerThatIsBackIsNoted) {
  int count = 0;
  ScriptedServer server([&](Peer& peer) {
    if (++count > 1) deliver(peer);
  });
  Conversations conversations;
  LmtpClient client(conversations.io.get_executor(), {*parse_lmtp_endpoint(server.endpoint())}, {});
  EXPECT_EQ(conversations.run(client).outcomes[0].stage, lmtp::Stage::banner);
  EXPECT_TRUE(conversations.run(client).outcomes[0].delivered());
  const std::string name = "unix:" + server.endpoint();
  EXPECT_EQ(conversations.changes, (std::vector<std::string>{name + ": the server closed the connection", name + " up"}));
}

class WireTls : public testing::Test {
 protected:
  WireTls() {
    authority.issue(certificate, "lmtp", {.names = "IP:127.0.0.1,DNS:mail.example.net"});
    conversations.settings.tls = net::TlsContext::load({.ca_file = authority.file()}).value();
  }

  void offer_starttls(Peer& peer) {
    peer.say("220 dc.test ready\r\n");
    peer.hear_line();
    peer.say("250-dc.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n");
    EXPECT_EQ(peer.hear_line(), "STARTTLS\r\n");
    peer.say("220 2.0.0 Begin TLS negotiation now.\r\n");
  }
  void deliver_after_starttls(Peer& peer) {
    offer_starttls(peer);
    peer.start_tls(certificate);
    peer.hear_line();
    peer.say(capabilities);
    deliver_greeted(peer);
  }

  test::Authority authority;
  test::Certificate certificate;
  Conversations conversations;
};

TEST_F(WireTls, FromTheFirstByte) {
  ScriptedServer server(
      [&](Peer& peer) {
        peer.start_tls(certificate);
        deliver(peer);
      },
      ScriptedServer::Kind::tcp);
  conversations.settings.starttls = true;  // has nothing to do with this server
  const LmtpClient::Result result = conversations.run({"lmtps://" + server.endpoint()});
  EXPECT_EQ(server.finish(), "");
  EXPECT_TRUE(result.outcomes[0].delivered());
}

TEST_F(WireTls, AfterStarttls) {
  conversations.settings.starttls = true;
  ScriptedServer tcp([&](Peer& peer) { deliver_after_starttls(peer); }, ScriptedServer::Kind::tcp);
  EXPECT_TRUE(conversations.run({tcp.endpoint()}).outcomes[0].delivered());
  EXPECT_EQ(tcp.finish(), "");
  ScriptedServer local([&](Peer& peer) { deliver_after_starttls(peer); });
  conversations.settings.tls_name = "mail.example.net";
  EXPECT_TRUE(conversations.run({local.endpoint()}).outcomes[0].delivered());
  EXPECT_EQ(local.finish(), "");
}

TEST_F(WireTls, OnlyWhenAskedFor) {
  ScriptedServer server([](Peer& peer) {
    peer.say("220 dc.test ready\r\n");
    peer.hear_line();
    peer.say("250-dc.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n");
    deliver_greeted(peer);
  });
  EXPECT_TRUE(conversations.run({server.endpoint()}).outcomes[0].delivered());
  EXPECT_EQ(server.finish(), "");
}

TEST_F(WireTls, NothingIsSaidToAServerThatCannotBeTrusted) {
  conversations.settings.starttls = true;
  struct Row {
    const char* what;
    std::string scheme;
    std::string name;
    ScriptedServer::Script script;
    std::string failure;
    std::string heard;
  };
  const auto handshake = [&](Peer& peer) { peer.start_tls(certificate); };
  const std::string mismatch =
      std::string("TLS: the server's certificate: ") + X509_verify_cert_error_string(X509_V_ERR_HOSTNAME_MISMATCH);
  const Row rows[] = {
      {"the wrong name, STARTTLS", "", "mx.example.net",
       [&](Peer& peer) {
         offer_starttls(peer);
         handshake(peer);
       },
       mismatch, "LHLO client.test\r\nSTARTTLS\r\n"},
      {"the wrong name", "lmtps://", "mx.example.net", handshake, "cannot connect: " + mismatch, ""},
      {"no TLS there", "lmtps://", "", [](Peer& peer) { peer.say("220 x\r\n"); }, "cannot connect: TLS: ", ""},
      {"no STARTTLS", "", "",
       [](Peer& peer) {
         greet(peer);
         peer.wait_for_close();
       },
       "the server does not offer STARTTLS", "LHLO client.test\r\n"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    ScriptedServer server(row.script, ScriptedServer::Kind::tcp);
    conversations.settings.tls_name = row.name;
    const LmtpClient::Result result = conversations.run({row.scheme + server.endpoint()});
    server.finish();
    EXPECT_EQ(result.outcomes[0].failure.substr(0, row.failure.size()), row.failure);
    ASSERT_EQ(server.heard().size(), 1U);
    if (row.scheme.empty()) {
      EXPECT_EQ(server.heard()[0].substr(0, row.heard.size()), row.heard);
      EXPECT_EQ(server.heard()[0].find("MAIL"), std::string::npos);
    }
  }
}

TEST_F(WireTls, ANameIsNeeded) {
  ScriptedServer server([&](Peer& peer) { offer_starttls(peer); });
  conversations.settings.starttls = true;
  EXPECT_EQ(conversations.run({server.endpoint()}).outcomes[0].failure,
            "TLS: there is no name to verify the server's certificate by");
}

// One connection serves several; the server's farewell in between is no error.
class WireReuse : public testing::Test {
 protected:
  WireReuse() { conversations.keep = true; }
  LmtpClient::Result run(LmtpClient& client, std::unique_ptr<LmtpClient::Connection> kept) {
    return conversations.run(client, {}, seconds(20), std::move(kept));
  }

  Conversations conversations;
};

// A transaction that is kept for another.
void deliver_kept(Peer& peer, std::string_view before = "") {
  peer.hear_until("DATA\r\n");
  peer.say(std::string(before) + "250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 OK\r\n");
  peer.hear_until(".\r\n");
  peer.say("250 2.0.0 <user> Saved\r\n");
}

TEST_F(WireReuse, TwoTransactionsOverOneConnection) {
  ScriptedServer server([](Peer& peer) {
    greet(peer);
    deliver_kept(peer);
    deliver_kept(peer, "250 OK\r\n");
    peer.wait_for_close();
  });
  LmtpClient client(conversations.io.get_executor(), {*parse_lmtp_endpoint(server.endpoint())}, {});
  LmtpClient::Result first = run(client, {});
  ASSERT_TRUE(first.kept);
  LmtpClient::Result second = run(client, std::move(first.kept));
  EXPECT_TRUE(second.outcomes[0].delivered());
  ASSERT_TRUE(second.kept);
  EXPECT_TRUE(first.fresh);
  EXPECT_FALSE(second.fresh);
  LmtpClient::quit(*second.kept);
  second.kept.reset();
  EXPECT_EQ(server.finish(), "");
  ASSERT_EQ(server.heard().size(), 1U);
  EXPECT_NE(server.heard()[0].find(".\r\nRSET\r\nMAIL"), std::string::npos) << server.heard()[0];
  EXPECT_TRUE(server.heard()[0].ends_with(".\r\nQUIT\r\n"));
}

TEST_F(WireReuse, AServerThatLeftInBetweenIsConnectedToOnceMore) {
  const struct {
    const char* what;
    ScriptedServer::Script after;
  } rows[] = {
      {"end of file", [](Peer&) {}},
      {"a waiting 421", [](Peer& peer) { peer.say("421 4.4.2 dc.test Disconnected for inactivity\r\n"); }},
      {"421 to RSET",
       [](Peer& peer) {
         peer.hear_line();
         peer.say("421 4.3.2 dc.test Shutting down\r\n");
       }},
      {"closes before the dot",
       [](Peer& peer) {
         peer.hear_until("DATA\r\n");
         peer.say("250 OK\r\n250 OK\r\n250 OK\r\n");
       }},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.what);
    int connections = 0;
    std::promise<void> kept;
    ScriptedServer server([&](Peer& peer) {
      greet(peer);
      deliver_kept(peer);
      if (++connections > 1) return;
      kept.get_future().wait();
      row.after(peer);
    });
    LmtpClient client(conversations.io.get_executor(), {*parse_lmtp_endpoint(server.endpoint())}, {});
    LmtpClient::Result first = run(client, {});
    EXPECT_TRUE(first.kept);
    kept.set_value();
    const LmtpClient::Result second = run(client, std::move(first.kept));
    EXPECT_TRUE(second.outcomes[0].delivered()) << second.outcomes[0].failure;
    EXPECT_TRUE(second.fresh);
    server.finish();
    EXPECT_EQ(connections, 2);
    EXPECT_TRUE(conversations.changes.empty());
  }
}

TEST_F(WireReuse, WhatWasSaidInBetweenIsNoAnswer) {
  std::atomic<int> connections = 0;
  std::atomic<bool> said = false;
  ScriptedServer server([&](Peer& peer) {
    greet(peer);
    deliver_kept(peer);
    if (++connections > 1) return;
    peer.say("250 one too many\r\n");
    said = true;
    peer.wait_for_close();
  });
  LmtpClient client(conversations.io.get_executor(), {*parse_lmtp_endpoint(server.endpoint())}, {});
  LmtpClient::Result first = run(client, {});
  while (!said) std::this_thread::yield();
  const LmtpClient::Result second = run(client, std::move(first.kept));
  EXPECT_TRUE(second.outcomes[0].delivered()) << second.outcomes[0].failure;
  EXPECT_EQ(server.finish(), "");
  EXPECT_EQ(connections, 2);
}

TEST_F(WireReuse, NoReconnectAfterTheDot) {
  int connections = 0;
  ScriptedServer server([&](Peer& peer) {
    ++connections;
    greet(peer);
    deliver_kept(peer);
    peer.hear_until("DATA\r\n");
    peer.say("250 OK\r\n250 OK\r\n250 OK\r\n354 OK\r\n");
    peer.hear_until(".\r\n");
  });
  LmtpClient client(conversations.io.get_executor(), {*parse_lmtp_endpoint(server.endpoint())}, {});
  LmtpClient::Result first = run(client, {});
  const LmtpClient::Result second = run(client, std::move(first.kept));
  EXPECT_EQ(server.finish(), "");
  EXPECT_TRUE(second.outcomes[0].unknown);
  EXPECT_EQ(connections, 1);
}

TEST(Wire, WhatIsWrongWithASocketIsExplained) {
  EXPECT_EQ(connect_failure(UnixEndpoint{"/nonexistent/lmtp"}, {false, ENOENT, "No such file or directory"}),
            "no such socket: is Dovecot running, and does it listen for LMTP there?");
  EXPECT_EQ(connect_failure(TcpEndpoint{"::1", 24}, {false, ECONNREFUSED, "Connection refused"}),
            "nobody listens there: is Dovecot running?");
  EXPECT_EQ(connect_failure(TcpEndpoint{"::1", 24}, {true, 0, "no connection in time"}), "cannot connect: no connection in time");
}

}  // namespace
}  // namespace mailbridge::wires
