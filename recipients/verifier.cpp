#include "recipients/verifier.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"

namespace mailbridge::recipients {
namespace {

// If a look-up failed sooner than this, waiting for it cost little: Dovecot does not count as silent.
constexpr Duration slow = std::chrono::seconds(1);
// After this time a domain is asked about again, if it could not be asked about a local part that nobody has.
constexpr Duration domain_later = std::chrono::minutes(1);
constexpr Duration note_again = std::chrono::minutes(1);

std::string_view domain_of(std::string_view address) {
  const std::size_t at = address.rfind('@');
  return at == std::string_view::npos ? std::string_view() : address.substr(at + 1);
}

// The key of a recipient. The case of the domain's letters never matters; whether that of the local part does is a setting of
// Dovecot's.
std::string key_of(std::string_view address) {
  const std::string_view domain = domain_of(address);
  std::string key(address.substr(0, address.size() - domain.size()));
  return key += lower(domain);
}

// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
std::uint64_t next_random(std::uint64_t& state) {
  std::uint64_t mixed = (state += 0x9e3779b97f4a7c15);
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31);
}

}  // namespace

std::string_view to_string(Mailbox mailbox) {
  switch (mailbox) {
    case Mailbox::known:
      return "known";
    case Mailbox::unknown:
      return "unknown";
    case Mailbox::full:
      return "full";
    case Mailbox::full_for_now:
      return "full-for-now";
    case Mailbox::too_large:
      return "too-large";
    case Mailbox::unsure:
      return "unsure";
  }
  return {};
}

Verifier::Verifier(std::uint64_t random, VerifierBounds bounds)
    : bounds_(bounds), random_(random), known_(bounds.known), unknown_(bounds.unknown), full_(bounds.full) {}

void Verifier::use(VerifierSettings settings) {
  settings_ = std::move(settings);
  std::erase_if(domains_, [&](const auto& domain) { return !settings_.domains.contains(domain.first); });
  for (auto& [id, question] : questions_) question.until = std::min(question.until, question.asked + settings_.timeout);
  for (auto& [id, lookup] : lookups_) lookup.until = std::min(lookup.until, lookup.started + settings_.timeout);
}

bool Verifier::covers(std::string_view address) const {
  return !settings_.domains.empty() && settings_.domains.contains(lower(domain_of(address)));
}

void Verifier::ask(QuestionId id, std::string_view address, std::size_t size, TimePoint now) {
  const auto question = questions_.emplace(id, Question{key_of(address), size, now, now + settings_.timeout}).first;
  pursue(id, question->second, now);
}

void Verifier::forget(QuestionId id) { questions_.erase(id); }

// Answers the question, or starts a look-up for it, or lets it wait for one that is under way.
void Verifier::pursue(QuestionId id, const Question& question, TimePoint now) {
  const std::string key = question.key;
  const std::size_t size = question.size;
  if (const auto mailbox = remembered(key, size, now)) {
    settle(id, *mailbox);
    const Known* known = settings_.sizes ? nullptr : known_.find(key);
    if (mailbox == Mailbox::known && known && now >= known->since + known_well_for && !by_key_.contains(key) &&
        may_start_in_background()) {
      start(key, size, Lookup::For::refresh, now);
    }
    return;
  }
  if (const auto asked = by_key_.find(key); asked != by_key_.end()) {
    lookups_.at(asked->second).questions.push_back(id);
  } else if (silent(now) || lookups_.size() >= bounds_.lookups) {
    give_up(id, now);
  } else {
    start(key, size, Lookup::For::question, now).questions.push_back(id);
  }
}

std::optional<Mailbox> Verifier::remembered(const std::string& key, std::size_t size, TimePoint now) {
  if (const Full* full = full_.find(key); full && now < full->until && size >= full->size) return full->mailbox;
  if (const Unknown* unknown = unknown_.find(key); unknown && now < unknown->until) return Mailbox::unknown;
  if (const Known* known = known_.find(key); known && now < known->since + known_for) {
    if (!settings_.sizes || (now < known->room_until && size <= known->room)) return Mailbox::known;
  }
  const auto domain = domains_.find(std::string(domain_of(key)));
  if (!settings_.sizes && domain != domains_.end() && now < domain->second.any_until) return Mailbox::known;
  return std::nullopt;
}

void Verifier::settle(QuestionId id, Mailbox mailbox) {
  answers_.push_back({id, mailbox});
  questions_.erase(id);
}

// No look-up will answer this question. A recipient that was known within the last hour counts as known: only the room is
// uncertain.
void Verifier::give_up(QuestionId id, TimePoint now) {
  const Known* known = known_.find(questions_.at(id).key);
  settle(id, known && now < known->since + known_for ? Mailbox::known : Mailbox::unsure);
}

Verifier::Lookup& Verifier::start(const std::string& key, std::size_t size, Lookup::For purpose, TimePoint now) {
  const LookupId id = next_lookup_++;
  // A tenth of the timeout is left for the answer to arrive.
  const TimePoint until = now + settings_.timeout - settings_.timeout / 10;
  Lookup& lookup = lookups_.emplace(id, Lookup{purpose, key, size, now, until}).first->second;
  if (purpose != Lookup::For::question) ++background_;
  if (purpose != Lookup::For::domain) by_key_.emplace(key, id);
  wanted_.push_back({id, key, size, until});
  return lookup;
}

