#include "base/dot_stuffing.hpp"

#include <gtest/gtest.h>

namespace mailbridge {
namespace {

TEST(DotStuffing, OneDotIsTakenFromALineThatBeginsWithOne) {
  EXPECT_EQ(unstuffed("..hidden"), ".hidden");
  EXPECT_EQ(unstuffed("..."), "..");
  EXPECT_EQ(unstuffed(".x"), "x");
  EXPECT_EQ(unstuffed("a.b"), "a.b");
  EXPECT_EQ(unstuffed(""), "");
}

TEST(DotStuffing, OnlyALoneDotEndsTheData) {
  EXPECT_TRUE(is_end_of_data("."));
  EXPECT_FALSE(is_end_of_data(".."));
  EXPECT_FALSE(is_end_of_data(". "));
  EXPECT_FALSE(is_end_of_data(".\r"));
  EXPECT_FALSE(is_end_of_data(""));
}

TEST(DotStuffing, LinesThatBeginWithADotWantAnother) {
  EXPECT_TRUE(needs_dot("."));
  EXPECT_TRUE(needs_dot(".x"));
  EXPECT_FALSE(needs_dot("x."));
  EXPECT_FALSE(needs_dot(""));
}

}  // namespace
}  // namespace mailbridge
