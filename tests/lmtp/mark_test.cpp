#include "lmtp/mark.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mailbridge::lmtp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

MarkKey key_of(std::string_view text) { return MarkKey::parse(text).value(); }

const MarkKey key = key_of("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n");
const std::string received =
    "Received: from client.example (client.example [192.0.2.1])\r\n"
    "\tby mail.example.org (OpenSMTPD) with ESMTP id 2ac23942\r\n"
    "\tfor <alice@example.org>;\r\n"
    "\tThu, 1 Jan 2026 00:00:00 +0000 (UTC)\r\n";
const std::string rest = "Subject: hello\r\n\r\nbody\r\n";

std::vector<std::string> marked(const std::string& mail, const MarkKey& with = key) {
  const auto mark = find_mark(mail, with);
  return mark ? mark->recipients : std::vector<std::string>{"(no mark)"};
}

std::string with_lf(std::string text) {
  std::erase(text, '\r');
  return text;
}

TEST(Mark, AsItIsWritten) {
  EXPECT_EQ(seal(key, "2ac23942", {"alice@example.org", "bob@example.org"}),
            "X-Mailbridge-Delivered: id=2ac23942;\r\n"
            "\tto=<alice@example.org>,\r\n"
            "\t<bob@example.org>;\r\n"
            "\tseal=+wGMu8u61CazgoQu+CJxN87JF6pW5zrzafNDt0o9zb4=\r\n");
}

// What smtpd hands to an agent: lines ended by LF, its own two on top.
TEST(Mark, AnAgentFindsAndCutsIt) {
  const std::string trace = "Return-Path: <s@example.net>\nDelivered-To: alice@example.org\n";
  const std::string mark = with_lf(seal(key, "2ac23942", {"alice@example.org", "bob+x@example.org"}));
  const std::string mail = trace + mark + with_lf(received + rest);
  const auto found = find_mark(mail, key);
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->names("alice@example.org"));
  EXPECT_TRUE(found->names("bob+x@example.org"));
  EXPECT_FALSE(found->names("bob@example.org"));
  EXPECT_FALSE(found->names("Alice@example.org")) << "rather twice than not at all";
  EXPECT_FALSE(found->names(""));
  EXPECT_EQ(std::string(mail).erase(found->at, found->size), trace + with_lf(received + rest));
}

TEST(Mark, WhatIsRightAndWhatIsNot) {
  const std::string mark = seal(key, "2ac23942", {"a@x"});
  const auto replaced = [](std::string text, std::string_view what, std::string_view by) {
    return text.replace(text.find(what), what.size(), by);
  };
  const std::string forwarded = "Received: from elsewhere by us id 2ac23942; now\r\n";
  struct Row {
    std::string name;
    std::string mail;
    bool right;
  };
  const Row rows[] = {
      {"as made", mark + received + rest, true},
      {"headers only", mark + received, true},
      {"below what a later filter put on top", "DKIM-Signature: v=1;\r\n\tb=x\r\n" + mark + received, true},
      {"folded otherwise", replaced(mark, ";\r\n\tto=", "; to=") + received, true},
      {"its name in capitals", replaced(mark, "X-Mailbridge", "X-MAILBRIDGE") + received, true},
      {"sent over TLS", mark + replaced(received, "2ac23942\r\n", "2ac23942 (TLSv1.3:x:256:NO)\r\n"), true},
      {"several recipients: the date follows", mark + replaced(received, "\r\n\tfor <alice@example.org>;", ";"), true},
      {"another recipient", replaced(mark, "<a@x>", "<b@x>") + received, false},
      {"one more recipient", replaced(mark, "<a@x>", "<a@x>,<b@x>") + received, false},
      {"another id", replaced(mark, "2ac23942", "2ac23943") + replaced(received, "2ac23942", "2ac23943"), false},
      {"of another message", mark + replaced(received, "2ac23942", "2ac23943"), false},
      {"of a message whose id begins so", mark + replaced(received, "2ac23942", "2ac239420"), false},
      {"the id is not smtpd's", mark + replaced(replaced(received, "2ac23942", "2ac23943"), "from client", "from x id 2ac23942 "),
       false},
      {"no field of smtpd's shape", mark + forwarded, false},
      {"below a shape that is not smtpd's", mark + forwarded + received, false},
      {"no trace", mark + rest, false},
      {"seal cut", replaced(mark, "=\r\n", "\r\n") + received, false},
      {"seal with more", replaced(mark, "=\r\n", "==\r\n") + received, false},
      {"no seal", "X-Mailbridge-Delivered: id=2ac23942; to=<a@x>\r\n" + received, false},
      {"empty", "X-Mailbridge-Delivered:\r\n" + received, false},
      {"twice: the upper one", "X-Mailbridge-Delivered: id=2ac23942; to=<a@x>; seal=AAAA\r\n" + mark + received, false},
  };
  for (const Row& row : rows) {
    const auto found = find_mark(row.mail, key);
    ASSERT_TRUE(found) << row.name;
    EXPECT_EQ(found->recipients, row.right ? std::vector<std::string>{"a@x"} : std::vector<std::string>{}) << row.name;
    EXPECT_TRUE(row.mail.substr(found->at, found->size).ends_with("\r\n")) << row.name;
  }
}

