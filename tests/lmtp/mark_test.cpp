#include "lmtp/mark.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mailbridge::lmtp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

MarkKeys keys_of(std::string_view text) { return MarkKeys::parse(text).value(); }

const MarkKeys keys = keys_of("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n");
const std::string received =
    "Received: from client.example (client.example [192.0.2.1])\r\n"
    "\tby mail.example.org (OpenSMTPD) with ESMTP id 2ac23942\r\n"
    "\tfor <alice@example.org>;\r\n"
    "\tThu, 1 Jan 2026 00:00:00 +0000 (UTC)\r\n";
const std::string rest = "Subject: hello\r\n\r\nbody\r\n";

// What an agent makes of a mail; the mark is somewhere.
std::optional<Mark> opened(const std::string& mail, const MarkKeys& with = keys) {
  const auto place = find_mark(mail);
  EXPECT_TRUE(place) << mail;
  return place ? Mark::open(mail, *place, with) : std::nullopt;
}

std::string with_lf(std::string text) {
  std::erase(text, '\r');
  return text;
}

std::size_t digests(const std::string& mark) { return static_cast<std::size_t>(std::count(mark.begin(), mark.end(), ',')) + 1; }

TEST(Mark, AsItIsWritten) {
  EXPECT_EQ(seal(keys, "2ac23942", {"alice@example.org", "bob@example.org"}),
            "X-Mailbridge-Delivered: id=2ac23942;\r\n"
            "\tto=nBQNg9t4PlDcyEylbY8JAw,\r\n"
            "\toB+DW+BU5oNZfwMeZHNLeQ,\r\n"
            "\tiMFfI522AMnE5Nf3nInnsA,\r\n"
            "\tFXMf1qArkqVXGLhz9fORgA;\r\n"
            "\tseal=SL4py5E/AWBHLH9RQVDFVZHraoHXnjm4hryax7ykMLw\r\n");
}

// What smtpd hands to an agent: lines ended by LF, its own two on top.
TEST(Mark, AnAgentFindsAndCutsIt) {
  const std::string trace = "Return-Path: <s@example.net>\nDelivered-To: alice@example.org\n";
  const std::string mark = with_lf(seal(keys, "2ac23942", {"alice@Example.org", "bob+x@example.org"}));
  const std::string mail = trace + mark + with_lf(received + rest);
  const auto place = find_mark(mail);
  ASSERT_TRUE(place);
  EXPECT_EQ(std::string(mail).erase(place->at, place->size), trace + with_lf(received + rest));
  const auto found = Mark::open(mail, *place, keys);
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->names("alice@example.org"));
  EXPECT_TRUE(found->names("alice@EXAMPLE.org")) << "a domain in other letters is the same";
  EXPECT_TRUE(found->names("bob+x@example.org"));
  EXPECT_FALSE(found->names("bob@example.org"));
  EXPECT_FALSE(found->names("Alice@example.org")) << "rather twice than not at all";
  EXPECT_FALSE(found->names("alice"));
  EXPECT_FALSE(found->names(""));
}

