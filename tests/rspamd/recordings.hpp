// Replies of rspamd (tests/data/rspamd-VERSION, which tests/data/record_rspamd.py writes): *.http as they crossed the wire,
// *.json their bodies.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace mailbridge::rspamd {

// `file` is as in "rspamd-3.4/no-action.json".
inline std::string recorded(const std::string& file) {
  std::ifstream in(MB_SOURCE_DIR "/tests/data/" + file, std::ios::binary);
  EXPECT_TRUE(in) << file;
  return {std::istreambuf_iterator<char>(in), {}};
}

// All that end so.
inline std::vector<std::string> recordings(const std::string& extension) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(MB_SOURCE_DIR "/tests/data")) {
    const std::string folder = entry.path().parent_path().filename();
    if (folder.starts_with("rspamd-") && entry.path().extension() == extension)
      files.push_back(folder + "/" + entry.path().filename().string());
  }
  EXPECT_GE(files.size(), 10u) << extension;
  return files;
}

// Where to cut a recording for a test of each truncation: everywhere, and every 13 bytes in those of later versions, which are
// longer and made alike.
inline std::size_t truncation_step(const std::string& file) { return file.starts_with("rspamd-3.4/") ? 1 : 13; }

}  // namespace mailbridge::rspamd
