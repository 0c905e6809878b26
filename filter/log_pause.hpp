// How long the filter waits before it offers kept log lines to the log again (net/log.hpp): a syslogd can be slow, or away.
#pragma once

#include <algorithm>
#include <chrono>

#include "base/conversation.hpp"

namespace mailbridge::filter {

inline constexpr Duration first_log_pause = std::chrono::milliseconds(10);
inline constexpr Duration longest_log_pause = std::chrono::seconds(1);

// The pause after one of `last`, at whose end the log did not take all lines. It doubles, unless the log took some.
constexpr Duration next_log_pause(Duration last, bool took_some) {
  return took_some ? first_log_pause : std::min(2 * last, longest_log_pause);
}

}  // namespace mailbridge::filter
