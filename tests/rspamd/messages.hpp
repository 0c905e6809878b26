// Messages to scan, and what a server gets of them.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "mail/message.hpp"

namespace mailbridge::rspamd {

inline std::shared_ptr<const mail::Message> message_of(std::size_t lines) {
  auto message = std::make_shared<mail::Message>();
  message->append_line("Subject: lines");
  message->append_line("");
  for (std::size_t i = 0; i < lines; ++i) message->append_line("line " + std::to_string(i));
  return message;
}

inline std::string bytes_of(const mail::Message& message) {
  std::string bytes;
  while (bytes.size() < message.size()) bytes += message.from(bytes.size());
  return bytes;
}

}  // namespace mailbridge::rspamd
