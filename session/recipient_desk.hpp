// Recipients: what is said about each at RCPT, what becomes of a session or a client that guesses, and whether there is room for
// the message that has come.
//
//   question at RCPT   asked() ──► Verifier ──► Tarpit ──► the answer for smtpd, at its time
//   question of room   ask_for_room() ──► Verifier ──► next()
//
// Each question at RCPT is answered once and by its deadline, even when its session is gone: smtpd minds no answer for a session
// that is gone, but waits for ever for one that does not come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/conversation.hpp"
#include "recipients/mailbox.hpp"
#include "recipients/tarpit.hpp"
#include "recipients/verifier.hpp"
#include "session/shared.hpp"
#include "smtpd/events.hpp"

namespace mailbridge::session {

class RecipientDesk {
 public:
  // `shared` must outlive it. `random`: see Verifier.
  RecipientDesk(Shared& shared, std::uint64_t random) : shared_(shared), verifier_(random) {}
  RecipientDesk(const RecipientDesk&) = delete;
  RecipientDesk& operator=(const RecipientDesk&) = delete;

  // Takes over settings that have changed. What is known of recipients stays.
  void use();

  // smtpd asks about a recipient. Throws std::bad_alloc, and then the question was not taken.
  void asked(const Session& session, const smtpd::RcptTo& event, TimePoint now);
  // smtpd tells what it says to the client about a recipient.
  void told(Session& session, const smtpd::TxRcpt& event, TimePoint now);

  // Asks about each verified recipient of the message, now that its size is known. Transaction::asked_for_room counts the
  // questions.
  void ask_for_room(Session& session, TimePoint now);
  // Nobody wants to know about room for the session's message any more.
  void forget_room(Session& session);

  // `why` is for the log, when it is unsure. `ours`: see recipients::Found.
  void lookup_finished(recipients::LookupId id, recipients::Mailbox mailbox, std::string_view why, TimePoint now, bool ours);
  // What is past its deadline is given up.
  void tick(TimePoint now);
  // Sends the answers whose delay is over.
  void answer_slowed(TimePoint now);
  std::optional<TimePoint> next_deadline() const;

  struct Room {
    std::uint64_t session_key;
    std::string address;
    recipients::Mailbox mailbox;
  };
  // Queues the answers and commands that are ready. Returns the next answer about room for a message; its session is there. To be
  // called after each of the above, until it returns none.
  std::optional<Room> next(TimePoint now);

 private:
  struct Question {
    std::uint64_t session_key;
    std::string session;
    smtpd::Version version;
    std::string token;
    std::string address;
    TimePoint not_before;
    std::optional<recipients::Mailbox> mailbox = {};  // none: the address is not in a verified domain
    recipients::Tarpit::Turn::Answer turn = recipients::Tarpit::Turn::Answer::true_one;
  };
  struct RoomQuestion {
    std::uint64_t session_key;
    std::string address;
  };

  void verified(recipients::QuestionId id, std::optional<recipients::Mailbox> mailbox, TimePoint now);
  void take_turn(Question& question, Session& session, TimePoint now);
  void answer(recipients::QuestionId id);
  void remember(Session& session, const Question& question, std::string_view refusal);
  void note_refused(Session& session, const Question& question, std::string_view refusal);
  void count_unknown(Session& session, TimePoint now);
  Duration slowness(const Session& session) const;

  Shared& shared_;
  recipients::Verifier verifier_;
  recipients::Tarpit tarpit_;
  recipients::QuestionId next_id_ = 1;
  std::map<recipients::QuestionId, Question> questions_;
  std::set<std::pair<TimePoint, recipients::QuestionId>> slowed_;  // those whose answer is known, and is delayed
  std::map<recipients::QuestionId, RoomQuestion> rooms_;
};

// So many refused recipients of a session are logged one by one. The others are summed up when the session ends.
inline constexpr std::size_t refusals_logged = 20;

// The refusal of a message for which none of its recipients has room. `for_good`: 5xx instead of 4xx.
std::string_view no_room(bool for_good);

}  // namespace mailbridge::session
