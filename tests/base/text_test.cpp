#include "base/text.hpp"

#include <gtest/gtest.h>

namespace mailbridge {
namespace {

TEST(Text, PrintableIsOneBoundedLineOfAscii) {
  struct Row {
    std::string text;
    std::size_t max;
    std::string expected;
  };
  const Row rows[] = {
      {"plain", 99, "plain"},
      {"", 99, ""},
      {" \r\n\t", 99, ""},
      {"Try much later\r\nsecond line", 99, "Try much later second line"},
      {"  a \t\r\n\x01\x7f b  ", 99, "a b"},
      {"say \"no\"", 99, "say 'no'"},
      {"j\xc3\xb6rg", 99, "j??rg"},
      {std::string("nul\0after", 9), 99, "nul after"},
      {"12345", 5, "12345"},
      {"123456", 5, "12345"},
      {"1234 6", 5, "1234"},
      {"123 56", 5, "123 5"},
  };
  for (const Row& row : rows) EXPECT_EQ(printable(row.text, row.max), row.expected) << row.text;
}

TEST(Text, HeaderLineKeepsEightBitBytesAndQuotes) { EXPECT_EQ(header_line("\"J\xc3\xb6rg\"\r\n\tx", 99), "\"J\xc3\xb6rg\" x"); }

TEST(Text, Fields) {
  std::string line;
  append_field(line, "action", "no action");
  append_field(line, "from", "");
  append_field(line, "to", "a=b");
  append_field(line, "id", "0123\"\n");
  append_field(line, "long", std::string(300, 'x'));
  EXPECT_EQ(line, "action=\"no action\" from=\"\" to=\"a=b\" id=0123' long=" + std::string(256, 'x'));
}

TEST(Text, EnhancedStatusCodes) {
  struct Row {
    std::string text;
    std::size_t size;
  };
  const Row rows[] = {
      {"5.7.1 no", 5}, {"5.7.1", 5}, {"5.123.123 x", 9}, {"5.1234.1 x", 0}, {"5.7", 0},      {"5.7.", 0}, {"5..1 x", 0},
      {"5", 0},        {"", 0},      {"4.7.1 no", 0},    {"5.7.1x", 0},     {"55.7.1 x", 0},
  };
  for (const Row& row : rows) EXPECT_EQ(enhanced_code_size(row.text, '5'), row.size) << row.text;
}

TEST(Text, CaseAndBlanks) {
  EXPECT_TRUE(iequals("X-Spam", "x-sPAM"));
  EXPECT_FALSE(iequals("X-Spam", "X-Spam-"));
  EXPECT_FALSE(iequals("[", "{"));
  EXPECT_TRUE(istarts_with("X-Spam-Score", "x-spam-"));
  EXPECT_FALSE(istarts_with("X-Spam", "x-spam-"));
  EXPECT_EQ(trim(" \ta b\r\n"), "a b");
  EXPECT_EQ(trim(" "), "");
}

}  // namespace
}  // namespace mailbridge
