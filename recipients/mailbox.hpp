// What the filter asks the mail store: whether a recipient has a mailbox that takes the message, and to deliver a message. The
// engine gives these commands, and wires/mailboxes.hpp carries them out. An id is never used twice, so a result that nobody waits
// for any more does no harm.
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
  full_for_now,  // full, by a temporary answer; a permanent refusal is never made of it
  too_large,     // the message is too large for the room that is left, or for every mailbox of that server
  unsure,        // the answer was temporary, was not understood, or did not come
};

// What a server's answer says about the mailbox. It is unsure if the answer is temporary, or permanent for another reason than
// the mailbox: then something is wrong between the server and us.
struct Found {
  Mailbox mailbox;
  std::string why = {};  // if unsure: the server's words, or the failure
  bool ours = false;     // if unsure: no server was asked, because this host lacked descriptors or memory
};

// "550 5.1.1 no such user"
std::string text_of(const lmtp::Reply& reply);

// The meaning of a refusal with this code and enhanced code; `enhanced` is empty if there was none.
Mailbox mailbox_of(int code, std::string_view enhanced);

// The meaning of the outcome of a probe: a transaction that ends after RCPT.
Found found(const lmtp::Outcome& outcome);

// The command to look up a recipient. Engine::lookup_finished() gets the answer, by `until` at the latest.
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

// The command to deliver a message. Engine::delivery_finished() gets the answer, by `reply_by` at the latest.
struct StartDelivery {
  DeliveryId id;
  lmtp::Transaction transaction;
  TimePoint dot_by;    // the final dot leaves before this time or never
  TimePoint reply_by;  // the replies to the dot are waited for until this time
};

// The command to give up a delivery. Before the dot nothing is delivered then. After the dot it is ignored.
// Engine::delivery_finished() gets an answer in either case.
struct CancelDelivery {
  DeliveryId id;
};

}  // namespace mailbridge::recipients
