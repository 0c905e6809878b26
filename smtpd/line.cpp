#include "smtpd/line.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/text.hpp"

namespace mailbridge::smtpd {
namespace {

struct DialectRow {
  Version since;
  Dialect dialect;
};
// 0.4: OpenSMTPD 6.6; 0.5: never in a portable release; 0.6: 6.7, 6.8, 7.3; 0.7: 7.4 and later.
constexpr std::array<DialectRow, 4> dialects = {{
    {{0, 7}, {false, false, false, false}},
    {{0, 6}, {false, false, true, true}},
    {{0, 5}, {false, true, true, true}},
    {{0, 0}, {true, true, true, true}},
}};

// The text up to the next '|', or all of it. It is removed from the input, the '|' as well.
std::string_view take(std::string_view& rest) {
  const std::size_t bar = rest.find('|');
  const std::string_view field = rest.substr(0, bar);
  rest.remove_prefix(bar == std::string_view::npos ? rest.size() : bar + 1);
  return field;
}

// The text after the last '|'. It is removed from the input, the '|' as well.
std::string_view take_last(std::string_view& rest) {
  const std::size_t bar = rest.rfind('|');
  const std::string_view field = rest.substr(bar == std::string_view::npos ? 0 : bar + 1);
  rest = rest.substr(0, bar == std::string_view::npos ? 0 : bar);
  return field;
}

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

bool parse_hex(std::string_view text, std::uint64_t& value) {
  if (text.empty() || text.size() > 16) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return error == std::errc{} && end == text.data() + text.size();
}

LinkConnect link_connect(std::string_view rest) {  // parsed from the right, because the PTR name may hold any byte
  LinkConnect event{};
  event.dest = take_last(rest);
  event.src = take_last(rest);
  event.fcrdns = take_last(rest);
  event.rdns = rest;
  return event;
}

LinkTls link_tls(std::string_view rest) {  // TLSv1.3:TLS_AES_256_GCM_SHA384:256
  LinkTls event{};
  const std::size_t colon = rest.find(':');
  event.version = rest.substr(0, colon);
  if (colon != std::string_view::npos) event.cipher = rest.substr(colon + 1, rest.find(':', colon + 1) - colon - 1);
  return event;
}

LinkAuth link_auth(std::string_view rest, const Dialect& dialect) {
  LinkAuth event{};
  if (dialect.result_follows_user) {
    event.result = take_last(rest);
  } else {
    event.result = take(rest);
  }
  event.user = rest;
  return event;
}

template <class Tx>
Tx tx_address(std::string_view rest, const Dialect& dialect) {
  Tx event{};
  event.msgid = take(rest);
  if (dialect.result_follows_address) {
    event.result = take_last(rest);
  } else {
    event.result = take(rest);
  }
  event.address = rest;
  return event;
}

Event parse_report(std::string_view event, std::string_view rest, const Dialect& dialect) {
  if (event == "link-connect") return link_connect(rest);
  if (event == "link-greeting") return LinkGreeting{rest};
  if (event == "link-identify") {
    const std::string_view method = take(rest);
    return LinkIdentify{method, rest};
  }
  if (event == "link-tls") return link_tls(rest);
  if (event == "link-auth") return link_auth(rest, dialect);
  if (event == "link-disconnect") return LinkDisconnect{};
  if (event == "tx-begin") return TxBegin{take(rest)};
  if (event == "tx-mail") return tx_address<TxMail>(rest, dialect);
  if (event == "tx-envelope") return TxEnvelope{};
  if (event == "tx-rcpt") return tx_address<TxRcpt>(rest, dialect);
  if (event == "tx-commit") return TxCommit{take(rest)};
  if (event == "tx-rollback") return TxRollback{take(rest)};
  if (event == "tx-reset") return TxReset{take(rest)};
  if (event == "protocol-client") return ProtocolClient{rest};
  return OtherReport{};
}

}  // namespace

const Dialect& dialect_of(Version version) {
  for (const DialectRow& row : dialects) {
    if (version >= row.since) return row.dialect;
  }
  return dialects.back().dialect;
}

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
  const std::string_view kind = take(rest);
  SmtpdLine parsed{};
  if (kind == "config") {
    const std::string_view key = take(rest);
    parsed.event = Config{key, rest};
    return parsed;
  }
  const bool is_request = kind == "filter";
  if (!is_request && kind != "report") return malformed("smtpd sent a line that is none of config, report and filter");
  const auto version = parse_version(take(rest));
  if (!version) return malformed("smtpd sent a line without a protocol version");
  parsed.version = *version;
  const Dialect& dialect = dialect_of(parsed.version);
  take(rest);  // time
  const std::string_view subsystem = take(rest);
  const std::string_view event = take(rest);
  parsed.session = take(rest);
  if (!parse_hex(parsed.session, parsed.session_key)) return malformed("smtpd sent a line without a session id");
  if (!is_request) {
    parsed.event = subsystem == "smtp-in" ? parse_report(event, rest, dialect) : Event(OtherReport{});
    return parsed;
  }
  const std::string_view token = take(rest);
  if (std::uint64_t ignored = 0; !parse_hex(token, ignored)) return malformed("smtpd sent a request without a token");
  if (event == "data-line") parsed.event = DataLine{token, rest};
  else if (event == "commit") parsed.event = Commit{token};
  else if (event == "rcpt-to") parsed.event = RcptTo{token, rest};
  else parsed.event = OtherRequest{event, token};
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
