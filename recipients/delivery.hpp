// Delivery in the session, while the client waits: what the mail store's answers mean for the client, and for the copy that smtpd
// queues. The engine decides when to deliver, and which recipients.
//
//   recipients                   the client    smtpd's queue
//   some or all have the mail    proceed       the whole message, with the mark
//   each was refused             the refusal   nothing
//   otherwise                    proceed       the whole message: an agent tries again
//
// A recipient counts as refused if the server's reply is about the recipient or the mail. A reply about the server or the
// connection counts like no reply. If no reply to the final dot came, nobody knows whether the mail was delivered, and the
// recipient is served again: two copies are better than none.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/conversation.hpp"
#include "lmtp/client.hpp"
#include "lmtp/mark.hpp"

namespace mailbridge::recipients {

struct DeliverySettings {
  lmtp::MarkKeys keys;
  Duration timeout{};  // from the verdict to the last reply; the dot leaves in the first half, or never
};

enum class DeliveryStatus {
  delivered,
  refused,   // permanently
  deferred,  // temporarily
  failed,    // the server failed, or could not be reached: nothing was delivered
  unknown,   // the final dot has left, and no reply came
};

std::string_view to_string(DeliveryStatus status);
DeliveryStatus status_of(const lmtp::Outcome& outcome);

// The refusal that the client gets: the server's codes with our own words, because the server's words name its users.
std::string refusal_of(const lmtp::Reply& reply);

struct Conclusion {
  std::vector<DeliveryStatus> statuses;  // of each recipient, in their order
  std::size_t delivered = 0;             // how many recipients
  std::string refusal;                   // if each recipient was refused; permanent only if each refusal was
  bool failed = false;                   // at least one recipient has this status
  bool unknown = false;                  // at least one recipient has this status
  bool silent = false;                   // no server could be reached, or none answered
  bool ours = false;                     // no server was asked, because this host lacked descriptors or memory
  const lmtp::Outcome* worst = nullptr;  // of a recipient who has not got the mail, for the log
};

// After the mail store was silent, no message is delivered for this long. Then one message at a time tries it, until it answers.
// Otherwise each client would wait for its own timeout.
inline constexpr Duration pause_when_silent = std::chrono::seconds(5);

// `outcomes` has one outcome for each recipient, in their order. A recipient without one counts as unknown.
Conclusion conclude(std::size_t recipients, const std::vector<lmtp::Outcome>& outcomes);

}  // namespace mailbridge::recipients
