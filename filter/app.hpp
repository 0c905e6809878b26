// The wires of filter-mailbridge: standard input and output, rspamd's sockets, the clock and the log around one Engine.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "base/conversation.hpp"
#include "filter/engine.hpp"

namespace mailbridge::filter {

struct AppSettings {
  Settings engine;
  Duration connect_timeout = std::chrono::seconds(3);
  std::string record_directory;  // empty: nothing is recorded
};

// Serves smtpd on file descriptors 0 and 1 until end of file, then leaves the process with status 0: a name look-up in flight
// could hold an orderly return for seconds, and smtpd waits for nobody.
[[noreturn]] void serve(const AppSettings& settings);

}  // namespace mailbridge::filter
