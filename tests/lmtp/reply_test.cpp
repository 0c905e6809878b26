#include "lmtp/reply.hpp"

#include <gtest/gtest.h>

namespace mailbridge::lmtp {
namespace {

// "250 2.1.5[OK|more]" for each reply, "!what" for a fault, joined by blanks.
std::string read(ReplyReader& reader, std::string_view bytes) {
  std::string all;
  reader.feed(bytes, [&](Result<Reply> reply) {
    if (!all.empty()) all += ' ';
    if (!reply) {
      all += "!" + reply.error().what;
      return;
    }
    all += std::to_string(reply->code) + " " + reply->enhanced + "[";
    for (const std::string& line : reply->lines) all += (&line == &reply->lines.front() ? "" : "|") + line;
    all += "]";
  });
  return all;
}

struct Row {
  std::string name;
  std::string bytes;
  std::string expected;
};

const Row rows[] = {
    {"one line", "250 2.1.5 OK\r\n", "250 2.1.5[OK]"},
    {"LF alone ends a line", "250 OK\n", "250 [OK]"},
    {"a bare code", "354\r\n", "354 []"},
    {"code and blank", "354 \r\n", "354 []"},
    {"only an enhanced code", "250 2.0.0\r\n", "250 2.0.0[]"},
    {"several lines", "250-a\r\n250-SIZE 10\r\n250 c\r\n", "250 [a|SIZE 10|c]"},
    {"several replies", "250 a\r\n550 5.1.1 b\r\n354 c\r\n", "250 [a] 550 5.1.1[b] 354 [c]"},
    {"enhanced code on every line", "550-5.1.1 a\r\n550 5.1.1 b\r\n", "550 5.1.1[a|b]"},
    {"enhanced code of another class is text", "250 5.1.1 x\r\n", "250 [5.1.1 x]"},
    {"a number that is no enhanced code", "250 2.1 x\r\n", "250 [2.1 x]"},
    {"three digits at most", "550 5.1000.1 x\r\n", "550 [5.1000.1 x]"},
    {"an enhanced code ends at a blank", "550 5.1.1x\r\n", "550 [5.1.1x]"},
    {"lone dot", "550 5.\r\n", "550 [5.]"},
    {"no code", "hello\r\n", "!a reply begins with a code of three digits"},
    {"empty line", "\r\n", "!a reply begins with a code of three digits"},
    {"1xx", "150 x\r\n", "!a reply begins with a code of three digits"},
    {"6xx", "600 x\r\n", "!a reply begins with a code of three digits"},
    {"no mark", "250x\r\n", "!a blank or '-' must follow the code of a reply"},
    {"four digits", "2500 x\r\n", "!a blank or '-' must follow the code of a reply"},
    {"two codes in one reply", "250-a\r\n550 b\r\n", "!the lines of a reply carry different codes"},
    {"nothing after a fault", "x\r\n250 a\r\n", "!a reply begins with a code of three digits"},
    {"NUL and 8-bit are text", std::string("250 a\0\xff\r\n", 9), std::string("250 [a\0\xff]", 9)},
};

TEST(ReplyReader, Whole) {
  for (const Row& row : rows) {
    ReplyReader reader;
    EXPECT_EQ(read(reader, row.bytes), row.expected) << row.name;
  }
}

TEST(ReplyReader, SplitAnywhere) {
  for (const Row& row : rows) {
    for (std::size_t cut = 0; cut <= row.bytes.size(); ++cut) {
      ReplyReader reader;
      const std::string a = read(reader, std::string_view(row.bytes).substr(0, cut));
      const std::string b = read(reader, std::string_view(row.bytes).substr(cut));
      EXPECT_EQ(a + (a.empty() || b.empty() ? "" : " ") + b, row.expected) << row.name << " cut at " << cut;
    }
  }
}

TEST(ReplyReader, ALongLineIsCut) {
  for (const std::size_t beyond : {0U, 1U, 5000U}) {
    ReplyReader reader;
    const std::string text(ReplyReader::max_line - 5 + beyond, 'x');
    const std::string kept(ReplyReader::max_line - 4 - (beyond == 0 ? 1 : 0), 'x');
    EXPECT_EQ(read(reader, "250 " + text + "\r\n250 next\r\n"), "250 [" + kept + "] 250 [next]") << beyond;
  }
}

TEST(ReplyReader, OfALongReplyTheFirstLinesAndTheLastAreKept) {
  for (const std::size_t beyond : {0U, 1U, 500U}) {
    ReplyReader reader;
    std::string bytes;
    std::string kept;
    for (std::size_t i = 1; i < ReplyReader::max_lines + beyond; ++i) {
      bytes += "250-" + std::to_string(i) + "\r\n";
      if (i < ReplyReader::max_lines) kept += std::to_string(i) + "|";
    }
    EXPECT_EQ(read(reader, bytes + "250 end\r\n250 next\r\n"), "250 [" + kept + "end] 250 [next]") << beyond;
  }
}

}  // namespace
}  // namespace mailbridge::lmtp
