#include "policy/client_part.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mailbridge::policy {
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

TEST(ClientPart, MayContinueSmtpdsTrace) {
  struct Row {
    std::string story;
    std::vector<std::string> lines;  // below "Received: from a"
    bool continues;
  };
  const Row rows[] = {
      {"a tab", {"\tby us id 1;", "\tSun", "\tX-Spam: No"}, true},
      {"a blank", {"\tby us id 1;", "\tSun", " by evil"}, true},
      {"a blank alone", {"\tby us id 1;", "\tSun", " "}, true},
      {"with one recipient", {"\tby us id 1", "\tfor <a@example.org>;", "\tSun", "\t"}, true},
      {"as if it were one", {"\tby us id 1;", "\tSun", "\tfor <a@example.org>;", "\tSun", "Subject: x"}, true},
      {"a user's name that ends so", {"\tby us id 1 auth=yes user=a;", "\tfor <a@example.org>;", "\tSun", "Subject: x"}, false},
      {"the same, continued", {"\tby us id 1 auth=yes user=a;", "\tfor <a@example.org>;", "\tSun", "\tx"}, true},
      {"the same for several", {"\tby us id 1 auth=yes user=a;;", "\tSun", "\tx"}, true},
      {"a field", {"\tby us id 1;", "\tSun", "Subject: x"}, false},
      {"its second line", {"\tby us id 1;", "\tSun", "Subject: x", "\ty"}, false},
      {"an empty line", {"\tby us id 1;", "\tSun", "", " indented"}, false},
      {"a stuffed dot", {"\tby us id 1;", "\tSun", "..", " y"}, false},
      {"nothing", {"\tby us id 1;", "\tSun"}, false},
  };
  for (const Row& row : rows) {
    std::vector<std::string> lines = {"Received: from a"};
    lines.insert(lines.end(), row.lines.begin(), row.lines.end());
    EXPECT_EQ(part(lines).continues_trace(), row.continues) << row.story;
    lines.insert(lines.begin(), "X-Spam: Yes");
    EXPECT_EQ(part(lines).continues_trace(), row.continues) << row.story << ", marked";
  }
  EXPECT_FALSE(part({"X-Other: filter", "Received: from a", "\tby us id 1;", "\tSun", "\tx"}).continues_trace());
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
}  // namespace mailbridge::policy
