// Measures the part of a message that the client wrote. Before it stands smtpd's own trace (smtp_session.c, smtp_message_begin):
//
//   [X-Spam: Yes]   Received: from …   \tby … id …   [\tfor <…>;]   \tDATE
//
// The trace ends with the line of its date, which follows the line that ends in ';'. If the client's first line begins with a
// blank, it continues the trace. smtpd since 7.5 refuses such a message when it has no filter, and does not notice it when it has
// one.
//
// smtpd counts the client's bytes against max-message-size, with one byte for each line end. It does not pass on the line that
// exceeds the limit, nor those after it. Then it ends the message as usual, and refuses it after the filter's answer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace mailbridge::policy {

class ClientPart {
 public:
  // To be called for each line, as smtpd sends it: still stuffed.
  void line(std::string_view line) {
    if (where_ != Where::client) {
      if (is_trace(line)) return;
    } else if (size_ == 0) {
      continues_trace_ = line.starts_with(' ') || line.starts_with('\t');
    }
    size_ += line.size() + 1;
    longest_ = std::max(longest_, line.size());
  }

  // True if the client wrote nothing below a whole trace. A message that began with something else than the trace is not empty.
  bool empty() const { return size_ == 0 && (where_ == Where::client || where_ == Where::start); }

  // True if the client's first line would become a part of smtpd's own Received field.
  bool continues_trace() const { return continues_trace_; }

  // True if smtpd has probably held back a line: fewer bytes are left of its limit than an ordinary line has, or than the longest
  // line that came.
  bool may_be_cut(std::size_t limit) const {
    constexpr std::size_t ordinary_line = 998;  // RFC 5322 2.1.1
    return lacks(std::min(longest_, ordinary_line), limit);
  }

  // True unless it is certain that the whole message came. smtpd takes lines of up to 65,534 bytes (SMTP_LINE_MAX).
  bool could_be_cut(std::size_t limit) const { return lacks(65'534, limit); }

 private:
  enum class Where { start, trace, date, client };

  // True if another line of this size would have exceeded the limit.
  bool lacks(std::size_t line, std::size_t limit) const { return size_ <= limit && size_ + line + 1 > limit; }

  bool is_trace(std::string_view line) {
    const bool marked = where_ == Where::start && line == "X-Spam: Yes";
    const bool not_yet = where_ == Where::date &&
                         line.starts_with("\tfor <");  // the line before ended in ';' because of the client's name for HELO
    if (marked || not_yet) return true;
    const bool own = where_ == Where::start ? line.starts_with("Received: ") : line.starts_with('\t');
    if (!own || where_ == Where::date) {
      where_ = Where::client;
      return own;
    }
    where_ = line.ends_with(';') ? Where::date : Where::trace;
    return true;
  }

  Where where_ = Where::start;
  bool continues_trace_ = false;
  std::size_t size_ = 0;
  std::size_t longest_ = 0;
};

}  // namespace mailbridge::policy
