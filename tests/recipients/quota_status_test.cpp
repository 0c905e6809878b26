#include "recipients/quota_status.hpp"

#include <string>

#include <gtest/gtest.h>

namespace mailbridge::recipients {
namespace {

const TimePoint now(std::chrono::hours(1));
const TimePoint until = now + std::chrono::seconds(3);
constexpr std::string_view request =
    "request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=alice@example.net\nsize=1234\n\n";

// A question that has left.
struct Asked {
  Asked() {
    const Step step = question.next(now);
    EXPECT_EQ(std::get<Send>(step).bytes, request);
    question.sent(request.size());
    EXPECT_EQ(std::get<Await>(question.next(now)).until, until);
  }
  bool done() { return std::holds_alternative<Done>(question.next(now)); }

  QuotaStatus question{"alice@example.net", 1234, until};
};

TEST(QuotaStatusTest, WhatAnActionSays) {
  struct Row {
    std::string action;
    Mailbox mailbox;
  };
  const Row rows[] = {
      {"DUNNO", Mailbox::known},
      {"OK", Mailbox::known},
      {"ok all is well", Mailbox::known},
      {"REJECT Unknown user", Mailbox::unknown},  // Dovecot's own, when nothing is set
      {"550 5.1.1 unknown", Mailbox::unknown},
      {"550 no", Mailbox::unknown},
      {"REJECT 5.1.1 gone", Mailbox::unknown},
      {"REJECT User does not exist", Mailbox::unknown},
      {"554 5.2.2 Quota exceeded (mailbox for user is full)", Mailbox::full},  // Dovecot's own
      {"552 5.2.2 Mailbox is full", Mailbox::full},
      {"552 Mailbox is full", Mailbox::full},
      {"452 4.2.2 Mailbox is full", Mailbox::full_for_now},
      {"REJECT Mailbox is full", Mailbox::full},
      {"REJECT Over quota, unknown when there will be room", Mailbox::full},
      {"552 5.2.3 Too large", Mailbox::too_large},
      {"DEFER_IF_PERMIT Temporary internal error", Mailbox::unsure},
      {"DEFER_IF_PERMIT 5.1.1 Unknown user", Mailbox::unsure},
      {"DEFER Unknown user", Mailbox::unsure},
      {"450 4.1.1 Unknown user", Mailbox::unsure},
      {"451 Unknown user", Mailbox::unsure},
      {"452 Mailbox is full", Mailbox::unsure},
      {"554 go away", Mailbox::unsure},
      {"REJECT", Mailbox::unsure},
      {"REJECT go away", Mailbox::unsure},
      {"550 5.7.1 Unknown user", Mailbox::unsure},
      {"REJECT 5.7.1 Unknown user", Mailbox::unsure},
      {"PREPEND X-Y: z", Mailbox::unsure},
      {"55", Mailbox::unsure},
      {"5500", Mailbox::unsure},
      {"", Mailbox::unsure},
  };
  for (const Row& row : rows) {
    const Found seen = found(row.action);
    EXPECT_EQ(seen.mailbox, row.mailbox) << row.action;
    EXPECT_EQ(seen.why.empty(), row.mailbox != Mailbox::unsure) << row.action;
  }
  EXPECT_EQ(found(" ").why, "quota-status says nothing");
  EXPECT_EQ(found("DEFER_IF_PERMIT Temporary internal error").why, "quota-status says: DEFER_IF_PERMIT Temporary internal error");
}

TEST(QuotaStatusTest, AReplyHoweverItComes) {
  const std::string reply = "action=552 5.2.2 full\n\n";
  for (std::size_t step = 1; step <= reply.size(); ++step) {
    Asked asked;
    for (std::size_t at = 0; at < reply.size(); at += step) {
      EXPECT_FALSE(asked.done());
      asked.question.receive(std::string_view(reply).substr(at, step));
    }
    EXPECT_TRUE(asked.done());
    EXPECT_EQ(asked.question.result().mailbox, Mailbox::full);
    EXPECT_TRUE(asked.question.reusable());
  }
}

// Dovecot 2.4 without quota_status_toolarge.
TEST(QuotaStatusTest, NothingAboutALargeMessageHasItAskAboutTheSmallest) {
  struct Row {
    std::string reply;  // about the smallest one
    Mailbox mailbox;
    std::string why = {};
  };
  const Row rows[] = {
      {"action=OK\n\n", Mailbox::too_large},
      {"action=DUNNO\n\n", Mailbox::too_large},
      {"action=554 5.2.2 Quota exceeded (mailbox for user is full)\n\n", Mailbox::full},
      {"action=452 4.2.2 full\n\n", Mailbox::full_for_now},
      {"action=REJECT Unknown user\n\n", Mailbox::unknown},
      {"action=\n\n", Mailbox::unsure, "quota-status says nothing"},
      {"action=DEFER_IF_PERMIT x\n\n", Mailbox::unsure, "quota-status says: DEFER_IF_PERMIT x"},
  };
  for (const std::string nothing : {"action=\n\n", "action= \t\r\n\r\n"}) {
    for (const Row& row : rows) {
      SCOPED_TRACE(row.reply);
      Asked asked;
      asked.question.receive(nothing);
      const Step step = asked.question.next(now);
      ASSERT_TRUE(std::holds_alternative<Send>(step));
      const std::string again(std::get<Send>(step).bytes);
      EXPECT_EQ(again, "request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=alice@example.net\nsize=1\n\n");
      EXPECT_EQ(std::get<Send>(step).until, until);
      asked.question.sent(again.size());
      EXPECT_FALSE(asked.done());
      for (const char& c : row.reply) asked.question.receive({&c, 1});
      EXPECT_TRUE(asked.done());
      EXPECT_EQ(asked.question.result().mailbox, row.mailbox);
      EXPECT_EQ(asked.question.result().why, row.why);
      EXPECT_TRUE(asked.question.reusable());
    }
  }
}

TEST(QuotaStatusTest, NothingAboutTheSmallestMessageIsNoAnswer) {
  for (const std::size_t size : {0U, 1U}) {
    QuotaStatus question("alice@example.net", size, until);
    question.sent(std::get<Send>(question.next(now)).bytes.size());
    question.receive("action=\n\n");
    EXPECT_TRUE(std::holds_alternative<Done>(question.next(now)));
    EXPECT_EQ(question.result().mailbox, Mailbox::unsure);
    EXPECT_TRUE(question.reusable());
  }
}

TEST(QuotaStatusTest, AnAnswerBeforeTheSecondQuestionIsNone) {
  for (const char* more : {"action=OK\n\n", "a", "\n"}) {
    for (const bool together : {true, false}) {
      Asked asked;
      asked.question.receive(std::string("action=\n\n") + (together ? more : ""));
      if (!together) asked.question.receive(more);
      EXPECT_TRUE(asked.done());
      EXPECT_EQ(asked.question.result().mailbox, Mailbox::unsure);
      EXPECT_FALSE(asked.question.reusable());
    }
  }
}

TEST(QuotaStatusTest, AConnectionThatEndsAtTheSecondQuestionWasNotStale) {
  Asked asked;
  asked.question.receive("action=\n\n");
  asked.question.end({Ending::Kind::closed});
  EXPECT_TRUE(asked.done());
  EXPECT_EQ(asked.question.result().mailbox, Mailbox::unsure);
  EXPECT_FALSE(asked.question.stale());
}

TEST(QuotaStatusTest, RepliesThatAreNone) {
  struct Row {
    const char* what;
    std::string bytes;
  };
  const Row rows[] = {
      {"an LMTP server", "220 dc.test Dovecot ready.\r\n"},
      {"no name", "=DUNNO\n\n"},
      {"nothing", "\n"},
      {"no end of line", std::string(1 << 20, 'x') + "\n"},
      {"an action beyond the limit", "action=DUNNO" + std::string(2048, ' ') + "\n\n"},
      {"no end",
       [] {
         std::string lines;
         for (int i = 0; i < 30; ++i) lines += "name=value\n";
         return lines;
       }()},
  };
  for (const Row& row : rows) {
    Asked asked;
    asked.question.receive(row.bytes);
    EXPECT_TRUE(asked.done()) << row.what;
    EXPECT_EQ(asked.question.result().mailbox, Mailbox::unsure) << row.what;
    EXPECT_FALSE(asked.question.reusable()) << row.what;
  }
}

TEST(QuotaStatusTest, OnlyTheActionCounts) {
  Asked asked;
  asked.question.receive("note=REJECT\r\naction=DUNNO\r\naction=REJECT Unknown user\r\n\r\n");
  EXPECT_TRUE(asked.done());
  EXPECT_EQ(asked.question.result().mailbox, Mailbox::known);
  EXPECT_TRUE(asked.question.reusable());
}

TEST(QuotaStatusTest, WhatFollowsTheReplySpoilsTheConnectionOnly) {
  for (const char* more : {"x", "\n", "action=REJECT Unknown user\n\n"}) {
    Asked together;
    together.question.receive(std::string("action=DUNNO\n\n") + more);
    Asked later;
    later.question.receive("action=DUNNO\n\n");
    later.question.receive(more);
    for (const QuotaStatus& question : {together.question, later.question}) {
      EXPECT_EQ(question.result().mailbox, Mailbox::known);
      EXPECT_FALSE(question.reusable());
    }
  }
}

TEST(QuotaStatusTest, AnAnswerBeforeTheQuestionIsNone) {
  QuotaStatus question("alice@example.net", 1234, until);
  question.next(now);
  question.sent(10);
  question.receive("action=REJECT Unknown user\n\n");
  EXPECT_TRUE(std::holds_alternative<Done>(question.next(now)));
  EXPECT_EQ(question.result().mailbox, Mailbox::unsure);
  EXPECT_FALSE(question.reusable());
}

TEST(QuotaStatusTest, Endings) {
  struct Row {
    Ending ending;
    std::string before;
    bool stale;
    std::string why;
  };
  const Row rows[] = {
      {{Ending::Kind::closed}, "", true, "quota-status closed the connection"},
      {{Ending::Kind::closed}, "action", false, "quota-status closed the connection"},
      {{Ending::Kind::closed}, "action=DUNNO\n", false, "quota-status closed the connection"},
      {{Ending::Kind::failed, "Broken pipe"}, "", true, "quota-status: Broken pipe"},
      {{Ending::Kind::timed_out}, "", false, "quota-status does not answer in time"},
  };
  for (const Row& row : rows) {
    Asked asked;
    asked.question.receive(row.before);
    asked.question.end(row.ending);
    EXPECT_TRUE(asked.done());
    EXPECT_EQ(asked.question.result().mailbox, Mailbox::unsure);
    EXPECT_EQ(asked.question.result().why, row.why);
    EXPECT_EQ(asked.question.stale(), row.stale);
    EXPECT_FALSE(asked.question.reusable());
  }
}

// A question that ended, or was answered.
QuotaStatus ended(const std::string& reply) {
  Asked asked;
  if (reply.empty()) asked.question.end({Ending::Kind::closed});
  else asked.question.receive(reply);
  return asked.question;
}

TEST(QuotaAttempts, AKeptConnectionIsUsedFirst) {
  QuotaAttempts attempts(true);
  EXPECT_EQ(attempts.next(), QuotaAttempts::Next::use_kept);
  attempts.ended(ended("action=DUNNO\n\n"));
  EXPECT_EQ(attempts.next(), QuotaAttempts::Next::done);
  EXPECT_EQ(attempts.result().mailbox, Mailbox::known);
  EXPECT_FALSE(attempts.fresh());
}

TEST(QuotaAttempts, AStaleConnectionIsReplacedOnce) {
  QuotaAttempts attempts(true);
  attempts.ended(ended(""));
  EXPECT_EQ(attempts.next(), QuotaAttempts::Next::connect);
  EXPECT_TRUE(attempts.fresh());
  attempts.ended(ended(""));
  EXPECT_EQ(attempts.next(), QuotaAttempts::Next::done);
  EXPECT_EQ(attempts.result().why, "quota-status closed the connection");
}

TEST(QuotaAttempts, ANewConnectionIsNoReasonForAnother) {
  QuotaAttempts attempts(false);
  EXPECT_EQ(attempts.next(), QuotaAttempts::Next::connect);
  attempts.ended(ended(""));
  EXPECT_EQ(attempts.next(), QuotaAttempts::Next::done);
  EXPECT_TRUE(attempts.fresh());
}

TEST(QuotaAttempts, NobodyThere) {
  for (const bool ours : {true, false}) {
    QuotaAttempts attempts(false);
    attempts.not_connected("Connection refused", ours);
    EXPECT_EQ(attempts.next(), QuotaAttempts::Next::done);
    EXPECT_EQ(attempts.result().mailbox, Mailbox::unsure);
    EXPECT_EQ(attempts.result().why, "quota-status: cannot connect: Connection refused");
    EXPECT_EQ(attempts.result().ours, ours);
  }
}

}  // namespace
}  // namespace mailbridge::recipients
