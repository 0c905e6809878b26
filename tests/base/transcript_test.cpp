#include "base/transcript.hpp"

#include <gtest/gtest.h>

namespace mailbridge::transcript {
namespace {

std::string shown(const Line& line) {
  return std::string(1, line.lane) + std::to_string(line.number) + line.direction + line.text;
}

TEST(Transcript, Lanes) {
  struct Row {
    std::string text;
    std::string expected;  // empty: a comment
  };
  const Row rows[] = {
      {"S> report|x", "S1>report|x\n"},
      {"S<", "S1<\n"},
      {"S> ", "S1>\n"},
      {"S>  two blanks", "S1> two blanks\n"},
      {"R2> HTTP/1.1 200 OK\\r", "R2>HTTP/1.1 200 OK\r\n"},
      {"R12< x\\", "R12<x"},
      {"R! timed_out", "R1!timed_out"},
      {"D> a\\x00\\\\\\t\\n", std::string("D1>a\0\\\t\n\n", 9)},
      {"T 1500", "T1 1500"},
      {"N action=reject", "N1 action=reject"},
      {"E 75", "E1 75"},
      {"O --on-error accept", "O1 --on-error accept"},
      {"M> \\q\\xg0", "M1>\\q\\xg0\n"},
      {"# a comment", ""},
      {"", ""},
      {"Some text about it", ""},
      {"S>no blank", ""},
      {"R0> x", ""},
      {"R999999> x", "R999999>x\n"},
      {"R1000000> x", ""},
      {"R12345678> x", ""},
      {"X> x", ""},
      {"T", ""},
  };
  for (const Row& row : rows) {
    const auto lines = parse(row.text);
    EXPECT_EQ(lines.empty() ? "" : shown(lines[0]), row.expected) << row.text;
  }
}

TEST(Transcript, WhatIsWrittenIsRead) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  bytes += "a\\rb\\\n\nno line end";
  std::string text;
  append(text, "R3>", bytes);
  std::string back;
  for (const Line& line : parse(text)) back += line.text;
  EXPECT_EQ(back, bytes);
}

}  // namespace
}  // namespace mailbridge::transcript
