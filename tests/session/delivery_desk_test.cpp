#include "session/delivery_desk.hpp"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "tests/session/fixture.hpp"

namespace mailbridge::session {
namespace {

using namespace std::chrono_literals;
using lmtp::Outcome;
using lmtp::Stage;
using ::testing::HasSubstr;

const lmtp::MarkKeys key = lmtp::MarkKeys::parse("0123456789abcdef0123456789abcdef").value();
const Outcome delivered{Stage::dot, lmtp::Reply{250, "2.0.0", {"saved"}}, {}};
const Outcome refused{Stage::dot, lmtp::Reply{552, "5.2.2", {"full"}}, {}};
const Outcome down{Stage::connect, std::nullopt, "nobody listens there"};
const Outcome lost{Stage::dot, std::nullopt, "connection closed", true};

class DeliveryDeskTest : public testing::Test {
 protected:
  DeliveryDeskTest() {
    shared.settings = default_settings();
    shared.settings.delivery = recipients::DeliverySettings{key, 60s};
    session.key = 7;
    session.id = "0a";
    session.client.ip = "192.0.2.1";
    session.tx.msgid = "00000001";
    session.tx.sender = "s@example.net";
    session.tx.recipients = {"alice@example.org", "bob@example.org"};
    session.tx.decision.emplace().header_bytes = "Subject: x\r\n";
  }
  recipients::DeliveryId start(TimePoint now = t0) {
    desk.start(session, session.tx.recipients, now);
    return *session.tx.delivery;
  }
  DeliveryDesk::Result end(const std::vector<Outcome>& outcomes) {
    const auto delivery = desk.take(start());
    session.tx.delivery.reset();
    return desk.conclude(session, *delivery, outcomes, "unix:/lmtp", t0 + 5ms);
  }
  std::vector<std::string> notes() {
    std::vector<std::string> texts;
    for (const Command& command : shared.commands) {
      if (const auto* note = std::get_if<Note>(&command)) texts.push_back(note->text);
    }
    return texts;
  }

  Shared shared;
  Session session;
  DeliveryDesk desk{shared};
};

TEST_F(DeliveryDeskTest, ADeliveryHasHalfOfItsTimeToTheDot) {
  const auto id = start();
  ASSERT_EQ(shared.commands.size(), 1U);
  const auto& command = std::get<recipients::StartDelivery>(shared.commands[0]);
  EXPECT_EQ(command.id, id);
  EXPECT_EQ(command.dot_by, t0 + 30s);
  EXPECT_EQ(command.reply_by, t0 + 60s);
  EXPECT_EQ(command.transaction.recipients.size(), 2U);
  EXPECT_EQ(desk.next_deadline(), t0 + 60s + grace);
  EXPECT_FALSE(desk.late(t0 + 60s));
  EXPECT_EQ(desk.late(t0 + 61s), id);
}

TEST_F(DeliveryDeskTest, NoneIsDueBeforeAnEarlierOne) {
  start();
  shared.settings.delivery->timeout = 1s;
  start();
  EXPECT_EQ(desk.next_deadline(), t0 + 61s);
}

TEST_F(DeliveryDeskTest, WhatItComesTo) {
  const auto all = end({delivered, delivered});
  EXPECT_EQ(all.refusal, "");
  EXPECT_EQ(all.delivered, 2U);
  EXPECT_EQ(all.mark, lmtp::seal(key, "00000001", session.tx.recipients));
  const auto some = end({delivered, refused});
  EXPECT_EQ(some.refusal, "") << "somebody has it";
  EXPECT_EQ(some.delivered, 1U);
  EXPECT_TRUE(end({refused, refused}).refusal.starts_with("552 5.2.2"));
  const auto nobody = end({down, down});
  EXPECT_EQ(nobody.refusal + nobody.mark, "");
  EXPECT_EQ(session.tx.log_level, Level::warn);
  end({delivered, lost});
  EXPECT_THAT(session.tx.log, HasSubstr("may be delivered twice"));
  EXPECT_EQ(session.tx.log_level, Level::error);
}

TEST_F(DeliveryDeskTest, AServerThatIsSilentRestsAndThenGetsOneAtATime) {
  end({down, down});
  EXPECT_TRUE(desk.store_is_silent(t0 + 1s));
  EXPECT_FALSE(desk.store_is_silent(t0 + 1min));
  start(t0 + 1min);
  EXPECT_TRUE(desk.store_is_silent(t0 + 1min)) << "one at a time";
  end({delivered, delivered});
  EXPECT_FALSE(desk.store_is_silent(t0 + 1min)) << "it has answered";
}

TEST_F(DeliveryDeskTest, AnOrphanIsTakenWithoutItsTransactionAndToldWhenItMatters) {
  for (const Outcome& outcome : {delivered, lost, refused, down}) {
    shared.commands.clear();
    const auto id = start();
    desk.cancel(session.tx);
    EXPECT_FALSE(session.tx.delivery);
    EXPECT_EQ(std::get<recipients::CancelDelivery>(shared.commands.back()).id, id);
    const auto delivery = desk.take(id);
    ASSERT_TRUE(delivery);
    EXPECT_FALSE(delivery->session_key);
    desk.tell_of_orphan(*delivery, {outcome, outcome}, "unix:/lmtp");
    EXPECT_EQ(notes().size(), outcome.delivered() || outcome.unknown ? 1U : 0U) << outcome.failure;
    EXPECT_FALSE(desk.take(id)) << "once";
  }
}

TEST_F(DeliveryDeskTest, AtTheEndOfInputNobodyKnows) {
  start();
  desk.end_of_input();
  ASSERT_EQ(notes().size(), 1U);
  EXPECT_THAT(notes()[0], HasSubstr("outcome unknown, and not taken by smtpd: may be delivered twice"));
  EXPECT_FALSE(desk.next_deadline());
}

}  // namespace
}  // namespace mailbridge::session
