// smtpd's filter line protocol, one line at a time (smtpd-filters(7); differences between versions: lka_filter.c).
//
//   config|KEY|VALUE
//   report|VERSION|SEC.USEC|SUBSYSTEM|EVENT|SESSION[|…]
//   filter|VERSION|SEC.USEC|SUBSYSTEM|PHASE|SESSION|TOKEN|…
//
// Fields are not escaped, and one of them may hold '|' (smtpd/events.hpp). Views point into the line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "smtpd/events.hpp"

namespace mailbridge::smtpd {

struct SmtpdLine {
  Version version;           // not for Config
  std::string_view session;  // as smtpd writes it: 1 to 16 hex digits
  std::uint64_t session_key = 0;
  Event event;
};

// The reply of smtpd to its client, if the line is a protocol-server report. smtpd reports a dozen replies for each mail, and
// nearly all are of no use, so they are recognised without parse_line().
std::optional<std::string_view> reply_in(std::string_view line);

// smtpd's limit of a message's size in bytes, from a line of its reply to EHLO. None if the line is another.
std::optional<std::size_t> size_limit_in(std::string_view reply);

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

// The most bytes that the last field of a filter-dataline may hold. With one byte more smtpd's process lka spins for ever: its
// input buffer has 65,536 bytes, and the prefix up to 50.
inline constexpr std::size_t max_dataline = 65485;
// smtpd before protocol 0.7 cuts each line that we send to this many bytes.
inline constexpr std::size_t cut_dataline = 1997;

// "filter-dataline|SESSION|TOKEN|" and "filter-result|SESSION|TOKEN|", in the order the version wants.
void append_answer_prefix(std::string& out, std::string_view kind, const Dialect& dialect, std::string_view session,
                          std::string_view token);

}  // namespace mailbridge::smtpd
