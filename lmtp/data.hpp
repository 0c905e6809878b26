// A mail as it crosses the wire after DATA (RFC 5321 4.5.2): a dot is stuffed where a line begins with one.
//
// Dovecot 2.3 takes LF.LF for the end as well, so a dot that follows any LF is stuffed, whatever stands before that LF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "lmtp/mail.hpp"

namespace mailbridge::lmtp {

class DataEncoder {
 public:
  static constexpr std::size_t default_window = 65536;  // a mail of any size is encoded through this much memory

  // `mail` must outlive the encoder. `window` is at least 2.
  explicit DataEncoder(const Mail& mail, std::size_t window = default_window) : mail_(mail), max_(window) {}

  // What is to leave next; empty at the end, and when the mail cannot be read. The dot that ends the data is not part of it.
  // Valid until the next call.
  std::string_view window() {
    if (left_ == encoded_.size()) fill();
    return std::string_view(encoded_).substr(left_);
  }
  void consume(std::size_t n) { left_ += n; }

  // Whether what left is the whole mail, when window() is empty.
  bool complete() const { return at_ == mail_.size() && !mail_.failed(); }

 private:
  void fill();

  const Mail& mail_;
  std::size_t max_;
  std::size_t at_ = 0;  // in mail_
  bool line_begins_ = true;
  std::string encoded_;
  std::size_t left_ = 0;  // bytes of encoded_ that have left
};

}  // namespace mailbridge::lmtp
