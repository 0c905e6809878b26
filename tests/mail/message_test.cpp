#include "mail/message.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "mail/headers.hpp"

namespace mailbridge::mail {
namespace {

std::string bytes_of(const Message& message, std::size_t offset = 0) {
  std::string bytes;
  for (;;) {
    const std::string_view piece = message.from(offset + bytes.size());
    if (piece.empty()) return bytes;
    EXPECT_TRUE(piece.ends_with("\r\n")) << "whole lines";
    bytes += piece;
  }
}

TEST(Message, TheHeaderSectionEndsBeforeTheFirstEmptyLine) {
  struct Row {
    const char* what;
    std::vector<std::string> lines;
    std::string head, rest;
  };
  const std::vector<Row> rows = {
      {"nothing", {}, "", ""},
      {"header and body", {"A: b", " c", "", "body", "", "X: y"}, "A: b\r\n c\r\n", "\r\nbody\r\n\r\nX: y\r\n"},
      {"no body", {"A: b"}, "A: b\r\n", ""},
      {"no header", {"", "body"}, "", "\r\nbody\r\n"},
      {"a blank or a CR is not empty", {"A: b", " ", "\r", "", "body"}, "A: b\r\n \r\n\r\r\n", "\r\nbody\r\n"},
  };
  for (const Row& row : rows) {
    Message message;
    for (const std::string& line : row.lines) message.append_line(line);
    EXPECT_EQ(message.head(), row.head) << row.what;
    EXPECT_EQ(message.from(0), row.head.empty() ? row.rest : row.head) << row.what;
    EXPECT_EQ(bytes_of(message, row.head.size()), row.rest) << row.what;
    EXPECT_EQ(message.size(), row.head.size() + row.rest.size()) << row.what;
    EXPECT_EQ(parse_headers(row.head + row.rest).size, row.head.size()) << row.what;
  }
}

TEST(Message, ReadsBackWhatWasAppendedFromEveryOffset) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    const auto up_to = [&](std::size_t most) { return std::uniform_int_distribution<std::size_t>(0, most)(random); };
    Message message;
    std::string expected;
    for (std::size_t i = 0, lines = up_to(3000); i < lines; ++i) {
      const std::size_t longest = up_to(200) == 0 ? 70'000 : 100;
      const std::string line(up_to(longest), static_cast<char>('a' + up_to(25)));
      message.append_line(line);
      expected += line + "\r\n";
    }
    ASSERT_EQ(message.size(), expected.size());
    ASSERT_TRUE(bytes_of(message) == expected) << seed;
    for (int i = 0; i < 100; ++i) {
      const std::size_t offset = up_to(expected.size());
      const std::string_view piece = message.from(offset);
      ASSERT_EQ(piece.empty(), offset == expected.size());
      ASSERT_TRUE(std::string_view(expected).substr(offset).starts_with(piece)) << seed << " " << offset;
    }
  }
}

}  // namespace
}  // namespace mailbridge::mail
