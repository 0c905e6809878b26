// Which recipients Dovecot has a mailbox for: asked once, and remembered for as long as that is likely to hold.
//
//   fact     about          kept
//   known    a recipient    1 h, and asked for again in the background from 15 min on
//   room     a known one    30 s, for messages up to the size asked about; only where sizes are asked about (quota-status)
//   unknown  a recipient    90 s: a mailbox that is made now must work soon
//   full     a recipient    60 s, for messages from the size asked about on
//   any      a domain       1 d: it takes every local part; 3 h: it does not
//
// Each kind of fact has room of its own, so that a dictionary attack costs nobody who is known. Several who ask about the same
// recipient wait for one look-up. A domain is asked about a local part that nobody has, once somebody in it is known: when
// Dovecot takes that one, too, asking for existence says nothing there, and ends.
//
// A temporary answer is never remembered. But when Dovecot is silent, that holds for a few seconds, and then for all but one
// question at a time, until it answers: otherwise each session would wait for its own timeout.
//
// Every question is answered once, and within the timeout as long as tick() is called.
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
  std::unordered_set<std::string> domains;  // in lower case; of the others nothing is asked
  bool sizes = false;                       // who is asked knows what still fits
  Duration timeout{};                       // of a question
};

// An entry takes some 200 bytes: 6 MB together.
struct VerifierBounds {
  std::size_t known = 20'000;
  std::size_t unknown = 10'000;
  std::size_t full = 2'000;
  std::size_t lookups = 4'096;  // at once: beyond it there is no answer
  std::size_t background = 16;  // of those, for nobody who waits
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

  // `random` is what the local parts that nobody has are made of.
  explicit Verifier(std::uint64_t random, VerifierBounds bounds = {});

  // From now on. What is known stays.
  void use(VerifierSettings settings);

  bool covers(std::string_view address) const;

  // Answered by answer(), perhaps at once. `size` of the message, 0 when that is not known.
  void ask(QuestionId id, std::string_view address, std::size_t size, TimePoint now);
  // The answer is of no interest any more.
  void forget(QuestionId id);

  // `ours`: see Found.
  void lookup_finished(LookupId id, Mailbox mailbox, std::string_view why, TimePoint now, bool ours = false);

  void tick(TimePoint now);
  std::optional<TimePoint> next_deadline() const;

  struct Answer {
    QuestionId id;
    Mailbox mailbox;
  };
  // The next answer, if there is one, until drop_answer().
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
    TimePoint room_until;
    std::size_t room = 0;
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
    TimePoint ask_from;  // then or later, when somebody is known
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
  // None has more patience than a later one, so the first of either is the one due first.
  std::map<QuestionId, Question> questions_;
  std::map<LookupId, Lookup> lookups_;
  std::unordered_map<std::string, LookupId> by_key_;  // of those for a question or a refresh
  std::size_t background_ = 0;
  LookupId next_lookup_ = 1;
  std::optional<TimePoint> silent_until_;  // since then nobody has answered
  TimePoint answered_{};
  std::optional<TimePoint> noted_;
  std::deque<Answer> answers_;
  std::vector<StartLookup> wanted_;
  std::vector<Note> notes_;
};

}  // namespace mailbridge::recipients