// A client can write no higher than below smtpd's Received field.
TEST(Mark, BelowTheTraceItIsNone) {
  const std::string mark = seal(key, "2ac23942", {"a@x"});
  for (const std::string& mail : {received + mark + rest, received + rest + mark, rest + mark, std::string(), received}) {
    EXPECT_FALSE(find_mark(mail, key)) << mail;
  }
}

TEST(Mark, OnlyAMessageOfSmtpdCanBeMarked) {
  EXPECT_TRUE(can_be_marked(received + rest, "2ac23942"));
  EXPECT_TRUE(can_be_marked("X-Spam: Yes\r\n" + received, "2ac23942"));
  EXPECT_FALSE(can_be_marked(received, "2ac23943"));
  EXPECT_FALSE(can_be_marked(received, ""));
  EXPECT_FALSE(can_be_marked("Received: by somebody else\r\n" + received, "2ac23942"));
  EXPECT_FALSE(can_be_marked(rest, "2ac23942"));
}

TEST(Mark, AnotherKeyMakesAnotherSeal) {
  const MarkKey other = key_of("fedcba9876543210fedcba9876543210");
  const std::string mail = seal(key, "2ac23942", {"a@x"}) + received;
  EXPECT_THAT(marked(mail), ElementsAre("a@x"));
  EXPECT_THAT(marked(mail, other), IsEmpty());
}

TEST(Mark, AllThereIsRoomFor) {
  std::vector<std::string> recipients;
  for (std::size_t size = 100; size < max_mark; size += marked_size(recipients.back()))
    recipients.push_back("user" + std::to_string(recipients.size()) + "@example.org");
  recipients.pop_back();
  EXPECT_THAT(recipients, SizeIs(testing::Gt(2000U)));
  EXPECT_EQ(marked(seal(key, "2ac23942", recipients) + received), recipients);
  for (int i = 0; i < 10; ++i) recipients.push_back("one.more@example.org");
  EXPECT_THAT(marked(seal(key, "2ac23942", recipients) + received), IsEmpty()) << "an agent reads no more";
}

TEST(Mark, AddressesOfAnyShape) {
  const std::vector<std::string> odd = {"a;seal=b@x", "\"a,b\"@x",  ",@x",
                                        "a=b;to=c@x", "postmaster", "|/#$%&'*?`{}~!@[192.0.2.1]"};
  EXPECT_EQ(marked(seal(key, "2ac23942", odd) + received), odd);
}

TEST(Mark, KeyFiles) {
  const std::string digits(64, 'a');
  EXPECT_EQ(key_of(digits + "\n").bytes(), digits);
  EXPECT_EQ(key_of("  " + digits + "\r\n\r\n").bytes(), digits);
  EXPECT_EQ(MarkKey::parse(std::string(32, 'x'))->bytes().size(), 32U);
  EXPECT_EQ(MarkKey::parse(std::string(4096, 'x'))->bytes().size(), 4096U);
  for (const std::string& text : {std::string(), std::string("\n"), std::string(31, 'x') + "\n"}) {
    const auto parsed = MarkKey::parse(text);
    ASSERT_FALSE(parsed);
    EXPECT_THAT(parsed.error().what, HasSubstr("at least 32 bytes"));
  }
  const auto too_large = MarkKey::parse(std::string(4097, 'x'));
  ASSERT_FALSE(too_large);
  EXPECT_THAT(too_large.error().what, HasSubstr("at most 4096"));
}

}  // namespace
}  // namespace mailbridge::lmtp
