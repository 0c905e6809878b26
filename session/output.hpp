// What is to be written to smtpd: answers at once, messages in windows of 64 KiB made from the message itself, one message after
// the other. A long message lets the others go first after each MiB.
//
// A line goes in as a whole or not at all: when memory runs out, std::bad_alloc is thrown and nothing of the line is there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "mail/message.hpp"
#include "smtpd/events.hpp"

namespace mailbridge::session {

class Output {
 public:
  Output();

  // We register, before anything else is said. `recipients`: for rcpt-to, too. This needs no memory.
  void registrations(bool recipients);

  // "KIND|SESSION|TOKEN|WHAT" and `text`, in the order that the version wants.
  void answer(std::string_view kind, smtpd::Version version, std::string_view session, std::string_view token,
              std::string_view what, std::string_view text = {});

  // The message goes back as data-lines: `head`, then `message` from byte `from` on, then ".". All lines end in CRLF.
  void message(std::uint64_t session_key, smtpd::Version version, std::string_view session, std::string_view token,
               std::string head, std::shared_ptr<const mail::Message> message, std::size_t from);

  // Drops what is not written yet of the session's message.
  void drop(std::uint64_t session_key);

  // What is to be written next; empty when there is nothing. Valid until the next call of any other member. `lost` is told of a
  // message that could not be read to its end, before its ".".
  std::string_view window(const std::function<void(std::uint64_t session_key, const mail::Message&)>& lost);
  // The first `n` bytes of the window have been written.
  void written(std::size_t n);

 private:
  struct OutgoingMessage {
    std::uint64_t session_key;
    std::string prefix;  // of each line
    std::string head;
    std::size_t head_offset;
    std::shared_ptr<const mail::Message> message;
    std::size_t offset;
    std::size_t turn = 0;  // bytes written in this turn
  };

  std::string_view next_piece(const OutgoingMessage& outgoing) const;
  bool has_room() const;
  void append_lines(OutgoingMessage& outgoing, std::string_view piece);
  void end(const OutgoingMessage& outgoing);

  std::string out_;
  std::size_t out_from_ = 0;  // what is before has been written
  std::list<OutgoingMessage> messages_;
};

}  // namespace mailbridge::session
