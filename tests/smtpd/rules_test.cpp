#include "smtpd/rules.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mailbridge::smtpd {
namespace {

using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

std::string repeated(int times, const std::string& text) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

// tests/e2e/deliver_test.py holds smtpd itself against the same.
TEST(SmtpdRules, WhatIsRefusedAfterTheFilterHasSpoken) {
  const std::string received = "Received: by us\r\n";
  struct Row {
    std::string name;
    std::string head;
    std::string_view objection;
  };
  const Row rows[] = {
      {"ordinary", received + "Subject: x\r\n folded: once\r\n", ""},
      {"headers only", received, ""},
      {"a line without a colon", received + "no field\r\nSubject: x\r\n", "malformed"},
      {"a line of CR alone", received + "\r\r\n", "malformed"},
      {"no name", received + ": x\r\n", "malformed"},
      {"a continuation of nothing", " x\r\n" + received, "malformed"},
      {"a blank in a name", received + "two words: x\r\n", ""},
      {"a long name", received + std::string(500, 'n') + ": x\r\n", ""},
      {"a name that is too long with another", received + std::string(501, 'n') + ": x\r\n", "malformed"},
      {"a long To", received + "To: " + repeated(640, "\r\n " + std::string(96, 'a') + ",") + "\r\n", ""},
      {"a To that is too long", received + "To: " + repeated(660, "\r\n " + std::string(96, 'a') + ",") + "\r\n", "malformed"},
      {"a Subject as long", received + "Subject: " + repeated(660, "\r\n " + std::string(96, 'a') + ",") + "\r\n", ""},
      {"99 hops", repeated(99, received), ""},
      {"100 hops", repeated(99, received) + "RECEIVED : x\r\n", "loop"},
  };
  for (const Row& row : rows) EXPECT_EQ(smtpds_objection(row.head), row.objection) << row.name;
}

TEST(SmtpdRules, WhoseMailComesBack) {
  EXPECT_THAT(already_delivered_to("Received: x\r\nDelivered-To: Alice@Example.org\r\ndelivered-TO: bob@example.org\r\n"),
              UnorderedElementsAre("alice@example.org", "bob@example.org"));
  EXPECT_THAT(already_delivered_to("Delivered-To: alice@example.org\n"), UnorderedElementsAre("alice@example.org"));
  // For smtpd these are other addresses than it compares with, or none.
  EXPECT_THAT(already_delivered_to("Delivered-To : a@x\r\nX-Delivered-To: b@x\r\nDelivered-To:c@x\r\n"), IsEmpty());
  EXPECT_THAT(
      already_delivered_to("Delivered-To: <a@x>\r\nDelivered-To:  b@x\r\nDelivered-To: c@x \r\nDelivered-To: d@x\r\n e\r\n"),
      UnorderedElementsAre("<a@x>", " b@x", "c@x ", "d@x"));
  EXPECT_THAT(already_delivered_to("Received: x\r\n\r\nDelivered-To: alice@example.org\r\n"), IsEmpty()) << "in the body";
}

}  // namespace
}  // namespace mailbridge::smtpd
