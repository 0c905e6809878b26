#include "session/recipient_desk.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/session/fixture.hpp"

namespace mailbridge::session {
namespace {

using namespace std::chrono_literals;
using recipients::Mailbox;

class RecipientDeskTest : public testing::Test {
 protected:
  RecipientDeskTest() {
    shared.settings = default_settings();
    shared.settings.verify.domains = {"example.org"};
    desk.use();
    session = &shared.sessions[10];
    session->key = 10;
    session->id = "0a";
    session->version = {0, 7};
    session->client.ip = "192.0.2.1";
    session->client.mta_name = "mx.example.org";
  }
  void ask(const std::string& address) {
    desk.asked(*session, {"70", address}, t0);
    EXPECT_FALSE(desk.next(t0));
  }
  std::string found(Mailbox mailbox) {
    for (Command& command : std::exchange(shared.commands, {})) {
      if (const auto* lookup = std::get_if<recipients::StartLookup>(&command))
        desk.lookup_finished(lookup->id, mailbox, "", t0, false);
    }
    EXPECT_FALSE(desk.next(t0));
    return said();
  }
  std::string said() {
    const std::string all(shared.output.window([](auto, auto&) {}));
    shared.output.written(all.size());
    return all;
  }

  Shared shared;
  Session* session;
  RecipientDesk desk{shared, 7};
};

TEST_F(RecipientDeskTest, AnAddressThatIsNotVerifiedIsAnsweredAtOnce) {
  ask("x@example.com");
  EXPECT_EQ(said(), "filter-result|0a|70|proceed\n");
  EXPECT_TRUE(shared.commands.empty());
}

TEST_F(RecipientDeskTest, ALookupLeadsToTheAnswer) {
  ask("alice@example.org");
  EXPECT_EQ(said(), "");
  EXPECT_EQ(found(Mailbox::known), "filter-result|0a|70|proceed\n");
  EXPECT_TRUE(session->tx.verified.contains("alice@example.org"));
  found(Mailbox::unknown);  // a local part that nobody has
  ask("nobody@example.org");
  EXPECT_EQ(found(Mailbox::unknown), "filter-result|0a|70|reject|550 5.1.1 There is no such mailbox\n");
  EXPECT_EQ(session->unknown, 1U);
  EXPECT_EQ(session->refused, 1U);
}

TEST_F(RecipientDeskTest, AQuestionOutlivesItsSession) {
  ask("alice@example.org");
  shared.sessions.clear();
  EXPECT_EQ(found(Mailbox::known), "filter-result|0a|70|proceed\n");
}

TEST_F(RecipientDeskTest, NobodyWaitsBeyondTheDeadline) {
  ask("alice@example.org");
  ASSERT_TRUE(desk.next_deadline());
  const TimePoint late = *desk.next_deadline();
  desk.tick(late);
  EXPECT_FALSE(desk.next(late));
  EXPECT_EQ(said(), "filter-result|0a|70|proceed\n");
}

TEST_F(RecipientDeskTest, ASessionThatGuessesIsAnsweredLater) {
  session->unknown = shared.settings.recipients.max_unknown + 2;
  ask("x@example.com");
  EXPECT_EQ(said(), "");
  EXPECT_EQ(desk.next_deadline(), t0 + 3s);
  desk.answer_slowed(t0 + 3s - 1ms);
  EXPECT_EQ(said(), "");
  desk.answer_slowed(t0 + 3s);
  EXPECT_EQ(said(), "filter-result|0a|70|proceed\n");
}

TEST_F(RecipientDeskTest, RoomIsAskedForOncePerVerifiedRecipient) {
  shared.settings.verify.sizes = true;
  desk.use();
  Transaction& tx = session->tx;
  tx.recipients = {"alice@example.org", "alice@example.org", "bob@example.org", "c@example.com"};
  tx.verified = {"alice@example.org"};
  tx.size = 5000;
  desk.ask_for_room(*session, t0);
  EXPECT_EQ(tx.asked_for_room, 1U);
  EXPECT_FALSE(desk.next(t0));
  ASSERT_EQ(shared.commands.size(), 1U);
  const auto lookup = std::get<recipients::StartLookup>(shared.commands[0]);
  EXPECT_EQ(lookup.size, 5000U);
  desk.lookup_finished(lookup.id, Mailbox::too_large, "", t0, false);
  const auto room = desk.next(t0);
  ASSERT_TRUE(room);
  EXPECT_EQ(room->session_key, 10U);
  EXPECT_EQ(room->address, "alice@example.org");
  EXPECT_EQ(room->mailbox, Mailbox::too_large);
}

TEST_F(RecipientDeskTest, WhatIsForgottenIsNotTold) {
  shared.settings.verify.sizes = true;
  desk.use();
  session->tx.recipients = {"alice@example.org"};
  session->tx.verified = {"alice@example.org"};
  session->tx.size = 5000;
  desk.ask_for_room(*session, t0);
  EXPECT_FALSE(desk.next(t0));
  desk.forget_room(*session);
  EXPECT_EQ(session->tx.asked_for_room, 0U);
  desk.lookup_finished(std::get<recipients::StartLookup>(shared.commands[0]).id, Mailbox::full, "", t0, false);
  EXPECT_FALSE(desk.next(t0));
}

}  // namespace
}  // namespace mailbridge::session
