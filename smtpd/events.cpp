#include "smtpd/events.hpp"

#include <array>
#include <charconv>

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

// The text after the last '|', which is taken away.
std::string_view take_last(std::string_view& rest) {
  const std::size_t bar = rest.rfind('|');
  const std::string_view field = rest.substr(bar == std::string_view::npos ? 0 : bar + 1);
  rest = rest.substr(0, bar == std::string_view::npos ? 0 : bar);
  return field;
}

// ---- how the fields of an event are read

template <class E>
Event nothing(std::string_view, const Dialect&) {
  return E{};
}
template <class E>
Event all(std::string_view rest, const Dialect&) {
  return E{rest};
}
template <class E>
Event first(std::string_view rest, const Dialect&) {
  return E{take_field(rest)};
}
template <class E>
Event first_and_rest(std::string_view rest, const Dialect&) {
  const std::string_view field = take_field(rest);
  return E{field, rest};
}

// From the right, for the PTR name may hold anything.
Event link_connect(std::string_view rest, const Dialect&) {
  LinkConnect event{};
  event.dest = take_last(rest);
  event.src = take_last(rest);
  event.fcrdns = take_last(rest);
  event.rdns = rest;
  return event;
}

// TLSv1.3:TLS_AES_256_GCM_SHA384:256
Event link_tls(std::string_view rest, const Dialect&) {
  LinkTls event{};
  const std::size_t colon = rest.find(':');
  event.version = rest.substr(0, colon);
  if (colon != std::string_view::npos) event.cipher = rest.substr(colon + 1, rest.find(':', colon + 1) - colon - 1);
  return event;
}

Event link_auth(std::string_view rest, const Dialect& dialect) {
  LinkAuth event{};
  event.result = dialect.result_follows_user ? take_last(rest) : take_field(rest);
  event.user = rest;
  return event;
}

template <class E>
Event address_and_result(std::string_view rest, const Dialect& dialect) {
  E event{};
  event.msgid = take_field(rest);
  event.result = dialect.result_follows_address ? take_last(rest) : take_field(rest);
  event.address = rest;
  return event;
}

// ---- the table

enum class Kind { report, request };
enum class Registered { always, for_recipients };
struct Row {
  Registered registered;
  Kind kind;
  std::string_view name;
  Event (*read)(std::string_view rest, const Dialect& dialect);  // `rest` is what follows the session id
};

// In the order in which we register.
constexpr std::array<Row, 18> events = {{
    {Registered::always, Kind::report, "link-connect", link_connect},
    {Registered::always, Kind::report, "link-greeting", all<LinkGreeting>},
    {Registered::always, Kind::report, "link-identify", first_and_rest<LinkIdentify>},
    {Registered::always, Kind::report, "link-tls", link_tls},
    {Registered::always, Kind::report, "link-auth", link_auth},
    {Registered::always, Kind::report, "link-disconnect", nothing<LinkDisconnect>},
    {Registered::always, Kind::report, "tx-begin", first<TxBegin>},
    {Registered::always, Kind::report, "tx-mail", address_and_result<TxMail>},
    {Registered::always, Kind::report, "tx-rcpt", address_and_result<TxRcpt>},
    {Registered::always, Kind::report, "tx-commit", first<TxCommit>},
    {Registered::always, Kind::report, "tx-rollback", first<TxRollback>},
    {Registered::always, Kind::report, "tx-reset", first<TxReset>},
    {Registered::always, Kind::report, "protocol-server", nothing<OtherReport>},  // reply_in() has read it before
    {Registered::always, Kind::request, "data-line", first_and_rest<DataLine>},
    {Registered::always, Kind::request, "commit", first<Commit>},
    {Registered::for_recipients, Kind::report, "tx-envelope", nothing<TxEnvelope>},
    {Registered::for_recipients, Kind::report, "protocol-client", all<ProtocolClient>},  // the only place where SIZE= is told
    {Registered::for_recipients, Kind::request, "rcpt-to", first_and_rest<RcptTo>},
}};

const Row* find(Kind kind, std::string_view name) {
  for (const Row& row : events) {
    if (row.kind == kind && row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace

const Dialect& dialect_of(Version version) {
  for (const DialectRow& row : dialects) {
    if (version >= row.since) return row.dialect;
  }
  return dialects.back().dialect;
}

Event read_report(std::string_view name, std::string_view rest, const Dialect& dialect) {
  const Row* row = find(Kind::report, name);
  return row ? row->read(rest, dialect) : OtherReport{};
}

std::optional<Event> read_request(std::string_view phase, std::string_view rest) {
  std::string_view after = rest;
  const std::string_view token = take_field(after);
  if (!parse_id(token)) return std::nullopt;
  const Row* row = find(Kind::request, phase);
  return row ? row->read(rest, dialects.front().dialect) : OtherRequest{phase, token};
}

void append_registrations(std::string& out, bool recipients) {
  for (const Row& row : events) {
    if (row.registered == Registered::for_recipients && !recipients) continue;
    out.append("register|")
        .append(row.kind == Kind::report ? "report" : "filter")
        .append("|smtp-in|")
        .append(row.name)
        .append("\n");
  }
  out.append("register|ready\n");
}

bool is_since(std::string_view smtpd_version, Version since) {
  const char* const end = smtpd_version.data() + smtpd_version.size();
  Version is;
  const auto [dot, error] = std::from_chars(smtpd_version.data(), end, is.major);
  if (error != std::errc() || dot == end) return false;
  std::from_chars(dot + 1, end, is.minor);
  return is >= since;
}

std::string_view take_field(std::string_view& rest) {
  const std::size_t bar = rest.find('|');
  const std::string_view field = rest.substr(0, bar);
  rest.remove_prefix(bar == std::string_view::npos ? rest.size() : bar + 1);
  return field;
}

std::optional<std::uint64_t> parse_id(std::string_view text) {
  std::uint64_t value = 0;
  if (text.empty() || text.size() > 16) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace mailbridge::smtpd
