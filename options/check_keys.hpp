// What --check of both programs says of the key file that they share (lmtp/mark.hpp).
#pragma once

#include <functional>
#include <string>

#include "lmtp/mark.hpp"

namespace mailbridge::options {

struct CheckedKeys {
  bool good = true;
  std::string text;  // whole lines
};

// Looks at the file's owner, group and mode, too. `owner` and `group` name a uid and a gid for people.
CheckedKeys check_keys(const std::string& path, const Result<lmtp::MarkKeys>& keys,
                       const std::function<std::string(unsigned)>& owner, const std::function<std::string(unsigned)>& group);

}  // namespace mailbridge::options
