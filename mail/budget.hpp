// How much memory the messages of this process may use together, and where and in how many files they go beyond that.
#pragma once

#include <cstddef>
#include <limits>
#include <string>

namespace mailbridge::mail {

struct Budget {
  std::size_t limit = 0;  // bytes
  std::string spool;      // the directory of spool files
  std::size_t used = 0;
  std::size_t max_files = std::numeric_limits<std::size_t>::max();  // each is a descriptor
  std::size_t files = 0;

  bool has_room_for(std::size_t n) const { return used <= limit && n <= limit - used; }
  void take(std::size_t n) { used += n; }  // the limit may be overdrawn
  void give_back(std::size_t n) { used -= n; }
};

}  // namespace mailbridge::mail
