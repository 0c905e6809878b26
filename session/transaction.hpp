// What is known of an SMTP session and of its transaction.
//
// A transaction is in one of six phases. The table has the next phase after each event. An empty cell: nothing happens, or smtpd
// never sends this event then.
//
//   event:     data-line   "."    scan ended       room known         delivery ended   commit        end of the transaction ***
//   phase
//   envelope   data        scan                                                        answered *    envelope
//   data       data        scan                                                        answered *    envelope
//   scan                          room, answered   scan, answered **                   answered *    envelope
//   room                                           room, delivery,                     answered *    envelope
//                                                  answered
//   delivery                                                          answered         answered *    envelope
//   answered                                                                           answered      envelope
//
//    *  refused for now: smtpd asks for its commit only after our ".", so this is not to be expected
//   **  when none of the recipients has room for it
//  ***  reported by tx-commit, tx-rollback and tx-reset, and by what begins anew: tx-begin, link-connect, link-disconnect
//
// A phase in which there is nothing to wait for ends at once: a message that is not scanned leaves `scan` as it enters it, one
// about whose room nobody is asked leaves `room`.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/conversation.hpp"
#include "base/note.hpp"
#include "mail/envelope.hpp"
#include "mail/message.hpp"
#include "policy/client_part.hpp"
#include "policy/decision.hpp"
#include "recipients/mailbox.hpp"
#include "session/scan_queue.hpp"
#include "smtpd/events.hpp"

namespace mailbridge::session {

enum class Phase {
  envelope,  // recipients come
  data,      // lines of the message come
  scan,      // the message is there, and its verdict is waited for
  room,      // it is to pass, and we wait for what Dovecot says about room for it
  delivery,  // the mail store has been given it
  answered,  // our "." is on its way, or has left; or smtpd's commit was refused without one
};

// False where the table above has no such step.
constexpr bool may_follow(Phase phase, Phase next) {
  if (next == Phase::envelope || next == Phase::answered) return true;
  if (next == Phase::scan) return phase == Phase::envelope || phase == Phase::data;
  return static_cast<int>(next) == static_cast<int>(phase) + 1;
}

struct Transaction {
  Phase phase = Phase::envelope;
  std::string msgid;
  std::string sender;
  std::vector<std::string> recipients;       // that smtpd has accepted
  std::size_t announced = 0;                 // bytes of the message, as the client says; 0 when it does not say
  std::size_t envelopes = 0;                 // tx-envelope reports since the last tx-rcpt
  bool expanded = false;                     // smtpd has made several envelopes of one recipient
  std::unordered_set<std::string> verified;  // who has a mailbox that takes the message, accepted by smtpd or not
  std::size_t unverified = 0;                // recipients in verified domains of whom nobody could tell
  std::unordered_set<std::string> full;      // recipients whose mailbox has no room for what has come
  bool full_for_now = false;                 // at least one of these only for now
  std::size_t asked_for_room = 0;            // questions about room that have no answer yet
  std::string data_token;
  std::shared_ptr<mail::Message> message;  // while lines come and until it is answered
  std::size_t size = 0;                    // in bytes, with CRLF
  policy::ClientPart client_part;
  std::size_t longest = 0;                   // line in bytes, as it leaves
  std::string_view unfit;                    // why it is refused without a scan; empty: nothing speaks against it
  std::optional<ScanId> scan;                // that waits or is under way
  std::optional<TimePoint> scan_wanted;      // when it was queued first
  std::optional<policy::Decision> decision;  // how it is accepted; from `room` on
  std::optional<recipients::DeliveryId> delivery;
  std::size_t delivered = 0;  // recipients that have it already
  policy::Enforcement enforcement = policy::Enforcement::all;
  std::string settings_id;  // rspamd's, by class; empty: rspamd chooses
  std::string refusal;      // once answered; empty: proceed
  std::string log;          // the fields of its log line so far; empty until all of the message is there
  Level log_level = Level::info;

  void enter(Phase next) {
    assert(may_follow(phase, next));
    phase = next;
  }
  bool is_complete() const { return phase >= Phase::scan; }
  bool is_answered() const { return phase == Phase::answered; }
};

struct Session {
  std::uint64_t key = 0;
  std::string id;  // as smtpd writes it
  smtpd::Version version;
  mail::Envelope client;      // the client's part only
  std::string listener;       // as link-connect names it
  bool completed = false;     // smtpd adds a missing Date and Message-ID on this listener
  std::size_t announced = 0;  // SIZE= of the last MAIL, in bytes
  std::size_t unknown = 0;    // recipients in this session
  std::size_t refused = 0;    // recipients in this session
  std::string left_to_smtpd;  // the last unknown recipient that we did not refuse
  Transaction tx;
};

// By SmtpdLine::session_key.
using Sessions = std::unordered_map<std::uint64_t, Session>;

inline mail::Envelope envelope_of(const Session& session) {
  mail::Envelope envelope = session.client;
  envelope.sender = session.tx.sender;
  envelope.recipients = session.tx.recipients;
  envelope.queue_id = session.tx.msgid;
  return envelope;
}

}  // namespace mailbridge::session
