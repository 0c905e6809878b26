// People read syslog or stderr; stdout belongs to the protocol. Nothing here waits, see net/log_lines.hpp.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/conversation.hpp"
#include "base/note.hpp"
#include "net/log_lines.hpp"

namespace mailbridge::net {

// Notes below `level` are dropped. May be called again; the last call counts. Before the first call notes go to stderr.
void open_log(LogTarget target, Level level, const std::string& program);

// One line. Never throws: a log that cannot be written must not stop mail.
void log(Level level, std::string_view text) noexcept;
inline void log(const Note& note) noexcept { log(note.level, note.text); }

// `kept` is called when a line could not be written at once: flush_log() is to be called a little later, until it is true.
void watch_log(std::function<void()> kept);
bool flush_log() noexcept;
std::size_t kept_by_log() noexcept;  // bytes
// The same, waiting for a reader who is behind: for a process that is about to end.
bool flush_log(Duration patience) noexcept;

}  // namespace mailbridge::net
