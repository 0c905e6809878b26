#include "smtpd/events.hpp"

#include <gtest/gtest.h>

#include <string>

namespace mailbridge::smtpd {
namespace {

TEST(Events, WhatWeRegisterForIsWhatWeRead) {
  std::string all;
  append_registrations(all, true);
  std::size_t lines = 0;
  for (std::string_view rest = all; !rest.empty(); ++lines) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size() + 1);
    EXPECT_EQ(take_field(line), "register");
    const std::string_view kind = take_field(line);
    if (kind == "ready") continue;
    EXPECT_EQ(take_field(line), "smtp-in");
    const std::string_view name = line;
    if (kind == "filter") {
      const auto event = read_request(name, "0a|text");
      ASSERT_TRUE(event) << name;
      EXPECT_FALSE(std::holds_alternative<OtherRequest>(*event)) << name;
    } else if (name != "protocol-server") {  // reply_in() reads that
      EXPECT_FALSE(std::holds_alternative<OtherReport>(read_report(name, "a|b|c|d", dialect_of({0, 7})))) << name;
    }
  }
  EXPECT_EQ(lines, 19U);
}

TEST(Events, RecipientsAreAskedForOnlyWhenTheyAreVerified) {
  std::string some, all;
  append_registrations(some, false);
  append_registrations(all, true);
  EXPECT_EQ(some.find("rcpt-to"), std::string::npos);
  EXPECT_TRUE(all.starts_with(some.substr(0, some.size() - std::string("register|ready\n").size())));
  EXPECT_TRUE(all.ends_with("register|filter|smtp-in|rcpt-to\nregister|ready\n"));
}

TEST(Events, Versions) {
  EXPECT_TRUE(is_since("7.5.0", {7, 5}));
  EXPECT_TRUE(is_since("7.10.0p1", {7, 5}));
  EXPECT_FALSE(is_since("6.8.0p2-portable", {7, 5}));
  for (const char* none : {"", "7", "x.y", ".5"}) EXPECT_FALSE(is_since(none, {0, 1})) << none;
}

TEST(Events, Ids) {
  EXPECT_EQ(parse_id("0a"), 10U);
  EXPECT_EQ(parse_id("ffffffffffffffff"), ~std::uint64_t{0});
  for (const char* none : {"", "x", "0a ", "-1", "10000000000000000"}) EXPECT_FALSE(parse_id(none)) << none;
}

}  // namespace
}  // namespace mailbridge::smtpd