TEST(Mark, WhatIsRightAndWhatIsNot) {
  const std::string mark = seal(keys, "2ac23942", {"a@x"});
  const std::string one_more = seal(keys, "2ac23942", {"a@x", "b@x"});
  const auto replaced = [](std::string text, std::string_view what, std::string_view by) {
    return text.replace(text.find(what), what.size(), by);
  };
  const auto digest = [](const std::string& of, std::size_t number) {
    std::size_t at = of.find("to=") + 3;
    while (number-- > 0) at = of.find('\t', at) + 1;
    return of.substr(at, 22);
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
      {"another digest", replaced(mark, digest(mark, 0), digest(one_more, 1)) + received, false},
      {"another digest beside", replaced(mark, digest(mark, 1), digest(one_more, 1)) + received, false},
      {"one digest less", replaced(mark, ",\r\n\t" + digest(mark, 3), "") + received, false},
      {"another id", replaced(mark, "2ac23942", "2ac23943") + replaced(received, "2ac23942", "2ac23943"), false},
      {"of another message", mark + replaced(received, "2ac23942", "2ac23943"), false},
      {"of a message whose id begins so", mark + replaced(received, "2ac23942", "2ac239420"), false},
      {"the id is not smtpd's", mark + replaced(replaced(received, "2ac23942", "2ac23943"), "from client", "from x id 2ac23942 "),
       false},
      {"no field of smtpd's shape", mark + forwarded, false},
      {"below a shape that is not smtpd's", mark + forwarded + received, false},
      {"no trace", mark + rest, false},
      {"seal cut", mark.substr(0, mark.size() - 3) + "\r\n" + received, false},
      {"seal with more", mark.substr(0, mark.size() - 2) + "=\r\n" + received, false},
      {"no seal", mark.substr(0, mark.find(";\r\n\tseal=")) + "\r\n" + received, false},
      {"empty", "X-Mailbridge-Delivered:\r\n" + received, false},
      {"twice: the upper one", "X-Mailbridge-Delivered: id=2ac23942; to=x; seal=AAAA\r\n" + mark + received, false},
  };
  for (const Row& row : rows) {
    const auto place = find_mark(row.mail);
    ASSERT_TRUE(place) << row.name;
    EXPECT_TRUE(row.mail.substr(place->at, place->size).ends_with("\r\n")) << row.name;
    const auto found = Mark::open(row.mail, *place, keys);
    EXPECT_EQ(found.has_value(), row.right) << row.name;
    EXPECT_EQ(found && found->names("a@x"), row.right) << row.name;
    EXPECT_FALSE(found && found->names("b@x")) << row.name;
  }
}

