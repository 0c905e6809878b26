#include "base/nearest.hpp"

#include <string>

#include <gtest/gtest.h>

namespace mailbridge {
namespace {

TEST(Nearest, Distance) {
  struct Row {
    std::string a, b;
    std::size_t away;
  };
  const Row rows[] = {
      {"", "", 0},        {"", "abc", 3},           {"abc", "abc", 0},       {"abc", "abd", 1},       {"abc", "acb", 1},
      {"abc", "abcd", 1}, {"timeout", "timeot", 1}, {"rspamd", "rpsamd", 1}, {"kitten", "sitting", 3}};
  for (const Row& row : rows) {
    EXPECT_EQ(distance(row.a, row.b), row.away) << row.a << " " << row.b;
    EXPECT_EQ(distance(row.b, row.a), row.away) << row.a << " " << row.b;
  }
  EXPECT_EQ(distance(std::string(65, 'x'), std::string(65, 'x')), 0U);
  EXPECT_EQ(distance(std::string(65, 'x'), std::string(64, 'x')), 65U);
}

TEST(Nearest, WhatWasMeant) {
  const std::string_view names[] = {"lmtp", "lmtp-ca", "scan-timeout", "connect-timeout", "rspamd", "verify"};
  struct Row {
    std::string written, meant;
  };
  const Row rows[] = {{"scan-timeot", "scan-timeout"},
                      {"scan_timeout", "scan-timeout"},
                      {"rpsamd", "rspamd"},
                      {"ltmp", "lmtp"},
                      {"lmtp-cat", "lmtp-ca"},
                      {"spam", ""},
                      {"x", ""},
                      {"", ""}};
  for (const Row& row : rows) EXPECT_EQ(nearest(row.written, names), row.meant) << row.written;
}

}  // namespace
}  // namespace mailbridge
