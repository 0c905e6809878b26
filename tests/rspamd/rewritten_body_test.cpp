#include "rspamd/rewritten_body.hpp"

#include <gtest/gtest.h>

namespace mailbridge::rspamd {
namespace {

std::string bytes_of(const mail::Message& message) {
  std::string bytes;
  for (auto piece = message.from(0); !piece.empty(); piece = message.from(bytes.size())) bytes += piece;
  return bytes;
}

// The bytes of the message, or the fault; however the body arrives.
std::string read(const std::string& body, const BodyBounds& bounds) {
  const auto outcome = [](Result<std::shared_ptr<mail::Message>> result) {
    if (!result) return "fault: " + result.error().what;
    EXPECT_EQ((*result)->head(), "") << "the header section is the original's";
    return bytes_of(**result);
  };
  std::string whole;
  for (const std::size_t part : {body.size() + 1, std::size_t{1}, std::size_t{7}}) {
    RewrittenBody rewritten(bounds);
    for (std::size_t at = 0; at < body.size(); at += part) rewritten.append(std::string_view(body).substr(at, part));
    const std::string text = outcome(rewritten.finish());
    if (part > body.size()) whole = text;
    EXPECT_EQ(text, whole) << part;
  }
  return whole;
}

const BodyBounds bounds = {mail::Message::unlimited(), 1000, 100};
const std::string too_long = "fault: a line of the rewritten body is too long";

TEST(RewrittenBody, Table) {
  struct Row {
    const char* what;
    std::string body;
    std::string expected;
  };
  const std::string x100(100, 'x'), x99(99, 'x');
  const Row rows[] = {
      {"CRLF", "one\r\n\r\ntwo\r\n", "\r\none\r\n\r\ntwo\r\n"},
      {"LF", "one\n\ntwo\n", "\r\none\r\n\r\ntwo\r\n"},
      {"no final newline", "one\r\ntwo", "\r\none\r\ntwo\r\n"},
      {"a final CR", "one\r", "\r\none\r\n"},
      {"empty", "", "\r\n"},
      {"an empty line", "\r\n", "\r\n\r\n"},
      {"dots are stuffed later", ".\r\n..\r\n", "\r\n.\r\n..\r\n"},
      {"a lone CR is a byte", "one\rtwo\r\r\n\r", "\r\none\rtwo\r\r\n\r\n"},
      {"8-bit and control bytes", "\xc3\xb6\xff\x01\t\r\n", "\r\n\xc3\xb6\xff\x01\t\r\n"},
      {"a header is no header here", "X-Spam: no\r\n\r\n", "\r\nX-Spam: no\r\n\r\n"},
      {"a NUL", std::string("on\0e\r\n", 6), "fault: a NUL in the rewritten body"},
      {"the longest line", x100 + "\r\n" + x100 + "\n" + x100, "\r\n" + x100 + "\r\n" + x100 + "\r\n" + x100 + "\r\n"},
      {"a byte more", x100 + "x\r\n", too_long},
      {"a byte more before LF", x100 + "x\n", too_long},
      {"a byte more at the end", x100 + "x", too_long},
      {"a CR is a byte more", x100 + "\r\r\n", too_long},
      {"two bytes more", x100 + "xx", too_long},
      {"the longest line with a dot", "." + std::string(98, 'x') + "\r\n", "\r\n." + std::string(98, 'x') + "\r\n"},
      {"stuffing makes it too long", "." + x99 + "\r\n", too_long},
      {"what comes after a fault is of no use", x100 + "x\r\nfine\r\n", too_long},
  };
  for (const Row& row : rows) EXPECT_EQ(read(row.body, bounds), row.expected) << row.what;
}

TEST(RewrittenBody, IsBounded) {
  std::string body;
  for (int i = 0; i < 20; ++i) body += std::string(48, 'x') + "\r\n";
  EXPECT_EQ(read(body, bounds), "\r\n" + body);
  EXPECT_EQ(read(body + "x", bounds), "fault: the rewritten body is larger than the bound set");
}

TEST(RewrittenBody, CountsInTheBudgetAndGoesToAFile) {
  const auto budget = std::make_shared<mail::Budget>(mail::Budget{10'000, "/var/tmp"});
  std::string body;
  for (int i = 0; i < 10'000; ++i) body += "a line of the body\r\n";
  RewrittenBody rewritten({budget, 1'000'000, 100});
  rewritten.append(body);
  const auto message = rewritten.finish();
  ASSERT_TRUE(message);
  EXPECT_LE(budget->used, 20'000U);
  EXPECT_TRUE(bytes_of(**message) == "\r\n" + body);
}

TEST(RewrittenBody, WhatCannotBeKeptIsAFault) {
  const auto budget = std::make_shared<mail::Budget>(mail::Budget{0, "/nonexistent"});
  EXPECT_TRUE(
      read(std::string(20'000, '\n'), {budget, 1'000'000, 100}).starts_with("fault: the rewritten body cannot be kept: "));
  EXPECT_EQ(budget->used, 0U);
}

}  // namespace
}  // namespace mailbridge::rspamd
