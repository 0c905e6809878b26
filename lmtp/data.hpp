// A mail as it crosses the wire after DATA (RFC 5321 4.1.1.4, 4.5.2): LF and CRLF are line ends and become CRLF, a dot is stuffed
// where a line begins with one, the last line is ended. Everything else is data and untouched: a bare CR, NUL, 8-bit, long lines.
//
// Dovecot 2.3 takes LF.LF for the end as well, so a dot that follows any LF is stuffed, whatever stands before that LF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mailbridge::lmtp {

class DataEncoder {
 public:
  static constexpr std::size_t default_window = 65536;  // a mail of any size is encoded through this much memory

  // `mail` must outlive the encoder. `window` is at least 4.
  explicit DataEncoder(std::string_view mail, std::size_t window = default_window) : mail_(mail), max_(window) {}

  // What is to leave next; empty at the end. The dot that ends the data is not part of it. Valid until the next call.
  std::string_view window() {
    if (left_ == encoded_.size()) fill();
    return std::string_view(encoded_).substr(left_);
  }
  void consume(std::size_t n) { left_ += n; }

 private:
  void fill();

  std::string_view mail_;
  std::size_t max_;
  std::size_t at_ = 0;  // in mail_
  bool line_begins_ = true;
  std::string encoded_;
  std::size_t left_ = 0;  // bytes of encoded_ that have left
};

// Bytes of the mail with CRLF line ends, stuffed dots not counted: the value of SIZE= (RFC 1870 5).
std::size_t wire_size(std::string_view mail);

}  // namespace mailbridge::lmtp
