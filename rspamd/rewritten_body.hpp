// The body that rspamd puts in place of a message's own (what follows Message-Offset in its reply), as it arrives. It becomes a
// message without header section, beginning with the empty line, its lines ended by CRLF whatever ends them here: LF or CRLF.
// A lone CR is a byte like others, as in a message from smtpd.
//
// A body with a line that smtpd could not take back, or would cut (at a NUL), is no body: a part of it is not the one rspamd
// meant.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "mail/message.hpp"

namespace mailbridge::rspamd {

struct BodyBounds {
  std::shared_ptr<mail::Budget> budget;
  std::size_t max_size;
  std::size_t max_line;  // dot-stuffed, without its line end
};

class RewrittenBody {
 public:
  explicit RewrittenBody(BodyBounds bounds);

  void append(std::string_view bytes);

  // At the end of the reply, once.
  Result<std::shared_ptr<mail::Message>> finish();

 private:
  void end_line();
  void broken(Errc code, std::string what);

  BodyBounds bounds_;
  std::shared_ptr<mail::Message> message_;  // until it is broken
  Fault fault_{};
  std::size_t size_ = 0;
  std::string line_;  // the beginning of a line whose end has not come
};

}  // namespace mailbridge::rspamd
