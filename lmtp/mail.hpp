// What an LMTP transaction delivers: bytes of our own, then a message or the end of one. All of it lines ended by CRLF.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "mail/message.hpp"

namespace mailbridge::lmtp {

struct Mail {
  std::string head;                              // goes in front of the message
  std::shared_ptr<const mail::Message> message;  // none: `head` is all. It must not change any more
  std::size_t from = 0;                          // of the message; where a line begins

  // On the wire but for stuffed dots: what SIZE= (RFC 1870 5) and BDAT count.
  std::size_t size() const { return head.size() + (message ? message->size() - from : 0); }

  // The message could not be kept or cannot be read: what bytes() gives is not all of it.
  bool failed() const { return message && message->failed(); }

  // The bytes from `offset` on, or a first part of them; empty at the end, and when the message cannot be read.
  // Valid until the next call.
  std::string_view bytes(std::size_t offset) const {
    if (offset < head.size()) return std::string_view(head).substr(offset);
    return message ? message->from(from + offset - head.size()) : std::string_view();
  }
};

}  // namespace mailbridge::lmtp
