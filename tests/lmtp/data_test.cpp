#include "lmtp/data.hpp"

#include <random>

#include <gtest/gtest.h>

namespace mailbridge::lmtp {
namespace {

std::string encode(std::string_view mail, std::size_t window, std::size_t step = std::string::npos) {
  DataEncoder encoder(mail, window);
  std::string out;
  for (std::string_view piece = encoder.window(); !piece.empty(); piece = encoder.window()) {
    EXPECT_LE(piece.size(), window);
    piece = piece.substr(0, step);
    out += piece;
    encoder.consume(piece.size());
  }
  return out;
}

struct Row {
  std::string name;
  std::string mail;
  std::string wire;
};

const Row rows[] = {
    {"empty", "", ""},
    {"LF", "a\nb\n", "a\r\nb\r\n"},
    {"CRLF", "a\r\nb\r\n", "a\r\nb\r\n"},
    {"both", "a\nb\r\n", "a\r\nb\r\n"},
    {"no final newline", "a\nb", "a\r\nb\r\n"},
    {"one newline", "\n", "\r\n"},
    {"one CRLF", "\r\n", "\r\n"},
    {"one CR", "\r", "\r\r\n"},
    {"bare CR is data", "a\rb\n", "a\rb\r\n"},
    {"CR before CRLF is data", "a\r\r\n", "a\r\r\n"},
    {"CR at the end is data", "a\r", "a\r\r\n"},
    {"lone dot", ".\n", "..\r\n"},
    {"lone dot without a newline", ".", "..\r\n"},
    {"two dots", "..\n", "...\r\n"},
    {"dot after LF", "a\n.\nb\n", "a\r\n..\r\nb\r\n"},
    {"dot after CRLF", "a\r\n.\r\nb", "a\r\n..\r\nb\r\n"},
    {"dot after a bare CR is within a line", "a\r.\rb\n", "a\r.\rb\r\n"},
    {"dot after CR CRLF", "a\r\r\n.\n", "a\r\r\n..\r\n"},
    {"dot within a line", "a.b\n", "a.b\r\n"},
    {"empty lines and dots", "\n\n.\n\n..", "\r\n\r\n..\r\n\r\n...\r\n"},
    {"NUL and 8-bit", std::string("a\0\xc3\xa4\xff\n.\0", 8), std::string("a\0\xc3\xa4\xff\r\n..\0\r\n", 12)},
    {"long line", std::string(200000, 'x') + "\n", std::string(200000, 'x') + "\r\n"},
};

TEST(DataEncoder, Table) {
  for (const Row& row : rows) EXPECT_EQ(encode(row.mail, DataEncoder::default_window), row.wire) << row.name;
}

TEST(DataEncoder, TheWindowDoesNotShow) {
  for (const Row& row : rows) {
    for (std::size_t window = 4; window < 12; ++window)
      EXPECT_EQ(encode(row.mail, window), row.wire) << row.name << " " << window;
    EXPECT_EQ(encode(row.mail, 7, 1), row.wire) << row.name;
  }
}

TEST(DataEncoder, SizeIsWhatLeavesWithoutStuffedDots) {
  for (const Row& row : rows) {
    std::size_t stuffed = row.wire.starts_with('.') ? 1 : 0;
    for (std::size_t at = row.wire.find("\r\n."); at != std::string::npos; at = row.wire.find("\r\n.", at + 1)) ++stuffed;
    EXPECT_EQ(wire_size(row.mail), row.wire.size() - stuffed) << row.name;
  }
}

// What a server makes of the wire: lines up to CRLF, one dot taken from those that begin with one.
std::string decode(std::string_view wire) {
  std::string mail;
  while (!wire.empty()) {
    const std::size_t end = wire.find("\r\n");
    std::string_view line = wire.substr(0, end);
    EXPECT_NE(line, ".");
    EXPECT_EQ(line.find('\n'), std::string_view::npos);
    if (line.starts_with('.')) line.remove_prefix(1);
    mail.append(line).append("\n");
    wire.remove_prefix(end + 2);
  }
  return mail;
}

TEST(DataEncoder, RandomMailsComeBack) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string mail;
    const std::size_t size = random() % 40;
    for (std::size_t i = 0; i < size; ++i) mail += "\r\n.x"[random() % 4];
    std::string expected;
    for (std::size_t i = 0; i < mail.size(); ++i) {
      if (mail[i] == '\r' && i + 1 < mail.size() && mail[i + 1] == '\n') continue;
      expected += mail[i];
    }
    if (!mail.empty() && !mail.ends_with('\n')) expected += '\n';
    EXPECT_EQ(decode(encode(mail, 4 + random() % 20)), expected);
  }
}

}  // namespace
}  // namespace mailbridge::lmtp
