// Delivery while the client waits: what the mail store's answers mean for the client and for the copy that smtpd queues. When it
// is done, and what with, is the engine's matter.
//
//   of the recipients            the client    smtpd's queue
//   some or all have the mail    proceed       the whole message, with the mark
//   each was refused             that answer   nothing
//   otherwise                    proceed       the whole message: an agent tries again
//
// A recipient is refused by a reply about him or the mail. Replies about the server or the connection are no more than silence.
// After silence that began behind the dot nobody knows, and the recipient is served again: better twice than not at all.
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
  Duration timeout{};  // from the verdict to the last reply; in the first half the dot leaves, or never
};

enum class Fate {
  delivered,
  refused,   // for good
  deferred,  // for now
  failed,    // the server or the way there: nothing was delivered
  unknown,   // the dot has left, and no reply came
};

std::string_view to_string(Fate fate);
Fate fate_of(const lmtp::Outcome& outcome);

// What the client is told of a refusal: the server's codes and words of ours, for its own name users.
std::string refusal_of(const lmtp::Reply& reply);

struct Conclusion {
  std::vector<Fate> fates;  // as the recipients
  std::size_t delivered = 0;
  std::string refusal;                   // when each was refused; for good only when each was for good
  bool failed = false;                   // somebody is
  bool unknown = false;                  // the same
  bool silent = false;                   // nobody is there, or nobody answers
  bool ours = false;                     // for the lack of something of ours nobody was asked
  const lmtp::Outcome* worst = nullptr;  // of one who has not got it, for the log
};

// A mail store that was silent is not tried for so long, and then by one message at a time until it answers: otherwise each
// client would wait for its own timeout.
inline constexpr Duration pause_when_silent = std::chrono::seconds(5);

// One outcome for each recipient, by index. What has none is unknown.
Conclusion conclude(std::size_t recipients, const std::vector<lmtp::Outcome>& outcomes);

}  // namespace mailbridge::recipients
