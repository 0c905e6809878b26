// The program around one Engine: standard input and output, the connections to rspamd and Dovecot, the clock and the log.
#pragma once

#include <functional>

#include "base/result.hpp"
#include "filter/settings.hpp"

namespace mailbridge::filter {

// Reads the settings again. The fault is one line.
using ReadAgain = std::function<Result<Settings>()>;

// Serves smtpd on file descriptors 0 and 1 until end of file, then ends the process with status 0. It does not return, because a
// name look-up that is under way could delay that for seconds, and smtpd does not wait. On SIGHUP the settings are read again and
// sessions go on; if something is wrong with the new settings, the old ones stay.
[[noreturn]] void serve(Settings settings, ReadAgain read_again);

}  // namespace mailbridge::filter
