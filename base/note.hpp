// What a pure machine wants a person to read. One event, one line, `key=value`.
#pragma once

#include <string>

namespace mailbridge {

enum class Level { debug, info, warn, error };

struct Note {
  Level level;
  std::string text;  // one printable line, see text.hpp
};

}  // namespace mailbridge
