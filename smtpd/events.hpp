// What smtpd tells a filter and asks of it (smtpd-filters(7)). The table in events.cpp has each event, how it is read, and when
// we register for it.
//
// Views point into the line. Fields are not escaped. One field of an event may hold '|'; events.cpp knows which.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace mailbridge::smtpd {

struct Version {
  unsigned major = 0;
  unsigned minor = 0;
  auto operator<=>(const Version&) const = default;
};

// What differs between protocol versions, in one place.
struct Dialect {
  bool answers_token_first;     // filter-result|TOKEN|SESSION, not SESSION|TOKEN
  bool result_follows_address;  // tx-mail|msgid|address|result, not msgid|result|address
  bool result_follows_user;     // link-auth|user|result, not result|user
  bool cuts_long_lines;         // smtpd cuts the lines we send to 1,997 bytes
};
const Dialect& dialect_of(Version version);

// Reports. Fields stand as on the wire.
struct LinkConnect {
  std::string_view rdns, fcrdns, src, dest;
};
struct LinkGreeting {
  std::string_view hostname;
};
struct LinkIdentify {
  std::string_view method;  // HELO or EHLO
  std::string_view name;
};
struct LinkTls {
  std::string_view version, cipher;
};
struct LinkAuth {
  std::string_view result, user;
};
struct LinkDisconnect {};
struct TxBegin {
  std::string_view msgid;
};
struct TxMail {
  std::string_view msgid, result, address;
};
struct TxEnvelope {};  // smtpd reports each envelope that it makes of a recipient, before that recipient's tx-rcpt
struct TxRcpt {
  std::string_view msgid, result, address;
};
struct TxCommit {
  std::string_view msgid;
};
struct TxRollback {
  std::string_view msgid;
};
struct TxReset {
  std::string_view msgid;
};
struct ProtocolClient {
  std::string_view command;
};
struct OtherReport {};  // an event that we do not use, or an event of another subsystem

// Requests. smtpd wants exactly one answer to each, with one exception: all data-lines of a message together are answered by our
// data-lines.
struct DataLine {
  std::string_view token, line;
};
struct Commit {
  std::string_view token;
};
struct RcptTo {
  std::string_view token, address;  // what stands between '<' and '>'
};
// A phase that we have not registered for.
struct OtherRequest {
  std::string_view phase, token;
};

struct Config {
  std::string_view key, value;
};

using Event =
    std::variant<Config, LinkConnect, LinkGreeting, LinkIdentify, LinkTls, LinkAuth, LinkDisconnect, TxBegin, TxMail, TxEnvelope,
                 TxRcpt, TxCommit, TxRollback, TxReset, ProtocolClient, OtherReport, DataLine, Commit, RcptTo, OtherRequest>;

// A report of smtp-in by its name, from what follows the session id; OtherReport when the table does not have it.
Event read_report(std::string_view name, std::string_view rest, const Dialect& dialect);

// A request by its phase, from what follows the session id. Nothing when the token is missing or is no hexadecimal number.
std::optional<Event> read_request(std::string_view phase, std::string_view rest);

// The lines that register for all events we use, "register|ready" last. `recipients`: tx-envelope, protocol-client
// and rcpt-to as well.
void append_registrations(std::string& out, bool recipients);

// "7.8.0", "6.8.0p2-portable", as config|smtpd-version has it. False when that is no version.
bool is_since(std::string_view smtpd_version, Version since);

// The text up to the next '|', which is taken away from `rest`; all of it when there is none.
std::string_view take_field(std::string_view& rest);

// At most 16 hexadecimal digits.
std::optional<std::uint64_t> parse_id(std::string_view text);

}  // namespace mailbridge::smtpd
