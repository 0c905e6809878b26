// People read syslog or stderr; stdout belongs to the protocol.
#pragma once

#include <string>
#include <string_view>

#include "base/note.hpp"

namespace mailbridge::net {

enum class LogTarget { stderr_stream, syslog };  // syslog: facility mail, with the process id

// Notes below `level` are dropped. May be called again; the last call counts. Before the first call notes go to stderr.
void open_log(LogTarget target, Level level, const std::string& program);

// One line. Never throws: a log that cannot be written must not stop mail.
void log(Level level, std::string_view text) noexcept;
inline void log(const Note& note) noexcept { log(note.level, note.text); }

}  // namespace mailbridge::net
