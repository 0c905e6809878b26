// The lines that --check of both programs prints about the key file that they share (lmtp/mark.hpp).
#pragma once

#include <functional>
#include <string>

#include "lmtp/mark.hpp"

namespace mailbridge::options {

struct CheckedKeys {
  bool good = true;
  std::string text;  // whole lines
};

// Checks the keys, and the owner, group and mode of their file. `owner` and `group` turn a uid and a gid into names for display.
CheckedKeys check_keys(const std::string& path, const Result<lmtp::MarkKeys>& keys,
                       const std::function<std::string(unsigned)>& owner, const std::function<std::string(unsigned)>& group);

}  // namespace mailbridge::options
