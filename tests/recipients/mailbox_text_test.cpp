#include "recipients/mailbox_text.hpp"

#include <gtest/gtest.h>

namespace mailbridge::recipients {
namespace {

using lmtp::Outcome;
using lmtp::Stage;

TEST(MailboxText, WhatIsFoundIsReadAgain) {
  for (const Found& found : {Found{Mailbox::known}, Found{Mailbox::too_large}, Found{Mailbox::unsure, "no answer in time"},
                             Found{Mailbox::unsure, "Too many open files", true}}) {
    const auto again = parse_found(text_of(found));
    ASSERT_TRUE(again);
    EXPECT_EQ(again->mailbox, found.mailbox);
    EXPECT_EQ(again->why, found.why);
    EXPECT_EQ(again->ours, found.ours);
  }
  EXPECT_FALSE(parse_found("perhaps\n"));
  EXPECT_EQ(text_of(StartLookup{1, "alice@example.net", 1234, {}}), "alice@example.net 1234\n");
}

TEST(MailboxText, OutcomesAreReadAgain) {
  const std::string text =
      "dot 250 2.0.0 Saved\n"
      "rcpt 550 5.1.1 no such user\n"
      "mail 451 later\n"
      "connect ! cannot connect: Connection refused\n"
      "dot ? ! the server closed the connection\n"
      "connect !! Too many open files\n"
      "dot ? 421 4.3.2 Shutting down\n";
  const auto outcomes = parse_outcomes(text);
  ASSERT_TRUE(outcomes);
  EXPECT_EQ(text_of(*outcomes), text);
  EXPECT_TRUE(outcomes->at(0).delivered());
  EXPECT_EQ(outcomes->at(1).stage, Stage::rcpt);
  EXPECT_EQ(outcomes->at(1).reply->enhanced, "5.1.1");
  EXPECT_EQ(outcomes->at(3).failure, "cannot connect: Connection refused");
  EXPECT_FALSE(outcomes->at(3).ours);
  EXPECT_TRUE(outcomes->at(4).unknown);
  EXPECT_TRUE(outcomes->at(5).ours);
  EXPECT_EQ(outcomes->at(5).failure, "Too many open files");
  EXPECT_TRUE(outcomes->at(6).unknown);
  for (const char* none : {"\n", "dot\n", "dot 25\n", "dot 250-2.0.0 more\n", "moon 250 ok\n", "dot ?\n"}) {
    EXPECT_FALSE(parse_outcomes(none)) << none;
  }
}

TEST(MailboxText, AMailThatIsHandedOver) {
  lmtp::Transaction transaction;
  transaction.sender = "a@example.net";
  transaction.recipients = {{"alice@example.net"}, {"bob@example.net"}};
  const auto message = std::make_shared<mail::Message>();
  message->append_line("Subject: x");
  message->append_line("");
  message->append_line(".");
  transaction.mail = {"X-Spam: Yes\r\n", message, 0};
  EXPECT_EQ(text_of(transaction),
            "MAIL FROM:<a@example.net>\nRCPT TO:<alice@example.net>\nRCPT TO:<bob@example.net>\nDATA\n"
            "X-Spam: Yes\r\nSubject: x\r\n\r\n.\r\n");
}

}  // namespace
}  // namespace mailbridge::recipients
