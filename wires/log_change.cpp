#include "wires/log_change.hpp"

#include <string>

#include "base/text.hpp"
#include "net/log.hpp"

namespace mailbridge::wires {

void log_change(std::string_view kind, std::string_view server, bool up, std::string_view reason) {
  std::string line;
  append_field(line, kind, server);
  append_field(line, "state", up ? "up" : "down");
  if (!reason.empty()) append_field(line, "reason", reason);
  net::log(up ? Level::info : Level::warn, line);
}

}  // namespace mailbridge::wires
