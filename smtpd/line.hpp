// smtpd's filter line protocol, one line at a time (smtpd-filters(7); differences between versions: lka_filter.c).
//
//   config|KEY|VALUE
//   report|VERSION|SEC.USEC|SUBSYSTEM|EVENT|SESSION[|…]
//   filter|VERSION|SEC.USEC|SUBSYSTEM|PHASE|SESSION|TOKEN|…
//
// Fields are never escaped; only the last one may hold '|'. Views point into the line.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.hpp"

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
  std::string_view method, name;  // HELO or EHLO
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
struct OtherRequest {
  std::string_view phase, token;
};  // a phase that we have not registered for

struct Config {
  std::string_view key, value;
};

using Event =
    std::variant<Config, LinkConnect, LinkGreeting, LinkIdentify, LinkTls, LinkAuth, LinkDisconnect, TxBegin, TxMail, TxEnvelope,
                 TxRcpt, TxCommit, TxRollback, TxReset, ProtocolClient, OtherReport, DataLine, Commit, RcptTo, OtherRequest>;

struct SmtpdLine {
  Version version;           // not for Config
  std::string_view session;  // as smtpd writes it: 1 to 16 hex digits
  std::uint64_t session_key = 0;
  Event event;
};

// The reply of smtpd to its client, if the line is a protocol-server report. smtpd reports a dozen replies for each mail, and
// nearly all are of no use, so they are recognised without parse_line().
std::optional<std::string_view> reply_in(std::string_view line);

// The SIZE= of a MAIL command (RFC 1870), in bytes. 0 if there is none, or if it is another command.
std::size_t announced_size(std::string_view command);

// A malformed line is a Fault. An unknown key or event is not.
Result<SmtpdLine> parse_line(std::string_view line);

// Recognises the fields of the last data-line as bytes. Nearly all lines are data-lines, and those of one message differ only in
// their time and text; comparing takes a third of the time of parsing.
class RepeatedDataLine {
 public:
  void remember(const SmtpdLine& line, const DataLine& event);

  // The event that parse_line() would give, if `line` has the fields of the remembered line. Views point into this object and the
  // line.
  std::optional<DataLine> match(std::string_view line) const;
  std::uint64_t session_key() const { return session_key_; }

 private:
  std::string before_time_;  // "filter|0.7|"
  std::string after_time_;   // "|smtp-in|data-line|SESSION|TOKEN|"
  std::string token_;
  std::uint64_t session_key_ = 0;
};

// The most bytes that the last field of a filter-dataline may hold. With one byte more smtpd's lookup process spins for ever: its
// input buffer has 65,536 bytes, and the prefix up to 50.
inline constexpr std::size_t max_dataline = 65485;
// smtpd before protocol 0.7 cuts each line that we send to this many bytes.
inline constexpr std::size_t cut_dataline = 1997;

// "filter-dataline|SESSION|TOKEN|" and "filter-result|SESSION|TOKEN|", in the order the version wants.
void append_answer_prefix(std::string& out, std::string_view kind, const Dialect& dialect, std::string_view session,
                          std::string_view token);

}  // namespace mailbridge::smtpd
