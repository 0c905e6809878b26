// The wires of filter-mailbridge: standard input and output, rspamd's sockets, the clock and the log around one Engine.
#pragma once

#include <functional>

#include "base/result.hpp"
#include "filter/settings.hpp"

namespace mailbridge::filter {

// Reads the settings again. The fault is one line.
using ReadAgain = std::function<Result<Settings>()>;

// Serves smtpd on file descriptors 0 and 1 until end of file, then leaves the process with status 0: a name look-up in flight
// could hold an orderly return for seconds, and smtpd waits for nobody. On SIGHUP the settings are read again; sessions go on,
// and when something is wrong so do the old settings.
[[noreturn]] void serve(Settings settings, ReadAgain read_again);

}  // namespace mailbridge::filter
