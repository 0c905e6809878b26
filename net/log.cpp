#include "net/log.hpp"

#include <memory>
#include <optional>
#include <utility>

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>

namespace mailbridge::net {
namespace {

spdlog::level::level_enum spdlog_level(Level level) {
  switch (level) {
    case Level::debug:
      return spdlog::level::debug;
    case Level::info:
      return spdlog::level::info;
    case Level::warn:
      return spdlog::level::warn;
    case Level::error:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

Level level_of(spdlog::level::level_enum level) {
  if (level <= spdlog::level::debug) return Level::debug;
  if (level == spdlog::level::info) return Level::info;
  return level == spdlog::level::warn ? Level::warn : Level::error;
}

struct Log {
  std::optional<LogLines> lines;
  std::unique_ptr<spdlog::logger> front;
  std::function<void()> kept;
};

// Never destroyed: what is said while the process ends is to find it.
Log& the_log() {
  static Log& instance = *new Log;
  return instance;
}

class Sink : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
  void sink_it_(const spdlog::details::log_msg& message) override {
    the_log().lines->write(level_of(message.level), {message.payload.data(), message.payload.size()});
  }
  void flush_() override {}
};

}  // namespace

void open_log(LogTarget target, Level level, const std::string& program) {
  Log& log = the_log();
  if (log.lines) log.lines->use(target, program);
  else log.lines.emplace(target, program);
  if (!log.front) {
    log.front = std::make_unique<spdlog::logger>(program, std::make_shared<Sink>());
    log.front->set_error_handler([](const std::string&) {});
  }
  log.front->set_level(spdlog_level(level));
}

void log(Level level, std::string_view text) noexcept {
  try {
    Log& log = the_log();
    if (!log.front) open_log(LogTarget::stderr_stream, Level::info, "mailbridge");
    log.front->log(spdlog_level(level), spdlog::string_view_t(text.data(), text.size()));
    if (kept_by_log() > 0 && log.kept) log.kept();
  } catch (...) {  // see the declaration
  }
}

void watch_log(std::function<void()> kept) {
  the_log().kept = std::move(kept);
  if (kept_by_log() > 0) the_log().kept();
}

bool flush_log() noexcept { return !the_log().lines || the_log().lines->flush(); }

std::size_t kept_by_log() noexcept { return the_log().lines ? the_log().lines->kept() : 0; }

bool flush_log(Duration patience) noexcept { return !the_log().lines || the_log().lines->flush(patience); }

}  // namespace mailbridge::net
