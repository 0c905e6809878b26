#include "smtpd/line.hpp"

#include <algorithm>
#include <charconv>

#include "base/text.hpp"

namespace mailbridge::smtpd {
namespace {

std::optional<unsigned> number(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Version> parse_version(std::string_view text) {
  const std::size_t dot = text.find('.');
  const auto major = number(text.substr(0, dot));
  const auto minor = dot == std::string_view::npos ? std::optional<unsigned>(0) : number(text.substr(dot + 1));
  if (!major || !minor) return std::nullopt;
  return Version{*major, *minor};
}

}  // namespace

std::optional<std::string_view> reply_in(std::string_view line) {
  constexpr std::string_view report = "report|";
  constexpr std::string_view event = "|smtp-in|protocol-server|";
  if (!line.starts_with(report)) return std::nullopt;
  const std::size_t version_end = line.find('|', report.size());
  const std::size_t time_end = line.find('|', version_end + 1);
  if (version_end == std::string_view::npos || time_end == std::string_view::npos) return std::nullopt;
  line.remove_prefix(time_end);
  if (!line.starts_with(event)) return std::nullopt;
  const std::size_t session_end = line.find('|', event.size());
  if (session_end == std::string_view::npos) return std::nullopt;
  return line.substr(session_end + 1);
}

std::optional<std::size_t> size_limit_in(std::string_view reply) {
  constexpr std::string_view keyword = "250-SIZE ";
  if (!reply.starts_with(keyword)) return std::nullopt;
  std::size_t size = 0;
  const auto [end, error] = std::from_chars(reply.data() + keyword.size(), reply.data() + reply.size(), size);
  if (error != std::errc{} || end != reply.data() + reply.size()) return std::nullopt;
  return size;
}

std::size_t announced_size(std::string_view command) {
  constexpr std::string_view keyword = "SIZE=";
  const std::size_t path_end = command.find('>');  // where smtpd ends the address, too
  if (!istarts_with(command, "MAIL FROM:") || path_end == std::string_view::npos) return 0;
  command.remove_prefix(path_end + 1);
  while (!command.empty()) {
    const std::size_t blank = std::min(command.find(' '), command.size());
    std::string_view parameter = command.substr(0, blank);
    command.remove_prefix(std::min(blank + 1, command.size()));
    if (!istarts_with(parameter, keyword)) continue;
    parameter.remove_prefix(keyword.size());
    std::size_t size = 0;
    const auto [end, error] = std::from_chars(parameter.data(), parameter.data() + parameter.size(), size);
    return error == std::errc{} && end == parameter.data() + parameter.size() ? size : 0;
  }
  return 0;
}

Result<SmtpdLine> parse_line(std::string_view line) {
  const auto malformed = [line](const char* why) { return fail(Errc::malformed, std::string(why) + ": " + printable(line, 80)); };
  std::string_view rest = line;
  const std::string_view kind = take_field(rest);
  SmtpdLine parsed{};
  if (kind == "config") {
    const std::string_view key = take_field(rest);
    parsed.event = Config{key, rest};
    return parsed;
  }
  const bool is_request = kind == "filter";
  if (!is_request && kind != "report") return malformed("smtpd sent a line that is none of config, report and filter");
  const auto version = parse_version(take_field(rest));
  if (!version) return malformed("smtpd sent a line without a protocol version");
  parsed.version = *version;
  take_field(rest);  // time
  const std::string_view subsystem = take_field(rest);
  const std::string_view event = take_field(rest);
  parsed.session = take_field(rest);
  const auto session_key = parse_id(parsed.session);
  if (!session_key) return malformed("smtpd sent a line without a session id");
  parsed.session_key = *session_key;
  if (!is_request) {
    parsed.event = subsystem == "smtp-in" ? read_report(event, rest, dialect_of(parsed.version)) : Event(OtherReport{});
    return parsed;
  }
  auto request = read_request(event, rest);
  if (!request) return malformed("smtpd sent a request without a token");
  parsed.event = *request;
  return parsed;
}

void RepeatedDataLine::remember(const SmtpdLine& line, const DataLine& event) {
  before_time_ = "filter|" + std::to_string(line.version.major) + "." + std::to_string(line.version.minor) + "|";
  after_time_ = "|smtp-in|data-line|";
  after_time_.append(line.session).append("|").append(event.token).append("|");
  token_ = event.token;
  session_key_ = line.session_key;
}

std::optional<DataLine> RepeatedDataLine::match(std::string_view line) const {
  if (before_time_.empty() || !line.starts_with(before_time_)) return std::nullopt;
  const std::size_t bar = line.find('|', before_time_.size());
  if (bar == std::string_view::npos || !line.substr(bar).starts_with(after_time_)) return std::nullopt;
  return DataLine{token_, line.substr(bar + after_time_.size())};
}

void append_answer_prefix(std::string& out, std::string_view kind, const Dialect& dialect, std::string_view session,
                          std::string_view token) {
  out += kind;
  out += '|';
  out += dialect.answers_token_first ? token : session;
  out += '|';
  out += dialect.answers_token_first ? session : token;
  out += '|';
}

}  // namespace mailbridge::smtpd
