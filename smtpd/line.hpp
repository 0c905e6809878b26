// smtpd's filter line protocol, one line at a time (smtpd-filters(7); differences between versions: lka_filter.c).
//
//   config|KEY|VALUE
//   report|VERSION|SEC.USEC|SUBSYSTEM|EVENT|SESSION[|…]
//   filter|VERSION|SEC.USEC|SUBSYSTEM|PHASE|SESSION|TOKEN|…
//
// Fields are never escaped; only the last one may hold '|'. Views point into the line.
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

// What smtpd replies to a client, when the line is a protocol-server report. There are a dozen of these for each mail, nearly all
// of no use, so they are told apart without parse_line().
std::optional<std::string_view> reply_in(std::string_view line);

// smtpd's limit of a message's size in bytes, from a line of its reply to EHLO; none when the line is another.
std::optional<std::size_t> size_limit_in(std::string_view reply);

// The SIZE= of a MAIL command (RFC 1870), in bytes; 0 when there is none, or it is no such command.
std::size_t announced_size(std::string_view command);

// Malformed lines are Faults; unknown keys and events are not.
Result<SmtpdLine> parse_line(std::string_view line);

// Nearly all lines are data-lines, and those of one message differ in their time and text only: the fields of the last one are
// recognised as bytes, which takes a third of the time of reading them.
class RepeatedDataLine {
 public:
  void remember(const SmtpdLine& line, const DataLine& event);

  // The event, when `line` has the fields of the remembered one: what parse_line() would say. Views point into this and the line.
  std::optional<DataLine> match(std::string_view line) const;
  std::uint64_t session_key() const { return session_key_; }

 private:
  std::string before_time_;  // "filter|0.7|"
  std::string after_time_;   // "|smtp-in|data-line|SESSION|TOKEN|"
  std::string token_;
  std::uint64_t session_key_ = 0;
};

// The most that the last field of a filter-dataline may hold: beyond it smtpd's lookup process spins for ever (its input buffer
// has 65,536 bytes, the prefix up to 50).
inline constexpr std::size_t max_dataline = 65485;
// What smtpd before protocol 0.7 leaves of a line we send.
inline constexpr std::size_t cut_dataline = 1997;

// "filter-dataline|SESSION|TOKEN|" and "filter-result|SESSION|TOKEN|", in the order the version wants.
void append_answer_prefix(std::string& out, std::string_view kind, const Dialect& dialect, std::string_view session,
                          std::string_view token);

}  // namespace mailbridge::smtpd
