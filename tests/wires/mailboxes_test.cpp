#include "wires/mailboxes.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <asio/io_context.hpp>
#include <asio/post.hpp>

#include "tests/support/scripted_server.hpp"

namespace mailbridge::wires {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::Peer;
using test::ScriptedServer;

constexpr const char* mail_and_rset = "250 2.1.0 OK\r\n";

void greet(Peer& peer) {
  peer.say("220 dc.test ready\r\n");
  peer.hear_line();
  peer.say("250-dc.test\r\n250 PIPELINING\r\n");
}

// A probe of a connection that is fresh, or has served before; its replies to RCPT.
void probe(Peer& peer, const std::string& replies, bool reused = false) {
  if (reused) peer.hear_until("RSET\r\n");
  peer.hear_until("RSET\r\n");
  peer.say(std::string(reused ? "250 2.0.0 OK\r\n" : "") + mail_and_rset + replies + "250 2.0.0 OK\r\n");
}

class MailboxesTest : public testing::Test {
 protected:
  Mailboxes& over_lmtp(const ScriptedServer& server, lmtp::PoolLimits limits = {.count = 1}) {
    return mailboxes.emplace(io, Mailboxes::Settings{.lmtp = {*parse_lmtp_endpoint(server.endpoint())}, .limits = limits},
                             hooks());
  }
  Mailboxes& over_policy(const ScriptedServer& server) {
    return mailboxes.emplace(
        io, Mailboxes::Settings{.quota_status = *parse_lmtp_endpoint(server.endpoint()), .limits = {.count = 1}}, hooks());
  }

  Mailboxes::Hooks hooks() {
    return {Clock::now,
            [this](recipients::LookupId id, const recipients::Found& found, TimePoint) {
              EXPECT_TRUE(looked_up.emplace(id, found).second) << "answered twice";
              if (on_answer) on_answer();
            },
            [this](recipients::DeliveryId id, const std::vector<lmtp::Outcome>& outcomes, std::string_view server, TimePoint) {
              EXPECT_TRUE(delivered.emplace(id, outcomes).second) << "answered twice";
              last_server = server;
              if (on_answer) on_answer();
            }};
  }

  void look_up(recipients::LookupId id, const std::string& recipient, std::size_t size = 0, Duration time = seconds(10)) {
    mailboxes->start(recipients::StartLookup{id, recipient, size, Clock::now() + time});
  }
  void deliver(recipients::DeliveryId id, std::vector<std::string> recipients, Duration time = seconds(10)) {
    lmtp::Transaction transaction;
    transaction.sender = "a@example.net";
    for (std::string& recipient : recipients) transaction.recipients.push_back({std::move(recipient)});
    transaction.mail.head = "Subject: x\r\n\r\n";
    const TimePoint until = Clock::now() + time;
    mailboxes->start(recipients::StartDelivery{id, std::move(transaction), until, until + seconds(10)});
  }

  // Until that many have been answered.
  void run(std::size_t answers) {
    while (looked_up.size() + delivered.size() < answers && io.run_one() > 0) {
    }
  }
  // What the server heard, once we have closed.
  const std::vector<std::string>& heard(ScriptedServer& server) {
    mailboxes.reset();
    EXPECT_EQ(server.finish(), "");
    return server.heard();
  }

