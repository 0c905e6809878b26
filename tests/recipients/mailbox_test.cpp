#include "recipients/mailbox.hpp"

#include <gtest/gtest.h>

namespace mailbridge::recipients {
namespace {

using lmtp::Outcome;
using lmtp::Reply;
using lmtp::Stage;

TEST(MailboxFound, WhatAProbeSays) {
  struct Row {
    const char* what;
    Stage stage;
    Reply reply;
    Mailbox mailbox;
  };
  const Row rows[] = {
      {"taken", Stage::rcpt, {250, "2.1.5", {"OK"}}, Mailbox::known},
      {"Dovecot's unknown user", Stage::rcpt, {550, "5.1.1", {"<a> User doesn't exist: a"}}, Mailbox::unknown},
      {"no enhanced code", Stage::rcpt, {550, "", {"no such user"}}, Mailbox::unknown},
      {"disabled", Stage::rcpt, {550, "5.2.1", {"disabled"}}, Mailbox::unknown},
      {"an address it cannot parse", Stage::rcpt, {501, "5.5.4", {"Invalid TO"}}, Mailbox::unknown},
      {"over quota", Stage::rcpt, {552, "5.2.2", {"<a> Quota exceeded"}}, Mailbox::full},
      {"over quota, for now", Stage::rcpt, {452, "4.2.2", {"<a> Quota exceeded"}}, Mailbox::full_for_now},
      {"552 alone", Stage::rcpt, {552, "", {"full"}}, Mailbox::full},
      {"too large", Stage::rcpt, {552, "5.2.3", {"too large"}}, Mailbox::too_large},
      {"userdb is down", Stage::rcpt, {451, "4.3.0", {"<a> Temporary internal error"}}, Mailbox::unsure},
      {"deliveries under way", Stage::rcpt, {451, "4.3.0", {"<a> Too many concurrent deliveries for user"}}, Mailbox::known},
      {"a dead backend", Stage::rcpt, {451, "4.4.0", {"<a> Proxy failed"}}, Mailbox::unsure},
      {"not allowed to us", Stage::rcpt, {550, "5.7.1", {"relaying denied"}}, Mailbox::unsure},
      {"our mistake", Stage::rcpt, {503, "5.5.1", {"MAIL needed first"}}, Mailbox::unsure},
      {"554 alone", Stage::rcpt, {554, "", {"no"}}, Mailbox::unsure},
      {"shutting down", Stage::rcpt, {421, "4.3.2", {"Shutting down"}}, Mailbox::unsure},
      {"a refusal of us", Stage::mail, {550, "5.1.1", {"no"}}, Mailbox::unsure},
      {"a refusal of everybody", Stage::banner, {554, "", {"no"}}, Mailbox::unsure},
  };
  for (const Row& row : rows) {
    const Found seen = found(Outcome{row.stage, row.reply, {}});
    EXPECT_EQ(seen.mailbox, row.mailbox) << row.what;
    EXPECT_EQ(seen.why.empty(), row.mailbox != Mailbox::unsure) << row.what;
  }
  EXPECT_EQ(found(Outcome{Stage::rcpt, Reply{451, "4.3.0", {"a", "b"}}, {}}).why, "451 4.3.0 b");
  EXPECT_EQ(found(Outcome{Stage::connect, std::nullopt, "cannot connect"}).why, "cannot connect");
}

}  // namespace
}  // namespace mailbridge::recipients
