// Makes a message of standard input. LF and CRLF are line ends, and a last line without one gets one. All other bytes stay as
// they are: NUL, 8-bit bytes and long lines; a bare CR stays as well, unless it is to become a blank.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "mail/message.hpp"

namespace mailbridge::agent {

class Input {
 public:
  explicit Input(std::shared_ptr<mail::Budget> budget = mail::Message::unlimited(), bool blank_bare_cr = false)
      : message_(std::make_shared<mail::Message>(std::move(budget))), blank_bare_cr_(blank_bare_cr) {}

  void feed(std::string_view bytes);
  // To be called at the end of the input. The message may have failed().
  std::shared_ptr<mail::Message> finish();

 private:
  void take(std::string_view line);

  std::shared_ptr<mail::Message> message_;
  bool blank_bare_cr_;
  std::string unfinished_;  // the beginning of a line whose LF has not come
};

}  // namespace mailbridge::agent
