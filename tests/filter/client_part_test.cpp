#include "filter/client_part.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mailbridge::filter {
namespace {

ClientPart part(const std::vector<std::string>& lines) {
  ClientPart part;
  for (const std::string& line : lines) part.line(line);
  return part;
}

TEST(ClientPart, IsWhatFollowsSmtpdsTrace) {
  struct Row {
    std::string story;
    std::vector<std::string> lines;
    bool empty;
  };
  const Row rows[] = {
      {"nothing at all", {}, true},
      {"one recipient", {"Received: from a (b [192.0.2.1])", "\tby us with ESMTP id 1", "\tfor <a@example.org>;", "\tSun"}, true},
      {"several", {"Received: from a (b [192.0.2.1])", "\tby us with ESMTP id 1;", "\tSun"}, true},
      {"masked", {"Received: ", "\tby us with ESMTP id 1;", "\tSun"}, true},
      {"marked by an earlier filter", {"X-Spam: Yes", "Received: from a", "\tby us id 1;", "\tSun"}, true},
      {"a header", {"Received: from a", "\tby us id 1;", "\tSun", "Subject: x"}, false},
      {"an empty line", {"Received: from a", "\tby us id 1;", "\tSun", ""}, false},
      {"a continuation of smtpd's own field", {"Received: from a", "\tby us id 1;", "\tSun", "\tand more"}, false},
      {"another trace", {"Received: from a", "\tby us id 1;", "\tSun", "Received: x"}, false},
      {"no trace", {"Subject: x"}, false},
      {"a trace that breaks off", {"Received: from a", "Subject: x"}, false},
      {"half a trace", {"Received: from a", "\tby us"}, false},
  };
  for (const Row& row : rows) EXPECT_EQ(part(row.lines).empty(), row.empty) << row.story;
}

TEST(ClientPart, MayBeCutWhereAnotherLineWouldNotFit) {
  const std::vector<std::string> trace = {"Received: from a", "\tby us id 1;", "\tSun"};
  std::vector<std::string> lines = trace;
  lines.insert(lines.end(), {"Subject: x", "", "..1234567"});  // 11 + 1 + 10 bytes for smtpd
  EXPECT_FALSE(part(lines).may_be_cut(21)) << "more than smtpd's limit: an earlier filter wrote some of it";
  EXPECT_TRUE(part(lines).may_be_cut(22));
  EXPECT_TRUE(part(lines).may_be_cut(32));
  EXPECT_FALSE(part(lines).may_be_cut(33)) << "a line like the longest would have fitted";
  lines.emplace_back(5000, 'x');
  EXPECT_TRUE(part(lines).may_be_cut(22 + 5001 + 998));
  EXPECT_FALSE(part(lines).may_be_cut(22 + 5001 + 999)) << "one long line makes no suspicion of 5,000 bytes";
  // But a line of any length may have followed.
  EXPECT_FALSE(part(lines).could_be_cut(22 + 5000));
  EXPECT_TRUE(part(lines).could_be_cut(22 + 5001));
  EXPECT_TRUE(part(lines).could_be_cut(22 + 5001 + 65'534));
  EXPECT_FALSE(part(lines).could_be_cut(22 + 5001 + 65'535));
}

}  // namespace
}  // namespace mailbridge::filter