// A client can write no higher than below smtpd's Received field.
TEST(Mark, BelowTheTraceItIsNone) {
  const std::string mark = seal(keys, "2ac23942", {"a@x"});
  for (const std::string& mail : {received + mark + rest, received + rest + mark, rest + mark, std::string(), received}) {
    EXPECT_FALSE(find_mark(mail)) << mail;
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

// A copy of it may leave this host.
TEST(Mark, TellsAStrangerNothing) {
  const std::string mark = seal(keys, "2ac23942", {"alice@example.org"});
  EXPECT_THAT(mark, Not(HasSubstr("alice")));
  EXPECT_THAT(mark, Not(HasSubstr("example")));
  const std::string next = seal(keys, "2ac23943", {"alice@example.org"});
  const auto to = [](const std::string& of) { return of.substr(of.find("to="), of.find(";\r\n\tseal") - of.find("to=")); };
  EXPECT_NE(to(mark), to(next)) << "who gets two mails is not known by his digest";
  std::vector<std::string> recipients;
  for (const std::size_t shown : {4U, 4U, 4U, 4U, 8U, 8U, 8U, 8U, 16U}) {
    recipients.push_back("user" + std::to_string(recipients.size()) + "@example.org");
    EXPECT_EQ(digests(seal(keys, "2ac23942", recipients)), shown) << recipients.size();
  }
}

TEST(Mark, TheFirstKeySealsAndEachIsBelieved) {
  const std::string older = "fedcba9876543210fedcba9876543210", newer = "00112233445566778899aabbccddeeff";
  const std::string by_older = seal(keys_of(older), "2ac23942", {"a@x"}) + received;
  const std::string by_newer = seal(keys_of(newer), "2ac23942", {"a@x"}) + received;
  ASSERT_NE(by_older, by_newer);
  // A rotation: both believe the new key, then it seals, then the old one goes.
  EXPECT_EQ(seal(keys_of(older + "\n" + newer), "2ac23942", {"a@x"}) + received, by_older);
  EXPECT_EQ(seal(keys_of(newer + "\n" + older), "2ac23942", {"a@x"}) + received, by_newer);
  for (const std::string& file : {older + "\n" + newer, newer + "\n" + older}) {
    for (const std::string& mail : {by_older, by_newer}) {
      const auto found = opened(mail, keys_of(file));
      ASSERT_TRUE(found) << file;
      EXPECT_TRUE(found->names("a@x"));
    }
  }
  EXPECT_FALSE(opened(by_older, keys_of(newer)));
  EXPECT_FALSE(opened(by_newer, keys_of(older)));
}

TEST(Mark, AllThereIsRoomFor) {
  std::vector<std::string> recipients;
  for (std::size_t i = 0; i < max_marked; ++i) recipients.push_back("user" + std::to_string(i) + "@example.org");
  const auto found = opened(seal(keys, "2ac23942", recipients) + received);
  ASSERT_TRUE(found);
  for (const std::string& recipient : recipients) EXPECT_TRUE(found->names(recipient)) << recipient;
  recipients.emplace_back("one.more@example.org");
  EXPECT_FALSE(opened(seal(keys, "2ac23942", recipients) + received)) << "an agent reads no more";
}

TEST(Mark, AddressesOfAnyShape) {
  const std::vector<std::string> odd = {"a;seal=b@x", "\"a,b\"@x",  ",@x",
                                        "a=b;to=c@x", "postmaster", "|/#$%&'*?`{}~!@[192.0.2.1]"};
  const auto found = opened(seal(keys, "2ac23942", odd) + received);
  ASSERT_TRUE(found);
  for (const std::string& recipient : odd) EXPECT_TRUE(found->names(recipient)) << recipient;
}

TEST(Mark, KeyFiles) {
  const std::string a(64, 'a'), b(64, 'b');
  EXPECT_THAT(keys_of(a + "\n").keys(), ElementsAre(a));
  EXPECT_THAT(keys_of("  " + a + "\r\n\r\n").keys(), ElementsAre(a));
  EXPECT_THAT(keys_of("# of May\n" + b + "\n\n  # of April\n" + a).keys(), ElementsAre(b, a));
  EXPECT_EQ(keys_of(std::string(32, 'x')).keys()[0].size(), 32U);
  EXPECT_EQ(keys_of(std::string(1024, 'x')).keys()[0].size(), 1024U);
  std::string eight;
  for (int i = 0; i < 8; ++i) eight += a + "\n";
  EXPECT_THAT(keys_of(eight).keys(), SizeIs(8));
  struct Row {
    std::string text, fault;
  };
  const Row rows[] = {
      {"", "a key of at least 32 bytes is wanted"},
      {"\n# nothing\n", "a key of at least 32 bytes is wanted"},
      {std::string(31, 'x') + "\n", "line 1: a key of at least 32 bytes is wanted"},
      {a + "\n\nshort\n", "line 3: a key of at least 32 bytes is wanted"},
      {a + "\n" + std::string(1025, 'x'), "line 2: a key of at most 1024 bytes is wanted"},
      {eight + b, "line 9: more than 8 keys"},
  };
  for (const Row& row : rows) {
    const auto parsed = MarkKeys::parse(row.text);
    ASSERT_FALSE(parsed) << row.text;
    EXPECT_EQ(parsed.error().what, row.fault);
  }
}

TEST(Mark, KeysThatCouldBeGuessed) {
  struct Row {
    std::string key, weakness;
  };
  const Row rows[] = {
      {"5f2b1c0de94a7d3386aa01c45be97f1206d3c8a9b4e7f05128c36d9a4f1b7e0c", ""},
      {"correct horse battery staple, and some more of them", ""},
      {std::string(64, '0'), "is made of 1 different characters"},
      {"0101010101010101010101010101010101", "is made of 2 different characters"},
      {"0123456789abcdef0123456789abcdef", "is the same 16 characters again and again"},
      {"change-me change-me change-me change-me", "is the same 10 characters again and again"},
  };
  for (const Row& row : rows) EXPECT_EQ(MarkKeys::weakness(row.key), row.weakness) << row.key;
}

TEST(Mark, AFingerprintTellsKeysApart) {
  const std::string one = MarkKeys::fingerprint(std::string(32, 'x')), other = MarkKeys::fingerprint(std::string(33, 'x'));
  EXPECT_THAT(one, SizeIs(16));
  EXPECT_NE(one, other);
  EXPECT_THAT(one, Not(HasSubstr("x")));
}

}  // namespace
}  // namespace mailbridge::lmtp
