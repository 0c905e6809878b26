#include "net/log.hpp"

#include <syslog.h>

#include <memory>

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>

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

std::unique_ptr<spdlog::logger>& logger() {
  static std::unique_ptr<spdlog::logger> instance;
  return instance;
}

}  // namespace

void open_log(LogTarget target, Level level, const std::string& program) {
  spdlog::sink_ptr sink;
  switch (target) {
    case LogTarget::stderr_stream:
      sink = std::make_shared<spdlog::sinks::stderr_sink_st>();
      sink->set_pattern("%v");  // smtpd puts the filter's name and the time in front
      break;
    case LogTarget::syslog:
      logger().reset();  // the sink's destructor calls closelog(3), which must not follow the new openlog(3)
      sink = std::make_shared<spdlog::sinks::syslog_sink_st>(program, LOG_PID, LOG_MAIL, false);
      break;
  }
  logger() = std::make_unique<spdlog::logger>(program, std::move(sink));
  logger()->set_level(spdlog_level(level));
  logger()->set_error_handler([](const std::string&) {});
}

void log(Level level, std::string_view text) noexcept {
  try {
    if (!logger()) open_log(LogTarget::stderr_stream, Level::info, "mailbridge");
    logger()->log(spdlog_level(level), spdlog::string_view_t(text.data(), text.size()));
  } catch (...) {  // see the declaration
  }
}

}  // namespace mailbridge::net
