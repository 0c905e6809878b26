#include "lmtp/data.hpp"

#include <random>

#include <gtest/gtest.h>

#include "agent/input.hpp"

namespace mailbridge::lmtp {
namespace {

Mail mail_of(std::string_view input, std::size_t step = std::string::npos) {
  agent::Input reader;
  while (!input.empty()) {
    const std::string_view piece = input.substr(0, step);
    reader.feed(piece);
    input.remove_prefix(piece.size());
  }
  return {{}, reader.finish(), 0};
}

std::string encode(const Mail& mail, std::size_t window, std::size_t step = std::string::npos) {
  DataEncoder encoder(mail, Framing::dots, window);
  std::string out;
  for (std::string_view piece = encoder.window(); !piece.empty(); piece = encoder.window()) {
    EXPECT_LE(piece.size(), window);
    EXPECT_FALSE(encoder.complete() && out.size() + piece.size() < mail.size());
    piece = piece.substr(0, step);
    out += piece;
    encoder.consume(piece.size());
  }
  EXPECT_TRUE(encoder.complete());
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
  for (const Row& row : rows) EXPECT_EQ(encode(mail_of(row.mail), DataEncoder::default_window), row.wire) << row.name;
}

TEST(DataEncoder, NoCutShows) {
  for (const Row& row : rows) {
    for (std::size_t window = 2; window < 12; ++window) {
      EXPECT_EQ(encode(mail_of(row.mail, window), window), row.wire) << row.name << " " << window;
    }
    EXPECT_EQ(encode(mail_of(row.mail, 1), 7, 1), row.wire) << row.name;
  }
}

TEST(DataEncoder, SizeIsWhatLeavesWithoutStuffedDots) {
  for (const Row& row : rows) {
    std::size_t stuffed = row.wire.starts_with('.') ? 1 : 0;
    for (std::size_t at = row.wire.find("\r\n."); at != std::string::npos; at = row.wire.find("\r\n.", at + 1)) ++stuffed;
    EXPECT_EQ(mail_of(row.mail).size(), row.wire.size() - stuffed) << row.name;
  }
}

TEST(DataEncoder, AHeadGoesInFrontOfTheEndOfAMessage) {
  Mail mail = mail_of("Return-Path: <a@b>\n.dot\n\nbody\n");
  mail.head = "X: 1\r\n.\r\n";
  mail.from = 20;
  EXPECT_EQ(mail.size(), 23u);
  for (const std::size_t window : {2U, 3U, 5U, 100U}) EXPECT_EQ(encode(mail, window), "X: 1\r\n..\r\n..dot\r\n\r\nbody\r\n");
  mail.message.reset();
  EXPECT_EQ(encode(mail, 100), "X: 1\r\n..\r\n");
}

TEST(DataEncoder, AChunkIsTheMailButForItsEnd) {
  for (const Row& row : rows) {
    const Mail mail = mail_of(row.mail);
    if (mail.size() == 0) continue;
    std::string bytes;
    while (bytes.size() < mail.size()) bytes += mail.bytes(bytes.size());
    for (const std::size_t window : {2U, 3U, 7U, 65536U}) {
      DataEncoder encoder(mail, Framing::chunk, window);
      std::string out;
      for (std::string_view piece = encoder.window(); !piece.empty(); piece = encoder.window()) {
        out += piece;
        encoder.consume(piece.size());
      }
      EXPECT_TRUE(encoder.complete());
      out += encoder.end();
      EXPECT_EQ(out, bytes) << row.name;
    }
  }
}

TEST(DataEncoder, AMessageThatFailedIsNeverComplete) {
  const auto message = std::make_shared<mail::Message>();
  message->append_line("a");
  message->fail(std::make_error_code(std::errc::io_error));
  const Mail mail{{}, message, 0};
  DataEncoder encoder(mail, Framing::dots);
  encoder.consume(encoder.window().size());
  EXPECT_TRUE(encoder.window().empty());
  EXPECT_FALSE(encoder.complete());
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
    EXPECT_EQ(decode(encode(mail_of(mail, 1 + random() % 9), 2 + random() % 20)), expected);
  }
}

}  // namespace
}  // namespace mailbridge::lmtp
