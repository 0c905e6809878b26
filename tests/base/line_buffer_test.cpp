#include "base/line_buffer.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mailbridge {
namespace {

struct Seen {
  std::string line;
  bool cut;
  bool operator==(const Seen&) const = default;
};

std::vector<Seen> lines(std::string_view bytes, std::size_t step, std::size_t max) {
  LineBuffer buffer(max);
  std::vector<Seen> seen;
  while (!bytes.empty()) {
    const auto part = bytes.substr(0, step);
    buffer.feed(part, [&](std::string_view line, bool cut) { seen.push_back({std::string(line), cut}); });
    bytes.remove_prefix(part.size());
  }
  return seen;
}

TEST(LineBuffer, TheSameLinesHoweverTheBytesAreCut) {
  const std::string bytes("one\n\ntwo\r\n\0three\nunfinished", 28);
  const std::vector<Seen> whole = lines(bytes, bytes.size(), 100);
  const std::vector<Seen> expected = {{"one", false}, {"", false}, {"two\r", false}, {std::string("\0three", 6), false}};
  EXPECT_EQ(whole, expected);
  for (std::size_t step = 1; step < bytes.size(); ++step) EXPECT_EQ(lines(bytes, step, 100), whole) << step;
}

TEST(LineBuffer, ALineOfTheLimitIsWholeAndOneByteMoreIsCut) {
  for (std::size_t step = 1; step < 16; ++step) {
    EXPECT_EQ(lines("12345\n123456\n12\n", step, 5), (std::vector<Seen>{{"12345", false}, {"12345", true}, {"12", false}}))
        << step;
  }
}

TEST(LineBuffer, WhatIsUnfinishedCanBeSeen) {
  LineBuffer buffer(10);
  buffer.feed("a\nbc", [](std::string_view, bool) {});
  EXPECT_EQ(buffer.unfinished(), "bc");
}

}  // namespace
}  // namespace mailbridge
