// A message for people from a pure machine. One event is one line of `key=value`.
#pragma once

#include <string>

namespace mailbridge {

enum class Level { debug, info, warn, error };

struct Note {
  Level level;
  std::string text;  // one printable line, see text.hpp
};

}  // namespace mailbridge