  asio::io_context io;
  std::optional<Mailboxes> mailboxes;
  std::map<recipients::LookupId, recipients::Found> looked_up;
  std::map<recipients::DeliveryId, std::vector<lmtp::Outcome>> delivered;
  std::string last_server;
  std::function<void()> on_answer;
};

TEST_F(MailboxesTest, LookUpsThatWaitTogetherShareAProbe) {
  ScriptedServer server([](Peer& peer) {
    greet(peer);
    probe(peer, "250 2.1.5 OK\r\n");
    probe(peer, "550 5.1.1 no\r\n552 5.2.2 full\r\n451 4.3.0 later\r\n", true);
    peer.wait_for_close();
  });
  over_lmtp(server);
  look_up(1, "alice@example.net");
  look_up(2, "nobody@example.net");
  look_up(3, "full@example.net");
  look_up(4, "later@example.net");
  run(4);
  EXPECT_EQ(looked_up[1].mailbox, recipients::Mailbox::known);
  EXPECT_EQ(looked_up[2].mailbox, recipients::Mailbox::unknown);
  EXPECT_EQ(looked_up[3].mailbox, recipients::Mailbox::full);
  EXPECT_EQ(looked_up[4].mailbox, recipients::Mailbox::unsure);
  EXPECT_EQ(looked_up[4].why, "451 4.3.0 later");
  const std::string said = heard(server).at(0);
  EXPECT_EQ(said.substr(said.find('\n') + 1),
            "MAIL FROM:<>\r\nRCPT TO:<alice@example.net>\r\nRSET\r\n"
            "RSET\r\nMAIL FROM:<>\r\nRCPT TO:<nobody@example.net>\r\nRCPT TO:<full@example.net>\r\n"
            "RCPT TO:<later@example.net>\r\nRSET\r\n");
}

TEST_F(MailboxesTest, AServerThatLeftInBetweenIsNoError) {
  ScriptedServer server([](Peer& peer) {
    greet(peer);
    probe(peer, "250 2.1.5 OK\r\n");
  });
  over_lmtp(server);
  for (recipients::LookupId id = 1; id <= 3; ++id) {
    look_up(id, "alice@example.net");
    run(id);
    EXPECT_EQ(looked_up[id].mailbox, recipients::Mailbox::known) << looked_up[id].why;
  }
  EXPECT_EQ(heard(server).size(), 3U);
}

TEST_F(MailboxesTest, AServerThatIsNotThereIsUnsure) {
  mailboxes.emplace(io, Mailboxes::Settings{.lmtp = {UnixEndpoint{"/nonexistent/lmtp"}}, .limits = {.count = 1}}, hooks());
  look_up(1, "alice@example.net");
  deliver(1, {"alice@example.net", "bob@example.net"});
  run(2);
  EXPECT_EQ(looked_up[1].mailbox, recipients::Mailbox::unsure);
  EXPECT_EQ(looked_up[1].why, "no such socket: is Dovecot running, and does it listen for LMTP there?");
  ASSERT_EQ(delivered[1].size(), 2U);
  EXPECT_EQ(delivered[1][1].stage, lmtp::Stage::connect);
  EXPECT_EQ(last_server, "unix:/nonexistent/lmtp");
}

TEST_F(MailboxesTest, WhatWeAreShortOfIsNoFaultOfTheServer) {
  ScriptedServer server([](Peer&) {}, ScriptedServer::Kind::tcp);
  Mailboxes::Settings settings{.lmtp = {*parse_lmtp_endpoint(server.endpoint())}, .limits = {.count = 1}};
  settings.connect.source = asio::ip::make_address("192.0.2.1");  // is no address of ours
  mailboxes.emplace(io, std::move(settings), hooks());
  look_up(1, "alice@example.net");
  deliver(1, {"alice@example.net"});
  run(2);
  EXPECT_EQ(looked_up.at(1).mailbox, recipients::Mailbox::unsure);
  EXPECT_TRUE(looked_up.at(1).ours) << looked_up.at(1).why;
  EXPECT_TRUE(delivered.at(1)[0].ours) << delivered.at(1)[0].failure;
  EXPECT_TRUE(heard(server).empty());
}

TEST_F(MailboxesTest, NobodyToAsk) {
  mailboxes.emplace(io, Mailboxes::Settings{}, hooks());
  look_up(1, "alice@example.net");
  deliver(1, {"alice@example.net"});
  EXPECT_EQ(looked_up.at(1).mailbox, recipients::Mailbox::unsure);
  EXPECT_EQ(delivered.at(1)[0].failure, "there is no server to deliver to");
}

TEST_F(MailboxesTest, AnAddressThatCannotBeSaid) {
  ScriptedServer server([](Peer&) {});
  over_lmtp(server);
  look_up(1, "alice@example.net\nsize=1");
  EXPECT_EQ(looked_up.at(1).mailbox, recipients::Mailbox::unsure);
  EXPECT_TRUE(heard(server).empty());
}

TEST_F(MailboxesTest, AConnectionHasItsUses) {
  ScriptedServer server([](Peer& peer) {
    greet(peer);
    probe(peer, "250 2.1.5 OK\r\n");
    probe(peer, "250 2.1.5 OK\r\n", true);
    peer.wait_for_close();
  });
  over_lmtp(server, {.count = 1, .uses = 2});
  for (recipients::LookupId id = 1; id <= 4; ++id) {
    look_up(id, "alice@example.net");
    run(id);
    EXPECT_EQ(looked_up[id].mailbox, recipients::Mailbox::known);
  }
  ASSERT_EQ(heard(server).size(), 2U);
  EXPECT_TRUE(server.heard()[0].ends_with("QUIT\r\n"));
}

TEST_F(MailboxesTest, AnIdleConnectionIsLeft) {
  ScriptedServer server([](Peer& peer) {
    greet(peer);
    probe(peer, "250 2.1.5 OK\r\n");
    peer.wait_for_close();
  });
  over_lmtp(server, {.count = 1, .idle = milliseconds(30)});
  look_up(1, "alice@example.net");
  io.run();  // until nothing is left to do
  EXPECT_EQ(server.finish(), "");
  EXPECT_TRUE(server.heard().at(0).ends_with("QUIT\r\n"));
}

TEST_F(MailboxesTest, ADeliveryGoesOverTheSameConnection) {
  ScriptedServer server([](Peer& peer) {
    greet(peer);
    probe(peer, "250 2.1.5 OK\r\n");
    peer.hear_until("DATA\r\n");
    peer.say("250 OK\r\n250 OK\r\n250 OK\r\n552 5.2.2 full\r\n354 OK\r\n");
    peer.hear_until(".\r\n");
    peer.say("250 2.0.0 Saved\r\n");
    peer.wait_for_close();
  });
  over_lmtp(server);
  look_up(1, "alice@example.net");
  deliver(7, {"alice@example.net", "full@example.net"});
  run(2);
  EXPECT_TRUE(delivered.at(7).at(0).delivered());
  EXPECT_EQ(delivered[7][1].reply->code, 552);
  EXPECT_EQ(last_server, "unix:" + server.endpoint());
  EXPECT_NE(heard(server).at(0).find("DATA\r\nSubject: x\r\n\r\n.\r\n"), std::string::npos);
}

TEST_F(MailboxesTest, ACancelledDeliveryHasNoDot) {
  ScriptedServer server([this](Peer& peer) {
    greet(peer);
    peer.hear_until("DATA\r\n");
    peer.say("250 OK\r\n250 OK\r\n");
    asio::post(io, [this] { mailboxes->cancel(1); });
    peer.pause(20);
    peer.say("354 OK\r\n");
    peer.wait_for_close();
  });
  over_lmtp(server);
  deliver(1, {"alice@example.net"});
  deliver(2, {"alice@example.net"});  // waits for its turn
  mailboxes->cancel(2);
  run(2);
  for (const recipients::DeliveryId id : {1U, 2U}) {
    EXPECT_EQ(delivered.at(id)[0].failure, "the delivery is no longer wanted");
    EXPECT_FALSE(delivered[id][0].unknown);
  }
  ASSERT_EQ(heard(server).size(), 1U);
  EXPECT_EQ(server.heard()[0].find(".\r\n"), std::string::npos);
}

TEST_F(MailboxesTest, ADeliveryThatHasNoTurnInTimeIsNotBegun) {
  ScriptedServer server([](Peer& peer) {
    greet(peer);
    peer.wait_for_close();
  });
  over_lmtp(server);
  deliver(1, {"alice@example.net"}, milliseconds(300));
  deliver(2, {"bob@example.net"}, milliseconds(100));
  run(1);
  EXPECT_EQ(delivered.at(2)[0].failure, "no connection was free in time");
  run(2);
  EXPECT_EQ(delivered.at(1)[0].stage, lmtp::Stage::mail);
  EXPECT_EQ(heard(server).at(0).find("bob"), std::string::npos);
}

TEST_F(MailboxesTest, ALookUpThatHasNoTurnInTimeIsNotAsked) {
  ScriptedServer server([](Peer& peer) {
    greet(peer);
    peer.wait_for_close();
  });
  over_lmtp(server);
  look_up(1, "alice@example.net", 0, milliseconds(300));
  look_up(2, "bob@example.net", 0, milliseconds(100));
  run(2);
  EXPECT_EQ(looked_up.at(1).mailbox, recipients::Mailbox::unsure);
  EXPECT_EQ(looked_up.at(2).why, "no connection was free in time");
  EXPECT_EQ(heard(server).at(0).find("bob"), std::string::npos);
}

TEST_F(MailboxesTest, OtherServersFromNowOn) {
  const auto script = [](Peer& peer) {
    greet(peer);
    probe(peer, "250 2.1.5 OK\r\n");
    peer.wait_for_close();
  };
  ScriptedServer before(script);
  ScriptedServer after(script);
  over_lmtp(before);
  look_up(1, "alice@example.net");
  run(1);
  mailboxes->use({.lmtp = {*parse_lmtp_endpoint(after.endpoint())}, .limits = {.count = 1}});
  EXPECT_EQ(before.finish(), "");
  EXPECT_TRUE(before.heard().at(0).ends_with("QUIT\r\n"));
  look_up(2, "alice@example.net");
  run(2);
  mailboxes->use({.lmtp = {*parse_lmtp_endpoint(after.endpoint())}, .limits = {.count = 1}});  // the same: nothing happens
  EXPECT_EQ(looked_up.at(2).mailbox, recipients::Mailbox::known);
  EXPECT_FALSE(heard(after).at(0).ends_with("QUIT\r\n"));
}

TEST_F(MailboxesTest, WhoIsUnderWayOrWaitsIsServedTheOldWay) {
  ScriptedServer before([](Peer& peer) {
    greet(peer);
    probe(peer, "250 2.1.5 OK\r\n");
  });
  ScriptedServer after([](Peer&) {});
  over_lmtp(before);
  look_up(1, "alice@example.net");
  look_up(2, "bob@example.net");
  mailboxes->use({.lmtp = {*parse_lmtp_endpoint(after.endpoint())}});
  run(2);
  EXPECT_EQ(looked_up.at(1).mailbox, recipients::Mailbox::known);
  EXPECT_EQ(looked_up.at(2).mailbox, recipients::Mailbox::known);
  EXPECT_EQ(before.finish(), "");
}

TEST_F(MailboxesTest, QuotaStatusIsAskedOverOneConnection) {
  ScriptedServer server([](Peer& peer) {
    peer.hear_until("\n\n");
    peer.say("action=DUNNO\n\n");
    peer.hear_until("\n\n");
    peer.say("action=552 5.2.2 full\n\n");
    peer.hear_until("\n\n");
    peer.say("action=REJECT Unknown user\n\n");
    peer.wait_for_close();
  });
  over_policy(server);
  look_up(1, "alice@example.net", 100);
  look_up(2, "alice@example.net", 100'000);
  look_up(3, "nobody@example.net");
  run(3);
  EXPECT_EQ(looked_up[1].mailbox, recipients::Mailbox::known);
  EXPECT_EQ(looked_up[2].mailbox, recipients::Mailbox::full);
  EXPECT_EQ(looked_up[3].mailbox, recipients::Mailbox::unknown);
  const auto& said = heard(server);
  ASSERT_EQ(said.size(), 1U);
  EXPECT_NE(said[0].find("recipient=alice@example.net\nsize=100000\n\n"), std::string::npos);
  EXPECT_TRUE(said[0].ends_with("recipient=nobody@example.net\nsize=0\n\n"));
}

TEST_F(MailboxesTest, AQuotaStatusThatLeftInBetweenIsNoError) {
  ScriptedServer server([](Peer& peer) {
    peer.hear_until("\n\n");
    peer.say("action=DUNNO\n\n");
  });
  over_policy(server);
  for (recipients::LookupId id = 1; id <= 3; ++id) {
    look_up(id, "alice@example.net");
    run(id);
    EXPECT_EQ(looked_up[id].mailbox, recipients::Mailbox::known) << looked_up[id].why;
  }
  EXPECT_EQ(heard(server).size(), 3U);
}

TEST_F(MailboxesTest, AQuotaStatusThatIsNoneIsUnsure) {
  ScriptedServer server([](Peer& peer) {
    peer.say("220 dc.test ready\r\n");
    peer.wait_for_close();
  });
  over_policy(server);
  look_up(1, "alice@example.net");
  run(1);
  EXPECT_EQ(looked_up[1].mailbox, recipients::Mailbox::unsure);
  EXPECT_EQ(heard(server).size(), 1U) << "a fresh connection is no reason for another";
}

}  // namespace
}  // namespace mailbridge::wires
