// Finds out which recipients have a mailbox at Dovecot. Dovecot is asked once about each, and its answer is remembered for as
// long as it is likely to hold.
//
//   fact     about          remembered for
//   known    a recipient    1 h; from 15 min on it is asked about again in the background
//   room     a recipient    30 s, for messages up to the size asked about; only if Dovecot is asked about sizes (quota-status)
//   unknown  a recipient    90 s, so that a new mailbox works soon
//   full     a recipient    60 s, for messages of at least the size asked about
//   any      a domain       1 d if it is a catch-all, which takes every local part; 3 h if it is none
//
// Each kind of fact has a bound of its own, so that a dictionary attack does not displace known recipients. Questions about the
// same recipient wait for one look-up together. When a recipient of a domain is known, Dovecot is asked about a local part of
// that domain that nobody has. If Dovecot takes that one as well, the domain is a catch-all, and its
// recipients are not looked up any more.
//
// A temporary answer is never remembered. But after Dovecot was silent, it is not asked for a few seconds, and then by one
// question at a time, until it answers. Otherwise each session would wait for its own timeout.
//
// Each question gets one answer, within the timeout if tick() is called in time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/conversation.hpp"
#include "base/note.hpp"
#include "recipients/lru.hpp"
#include "recipients/mailbox.hpp"

namespace mailbridge::recipients {

using QuestionId = std::uint64_t;  // grows

std::string_view to_string(Mailbox mailbox);

struct VerifierSettings {
  std::unordered_set<std::string> domains;  // in lower case; nothing is asked about other domains
  bool sizes = false;                       // Dovecot is asked for room, too: it is asked through quota-status
  Duration timeout{};                       // of a question
};

// How many entries there may be of each kind. One takes some 200 bytes, all together 6 MB.
struct VerifierBounds {
  std::size_t known = 20'000;
  std::size_t unknown = 10'000;
  std::size_t full = 2'000;
  std::size_t lookups = 4'096;  // under way at once; a question that needs one more is answered as unsure
  std::size_t background = 16;  // look-ups among these for which no question waits
};

class Verifier {
 public:
  static constexpr Duration known_for = std::chrono::hours(1);
  static constexpr Duration known_well_for = std::chrono::minutes(15);
  static constexpr Duration room_for = std::chrono::seconds(30);
  static constexpr Duration unknown_for = std::chrono::seconds(90);
  static constexpr Duration full_for = std::chrono::seconds(60);
  static constexpr Duration any_for = std::chrono::hours(24);
  static constexpr Duration not_any_for = std::chrono::hours(3);
  static constexpr Duration pause_when_silent = std::chrono::seconds(5);

  // `random` is the seed for the local parts that nobody has.
  explicit Verifier(std::uint64_t random, VerifierBounds bounds = {});

  // The settings from now on. What is remembered stays.
  void use(VerifierSettings settings);

  bool covers(std::string_view address) const;

  // Asks about a recipient; answer() gives the answer, perhaps at once. `size` is that of the message in bytes, 0 if it is not
  // known.
  void ask(QuestionId id, std::string_view address, std::size_t size, TimePoint now);
  // Nobody waits for the answer to this question any more.
  void forget(QuestionId id);

  // The result of a look-up. `why` is for the log. `ours`: see Found.
  void lookup_finished(LookupId id, Mailbox mailbox, std::string_view why, TimePoint now, bool ours = false);

  void tick(TimePoint now);
  std::optional<TimePoint> next_deadline() const;

  struct Answer {
    QuestionId id;
    Mailbox mailbox;
  };
  // The next answer, until drop_answer(). Null if there is none.
  const Answer* answer() const { return answers_.empty() ? nullptr : &answers_.front(); }
  void drop_answer() { answers_.pop_front(); }
  std::vector<StartLookup> take_lookups();
  std::vector<Note> take_notes();

  std::size_t known() const { return known_.size(); }
  std::size_t unknown() const { return unknown_.size(); }
  std::size_t full() const { return full_.size(); }
  std::size_t lookups() const { return lookups_.size(); }

 private:
  struct Known {
    TimePoint since;
    TimePoint room_until;  // so long `room` is believed
    std::size_t room = 0;  // the largest size known to fit, in bytes
  };
  struct Unknown {
    TimePoint until;
  };
  struct Full {
    TimePoint until;
    Mailbox mailbox;  // full, full_for_now or too_large
    std::size_t size;
  };
  struct Domain {
    bool any = false;
    TimePoint any_until;
    TimePoint ask_from;  // the domain may be asked about from this time on, once a recipient of it is known
  };
  struct Question {
    std::string key;
    std::size_t size;
    TimePoint asked;
    TimePoint until;
  };
  struct Lookup {
    enum class For { question, refresh, domain } purpose;
    std::string key;
    std::size_t size;
    TimePoint started;
    TimePoint until;
    std::vector<QuestionId> questions = {};
  };

  std::optional<Mailbox> remembered(const std::string& key, std::size_t size, TimePoint now);
  void pursue(QuestionId id, const Question& question, TimePoint now);
  void settle(QuestionId id, Mailbox mailbox);
  void give_up(QuestionId id, TimePoint now);
  Lookup& start(const std::string& key, std::size_t size, Lookup::For purpose, TimePoint now);
  bool may_start_in_background() const;
  bool silent(TimePoint now) const;
  void failed(const Lookup& lookup, std::string_view why, TimePoint now, bool ours);
  void learn(const Lookup& lookup, Mailbox mailbox, TimePoint now);
  void ask_domain(const std::string& name, TimePoint now);
  void learn_of_domain(std::string_view key, Mailbox mailbox, TimePoint now);

  VerifierBounds bounds_;
  VerifierSettings settings_;
  std::uint64_t random_;
  Lru<Known> known_;
  Lru<Unknown> unknown_;
  Lru<Full> full_;
  std::unordered_map<std::string, Domain> domains_;
  // An entry never has a later deadline than one with a larger id, so the first entry is due first.
  std::map<QuestionId, Question> questions_;
  std::map<LookupId, Lookup> lookups_;
  std::unordered_map<std::string, LookupId> by_key_;  // the look-ups for a question or a refresh, by recipient
  std::size_t background_ = 0;
  LookupId next_lookup_ = 1;
  std::optional<TimePoint> silent_until_;  // set while Dovecot is silent; until then it is not asked
  TimePoint answered_{};                   // when Dovecot last did
  std::optional<TimePoint> noted_;         // when its silence was last logged
  std::deque<Answer> answers_;
  std::vector<StartLookup> wanted_;
  std::vector<Note> notes_;
};

}  // namespace mailbridge::recipients
