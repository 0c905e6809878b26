#include "session/log_text.hpp"

#include <gtest/gtest.h>

namespace mailbridge::session {
namespace {

TEST(LogText, Numbers) {
  EXPECT_EQ(milliseconds(std::chrono::microseconds(1999)), "1");
  EXPECT_EQ(decimal(15), "15.00");
  EXPECT_EQ(decimal(-0.005), "-0.01");
  EXPECT_EQ(decimal(1e300), "1e+300");
}

TEST(LogText, TheSymbolsThatCountMost) {
  EXPECT_EQ(top_symbols({}), "");
  EXPECT_EQ(top_symbols({{"A", 1}, {"B", -7}, {"C", 0}, {"D", 2}, {"E", 1}, {"F", 0.5}}),
            "B(-7.00),D(2.00),A(1.00),E(1.00),F(0.50)");
}

}  // namespace
}  // namespace mailbridge::session
