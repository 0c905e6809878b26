// What of a message the client wrote. smtpd's own trace comes first (smtp_session.c, smtp_message_begin):
//
//   [X-Spam: Yes]   Received: from …   \tby … id …   [\tfor <…>;]   \tDATE
//
// and its last line follows the one that ends in ';'. A first line of the client's that begins with a blank continues that trace:
// smtpd refuses it when there is no filter, since 7.5, and does not see it when there is one. What the client writes, smtpd
// counts against its max-message-size, with one byte for each line end. A line with which that is exceeded, and all further ones,
// it keeps to itself; then it ends the message as usual, and refuses it after the filter has spoken.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace mailbridge::policy {

class ClientPart {
 public:
  // As smtpd sends it, without unstuffing.
  void line(std::string_view line) {
    if (where_ != Where::client) {
      if (is_trace(line)) return;
    } else if (size_ == 0) {
      continues_trace_ = line.starts_with(' ') || line.starts_with('\t');
    }
    size_ += line.size() + 1;
    longest_ = std::max(longest_, line.size());
  }

  // With nothing of the client's below a whole trace. What began otherwise is not smtpd's alone.
  bool empty() const { return size_ == 0 && (where_ == Where::client || where_ == Where::start); }

  // Its first line would be a part of smtpd's own Received field.
  bool continues_trace() const { return continues_trace_; }

  // True if smtpd has probably kept a line to itself: what is left of its limit is less than an ordinary line, or than the
  // longest that came.
  bool may_be_cut(std::size_t limit) const {
    constexpr std::size_t ordinary_line = 998;  // RFC 5322 2.1.1
    return lacks(std::min(longest_, ordinary_line), limit);
  }

  // True unless it is certain that all has come: smtpd takes lines of 65,534 bytes (SMTP_LINE_MAX).
  bool could_be_cut(std::size_t limit) const { return lacks(65'534, limit); }

 private:
  enum class Where { start, trace, date, client };

  // True if another line of this size would have been too much.
  bool lacks(std::size_t line, std::size_t limit) const { return size_ <= limit && size_ + line + 1 > limit; }

  bool is_trace(std::string_view line) {
    const bool marked = where_ == Where::start && line == "X-Spam: Yes";
    const bool not_yet = where_ == Where::date && line.starts_with("\tfor <");  // the line before ended with somebody's name
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
