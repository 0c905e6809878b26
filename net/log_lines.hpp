// Lines for people, to standard error or to syslog, written by a process that must not wait for whoever reads them.
//
// What cannot be written now is kept, so that a burst and a restart of syslogd cost nothing. Beyond max_kept lines are dropped
// and counted, until all that was kept has been written; then one line says how many are missing.
//
// syslog(3) is not used: it waits for a syslogd that does not read. spdlog is not used here, either, for it would add a tenth to
// the time that lda2lmtp takes to start: net/log.hpp is its front in filter-mailbridge.
#pragma once

#include <sys/types.h>
#include <syslog.h>

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

#include "base/conversation.hpp"
#include "base/note.hpp"

namespace mailbridge::net {

enum class LogTarget { stderr_stream, syslog };  // syslog: facility mail, with the process id

// What of `bytes` the descriptor takes without waiting: how many, or -1 and errno, EAGAIN when it takes none now. The descriptor
// may be shared with other processes, so its O_NONBLOCK is left alone. To be called in a signal handler, too.
//
// A pipe takes what poll(2) has seen room for. Only another process that fills it in that very moment could make us wait.
ssize_t write_now(int descriptor, std::string_view bytes) noexcept;

class LogLines {
 public:
  static constexpr std::size_t max_kept = std::size_t{1} << 20;  // bytes: some 2,500 lines
  static constexpr std::size_t max_line = 8 * 1024;              // what rsyslogd takes; the rest of a line is left out

  // Nothing is opened before the first line. `socket` is syslogd's.
  LogLines(LogTarget target, std::string program, std::string socket = _PATH_LOG);
  ~LogLines();
  LogLines(const LogLines&) = delete;
  LogLines& operator=(const LogLines&) = delete;

  // From now on. What is kept for another target counts as lost.
  void use(LogTarget target, std::string program) noexcept;

  void write(Level level, std::string_view line) noexcept;

  // Writes what was kept, as far as that goes without waiting. True if nothing is left: otherwise to be called again.
  bool flush() noexcept;
  // The same, waiting for a reader who is there but behind.
  bool flush(Duration patience) noexcept;

  std::size_t kept() const { return kept_bytes_; }  // bytes

 private:
  void keep(Level level, std::string_view line);
  void drop_first();
  ssize_t offer(std::string_view bytes) noexcept;
  bool connect() noexcept;
  void disconnect() noexcept;

  LogTarget target_;
  std::string program_;
  const std::string socket_;
  int syslog_ = -1;
  bool is_stream_ = false;        // it takes records that end with a NUL, as syslog-ng's unix-stream()
  std::deque<std::string> kept_;  // as they are written
  std::size_t kept_bytes_ = 0;
  std::size_t sent_ = 0;  // bytes of the first one
  std::size_t lost_ = 0;
};

}  // namespace mailbridge::net
