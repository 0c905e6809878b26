#include "base/size.hpp"

#include <gtest/gtest.h>

namespace mailbridge {
namespace {

TEST(Size, IsReadAsWritten) {
  struct Row {
    const char* text;
    std::size_t size;
  };
  for (const Row& row :
       {Row{"0", 0}, Row{"4096", 4096}, Row{"3K", 3072}, Row{"64M", 67'108'864}, Row{"1024G", 1'099'511'627'776}}) {
    const auto size = parse_size(row.text);
    ASSERT_TRUE(size) << row.text;
    EXPECT_EQ(*size, row.size) << row.text;
  }
}

TEST(Size, OtherwiseSaysWhatIsWanted) {
  for (const char* text : {"", "M", "-1", "+1", "1 M", "1m", "64MB", "1.5G", "1025G", "1099511627777", "99999999999999999999"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().what, std::string("a size such as 4096, 512K, 64M or 1G is wanted, not ") + text);
  }
}

}  // namespace
}  // namespace mailbridge
