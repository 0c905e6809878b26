// What the filter asks the mail store: whether a recipient has a mailbox that takes the message, and to deliver a message. The
// engine orders it, wires/mailboxes.hpp carries it out. Both are named by ids that are never used twice, so a result that nobody
// waits for any more is no error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/conversation.hpp"
#include "lmtp/client.hpp"

namespace mailbridge::recipients {

using LookupId = std::uint64_t;
using DeliveryId = std::uint64_t;

enum class Mailbox {
  known,
  unknown,
  full,
  full_for_now,  // by a temporary answer, which is never made a lasting one
  too_large,     // the message, for what is left or for any mailbox of that server
  unsure,        // a temporary answer, or none
};

// What an answer says about the mailbox. It is unsure unless it is understood: temporary, or permanent for another reason than
// the mailbox, which is the server's trouble with us.
struct Found {
  Mailbox mailbox;
  std::string why = {};  // when unsure
  bool ours = false;     // of that: for the lack of something of ours nobody was asked
};

// "550 5.1.1 no such user"
std::string text_of(const lmtp::Reply& reply);

// By a refusal's code and enhanced code (empty: none was given).
Mailbox mailbox_of(int code, std::string_view enhanced);

// To RCPT, in a probe.
Found found(const lmtp::Outcome& outcome);

// Answered by Engine::lookup_finished(), by `until` at the latest.
struct StartLookup {
  LookupId id;
  std::string recipient;
  std::size_t size;  // of the message, in bytes; 0 when that is not known
  TimePoint until;
};

// The LMTP transaction that asks about all of these (at least one), and how long it may take: until the last of them is late. Its
// outcomes are in the order of `lookups`.
struct Probe {
  lmtp::Transaction transaction;
  lmtp::Patience patience;
};
Probe probe_for(const std::vector<StartLookup>& lookups);

// Answered by Engine::delivery_finished(), by `reply_by` at the latest.
struct StartDelivery {
  DeliveryId id;
  lmtp::Transaction transaction;
  TimePoint dot_by;    // the dot leaves before this or never
  TimePoint reply_by;  // the dot's replies are waited for until this
};

// Before the dot it means that nothing is delivered; from then on it is not obeyed. An answer comes in either case.
struct CancelDelivery {
  DeliveryId id;
};

}  // namespace mailbridge::recipients