bool Verifier::may_start_in_background() const {
  return !silent_until_ && background_ < bounds_.background && lookups_.size() < bounds_.lookups;
}

// After the pause one look-up finds out whether Dovecot answers again; the other questions are given up meanwhile.
bool Verifier::silent(TimePoint now) const { return silent_until_ && (now < *silent_until_ || !lookups_.empty()); }

void Verifier::lookup_finished(LookupId id, Mailbox mailbox, std::string_view why, TimePoint now, bool ours) {
  const auto node = lookups_.extract(id);
  if (node.empty()) return;
  const Lookup& lookup = node.mapped();
  if (lookup.purpose != Lookup::For::question) --background_;
  if (const auto mine = by_key_.find(lookup.key); mine != by_key_.end() && mine->second == id) by_key_.erase(mine);
  if (mailbox == Mailbox::unsure) {
    failed(lookup, why, now, ours);
  } else {
    silent_until_.reset();
    answered_ = now;
  }
  if (lookup.purpose == Lookup::For::domain) return learn_of_domain(lookup.key, mailbox, now);
  learn(lookup, mailbox, now);
  for (const QuestionId waiting : lookup.questions) {
    const auto question = questions_.find(waiting);
    if (question == questions_.end()) continue;
    if (mailbox == Mailbox::unsure) give_up(waiting, now);
    else pursue(waiting, question->second, now);
  }
}

void Verifier::failed(const Lookup& lookup, std::string_view why, TimePoint now, bool ours) {
  if (!ours && now - lookup.started >= std::min(slow, settings_.timeout / 2) && answered_ <= lookup.started) {
    silent_until_ = now + pause_when_silent;
  }
  if (noted_ && now < *noted_ + note_again) return;
  noted_ = now;
  notes_.push_back({Level::warn, "recipients cannot be verified: " + printable(why, 200)});
}

void Verifier::learn(const Lookup& lookup, Mailbox mailbox, TimePoint now) {
  const std::string& key = lookup.key;
  switch (mailbox) {
    case Mailbox::known:
      if (const Full* full = full_.find(key); full && full->size <= lookup.size) full_.erase(key);
      unknown_.erase(key);
      known_.put(key, {now, now + room_for, lookup.size});
      return ask_domain(std::string(domain_of(key)), now);
    case Mailbox::unknown:
      known_.erase(key);
      full_.erase(key);
      unknown_.put(key, {now + unknown_for});
      return learn_of_domain(key, mailbox, now);
    case Mailbox::full:
    case Mailbox::full_for_now:
    case Mailbox::too_large: {
      unknown_.erase(key);
      // Without sizes a full mailbox takes no message at all, and the recipient counts as known only after another look-up.
      const bool every = mailbox != Mailbox::too_large && !settings_.sizes;
      if (every) known_.erase(key);
      else if (Known* known = known_.find(key); known && lookup.size <= known->room) known->room_until = now;
      return full_.put(key, {now + full_for, mailbox, every ? 0 : lookup.size});
    }
    case Mailbox::unsure:
      return;
  }
}

// A recipient of this domain is known. Asks whether the domain takes every local part.
void Verifier::ask_domain(const std::string& name, TimePoint now) {
  if (!settings_.domains.contains(name) || !may_start_in_background()) return;
  Domain& domain = domains_[name];
  if (now < domain.ask_from) return;
  domain.ask_from = now + settings_.timeout + grace;  // the look-up has ended by then
  std::string nobody = "no-such-user-";
  std::uint64_t bits = next_random(random_);
  for (int n = 0; n < 16; ++n, bits >>= 4) nobody += "0123456789abcdef"[bits & 15];
  start(nobody + "@" + name, 0, Lookup::For::domain, now);
}

void Verifier::learn_of_domain(std::string_view key, Mailbox mailbox, TimePoint now) {
  const std::string name(domain_of(key));
  if (!settings_.domains.contains(name)) return;
  Domain& domain = domains_[name];
  if (mailbox == Mailbox::unsure || mailbox == Mailbox::too_large) {
    domain.ask_from = now + domain_later;
    return;
  }
  const bool any = mailbox != Mailbox::unknown;
  if (any && !domain.any) {
    notes_.push_back({Level::warn, printable(name, 255) + ": every local part is taken, so who is unknown there cannot be told"});
  }
  domain.any = any;
  domain.any_until = any ? now + any_for : now;
  domain.ask_from = now + (any ? any_for : not_any_for);
}

void Verifier::tick(TimePoint now) {
  while (!questions_.empty() && questions_.begin()->second.until <= now) give_up(questions_.begin()->first, now);
  while (!lookups_.empty() && lookups_.begin()->second.until + grace <= now) {
    lookup_finished(lookups_.begin()->first, Mailbox::unsure, "no answer in time", now);
  }
}

std::optional<TimePoint> Verifier::next_deadline() const {
  std::optional<TimePoint> next;
  if (!questions_.empty()) next = questions_.begin()->second.until;
  if (!lookups_.empty()) {
    const TimePoint due = lookups_.begin()->second.until + grace;
    next = next ? std::min(*next, due) : due;
  }
  return next;
}

std::vector<StartLookup> Verifier::take_lookups() { return std::exchange(wanted_, {}); }
std::vector<Note> Verifier::take_notes() { return std::exchange(notes_, {}); }

}  // namespace mailbridge::recipients
