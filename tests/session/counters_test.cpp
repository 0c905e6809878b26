#include "session/counters.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace mailbridge::session {
namespace {

TEST(Counters, AreOneLine) {
  Counters counters;
  EXPECT_EQ(counters.line(), "mails=0");
  counters.add("result", "committed");
  counters.add("action", "add header");
  counters.add("action", "no\r\naction=\"x\"");
  counters.add("result", "committed");
  counters.add("mails");
  EXPECT_EQ(counters.line(), "action.add_header=1 action.no_action_'x'=1 mails=1 result.committed=2");
}

TEST(Counters, AreNotAsManyAsAPeerLikes) {
  Counters counters;
  counters.add("action", "known");
  for (int i = 0; i < 1000; ++i) counters.add("action", std::to_string(i));
  counters.add("action", "known");
  const std::string line = counters.line();
  EXPECT_EQ(std::count(line.begin(), line.end(), '='), 65);
  EXPECT_NE(line.find("action.known=2"), std::string::npos);
  EXPECT_NE(line.find("action.others=938"), std::string::npos) << line;
}

}  // namespace
}  // namespace mailbridge::session
