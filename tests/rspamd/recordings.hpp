// Replies of rspamd 3.4 (tests/data/rspamd-3.4): *.http as they crossed the wire, *.json their bodies.
#pragma once

#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

namespace mailbridge::rspamd {

inline std::string recorded(const std::string& file) {
  std::ifstream in(MB_SOURCE_DIR "/tests/data/rspamd-3.4/" + file, std::ios::binary);
  EXPECT_TRUE(in) << file;
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace mailbridge::rspamd
