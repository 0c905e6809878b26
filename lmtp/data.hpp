// A mail as it crosses the wire: after DATA (RFC 5321 4.5.2) a dot is stuffed where a line begins with one; after BDAT (RFC 3030)
// every byte is as it is.
//
// Dovecot 2.3 takes LF.LF for the end of DATA as well, so a dot that follows any LF is stuffed, whatever stands before that LF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "lmtp/mail.hpp"

namespace mailbridge::lmtp {

enum class Framing { dots, chunk };

class DataEncoder {
 public:
  static constexpr std::size_t default_window = 65536;  // a mail of any size is encoded through this much memory

  // `mail` must outlive the encoder, and is not empty when it is sent as a chunk. `window` is at least 2.
  DataEncoder(const Mail& mail, Framing framing, std::size_t window = default_window)
      : mail_(mail), framing_(framing), max_(window), stop_(mail.size() - (framing == Framing::chunk ? end().size() : 0)) {}

  // What is to leave next; empty when only end() is left, and when the mail cannot be read. Valid until the next call.
  std::string_view window() {
    if (left_ == encoded_.size()) fill();
    return std::string_view(encoded_).substr(left_);
  }
  void consume(std::size_t n) { left_ += n; }

  // Whether what left is the whole mail but for end(), when window() is empty.
  bool complete() const { return at_ == stop_ && !mail_.failed(); }

  // The bytes that make the server deliver: a dot on a line of its own, or the end of the mail's last line.
  std::string_view end() const { return framing_ == Framing::chunk ? "\r\n" : ".\r\n"; }

 private:
  void fill();

  const Mail& mail_;
  Framing framing_;
  std::size_t max_;
  std::size_t stop_;    // in mail_
  std::size_t at_ = 0;  // in mail_
  bool line_begins_ = true;
  std::string encoded_;
  std::size_t left_ = 0;  // bytes of encoded_ that have left
};

}  // namespace mailbridge::lmtp
