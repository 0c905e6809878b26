// The line of the log about a server that has gone down, or has come up again.
#pragma once

#include <string_view>

namespace mailbridge::wires {

// `kind`: "rspamd" or "lmtp". `reason` may be empty.
void log_change(std::string_view kind, std::string_view server, bool up, std::string_view reason);

}  // namespace mailbridge::wires
