// What is said of recipients, under any sequence of questions, answers and silence. Each two bytes are an event. Beside the
// verifier runs a plain record of what the look-ups said: nothing may be answered that it does not bear out.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "recipients/verifier.hpp"

namespace {

using namespace mailbridge;
using recipients::LookupId;
using recipients::Mailbox;
using recipients::QuestionId;
using recipients::Verifier;
using namespace std::chrono_literals;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

constexpr std::size_t sizes[] = {0, 1, 1000, 1001, 50'000, 1'000'000};
constexpr recipients::VerifierBounds bounds{64, 8, 6, 12, 3};
constexpr Mailbox mailboxes[] = {Mailbox::known,     Mailbox::unknown, Mailbox::full,
                                 Mailbox::too_large, Mailbox::unsure,  Mailbox::full_for_now};

class World {
 public:
  World() { use(0); }

  void event(unsigned what, unsigned detail) {
    switch (what % 8) {
      case 0:
      case 1:
        return ask(detail, what >> 3);
      case 2:
      case 3:
        return finish(detail, mailboxes[(what >> 3) % std::size(mailboxes)]);
      case 4:
        return pass(std::chrono::milliseconds(detail) * (what >> 3) * 4);
      case 5:
        return pass(std::chrono::seconds(detail) * (what >> 3));
      case 6:
        return forget(detail);
      default:
        return what >> 3 < 4 ? use(detail) : crowd(detail);
    }
  }

  void settled() {
    pass(1h);
    require(questions_.empty(), "every question is answered");
    require(verifier_.lookups() == 0 && !verifier_.next_deadline(), "no look-up lasts for ever");
  }

 private:
  struct Question {
    std::string key;
    std::size_t size;
    TimePoint asked, until;
  };
  struct Said {
    Mailbox mailbox;
    std::size_t size;
    bool knew_sizes;
    TimePoint at;
  };

  void use(unsigned detail) {
    settings_ = {{"a.example", "b.example"}, (detail & 1) != 0, std::chrono::milliseconds(100 + (detail >> 1) * 100)};
    if (detail % 7 == 6) settings_.domains.erase("b.example");
    verifier_.use(settings_);
    for (auto& [id, question] : questions_) question.until = std::min(question.until, question.asked + settings_.timeout);
    for (auto& [id, lookup] : lookups_) lookup.until = std::min(lookup.until, started_.at(id) + settings_.timeout);
  }

  void ask(unsigned who, unsigned size) {
    std::string address = "u" + std::to_string(who % 16) + (who & 16 ? "@A.example" : who & 32 ? "@b.example" : "@a.example");
    if (!verifier_.covers(address)) return;
    ask(address, sizes[size % std::size(sizes)]);
  }

  void ask(std::string address, std::size_t size) {
    const QuestionId id = next_++;
    std::string key = address;
    std::replace(key.begin(), key.end(), 'A', 'a');
    questions_.emplace(id, Question{key, size, now_, now_ + settings_.timeout});
    const bool must_be_known = remembered_as_known(key);
    verifier_.ask(id, address, size, now_);
    collect();
    if (must_be_known) require(!questions_.contains(id) && last_answer_ == Mailbox::known, "who is known stays known");
  }

  // Nothing but another answer about it makes it forgotten: for those that can be known there is room.
  bool remembered_as_known(const std::string& key) const {
    const auto said = said_.find(key);
    if (settings_.sizes || said == said_.end() || said->second.empty()) return false;
    const Said& last = said->second.back();
    return last.mailbox == Mailbox::known && !last.knew_sizes && now_ < last.at + Verifier::known_for &&
           std::none_of(said->second.begin(), said->second.end(),
                        [](const Said& each) { return each.mailbox != Mailbox::known; });
  }

  void crowd(unsigned detail) {
    for (unsigned i = 0; i <= detail % 32; ++i) {
      ask("x" + std::to_string(crowd_++) + "@a.example", std::size_t{0});
      while (!lookups_.empty() && lookups_.rbegin()->second.recipient.starts_with('x')) {
        finish(lookups_.rbegin()->first, Mailbox::unknown);
      }
    }
  }

  void finish(unsigned which, Mailbox mailbox) {
    if (lookups_.empty()) return finish(LookupId{which}, mailbox);  // nobody's
    finish(std::next(lookups_.begin(), which % lookups_.size())->first, mailbox);
  }

  void finish(LookupId id, Mailbox mailbox) {
    if (auto lookup = lookups_.extract(id); !lookup.empty() && mailbox != Mailbox::unsure) {
      said_[lookup.mapped().recipient].push_back({mailbox, lookup.mapped().size, settings_.sizes, now_});
    }
    verifier_.lookup_finished(id, mailbox, "it is\n down", now_, mailbox == Mailbox::unsure && id % 3 == 0);
    collect();
  }

  void pass(Duration duration) {
    now_ += duration;
    verifier_.tick(now_);
    collect();
    for (const auto& [id, question] : questions_) require(now_ < question.until, "a question is answered by its deadline");
    const auto due = verifier_.next_deadline();
    require(!due || now_ < *due, "what is due is done");
    std::erase_if(lookups_, [this](const auto& lookup) { return lookup.second.until + 1s <= now_; });
  }

  void forget(unsigned which) {
    if (questions_.empty()) return;
    const QuestionId id = std::next(questions_.begin(), which % questions_.size())->first;
    verifier_.forget(id);
    questions_.erase(id);
  }

  void collect() {
    for (; verifier_.answer(); verifier_.drop_answer()) {
      const Verifier::Answer* answer = verifier_.answer();
      const auto question = questions_.extract(answer->id);
      require(!question.empty(), "an answer has a question");
      justify(question.mapped(), answer->mailbox);
      last_answer_ = answer->mailbox;
    }
    std::set<std::string> under_way;
    for (auto& lookup : verifier_.take_lookups()) {
      require(lookup.until > now_ && lookup.until <= now_ + settings_.timeout, "a look-up ends within the timeout");
      started_.emplace(lookup.id, now_);
      lookups_.emplace(lookup.id, std::move(lookup));
    }
    for (const auto& [id, lookup] : lookups_) require(under_way.insert(lookup.recipient).second, "one look-up at a time");
    for (const Note& note : verifier_.take_notes()) require(note.text.find('\n') == std::string::npos, "a note is one line");
    require(verifier_.known() <= bounds.known && verifier_.unknown() <= bounds.unknown && verifier_.full() <= bounds.full &&
                verifier_.lookups() <= bounds.lookups,
            "memory has its bounds");
  }

  void justify(const Question& question, Mailbox mailbox) {
    const auto within = [this](const Said& said, Duration time) { return now_ < said.at + time; };
    const auto bears_out = [&](const Said& said) {
      switch (mailbox) {
        case Mailbox::known:
          return said.mailbox == Mailbox::known && within(said, Verifier::known_for);
        case Mailbox::unknown:
          return said.mailbox == Mailbox::unknown && within(said, Verifier::unknown_for);
        case Mailbox::full:
        case Mailbox::full_for_now:
          return said.mailbox == mailbox && within(said, Verifier::full_for) && (question.size >= said.size || !said.knew_sizes);
        case Mailbox::too_large:
          return said.mailbox == Mailbox::too_large && within(said, Verifier::full_for) && question.size >= said.size;
        case Mailbox::unsure:
          return true;
      }
      return false;
    };
    const std::vector<Said>& said = said_[question.key];
    const bool any =
        mailbox == Mailbox::known && std::any_of(said_.begin(), said_.end(), [&](const auto& each) {
          if (!each.first.starts_with("no-such-user-") || !each.first.ends_with(question.key.substr(question.key.find('@'))))
            return false;
          return each.second.back().mailbox != Mailbox::unknown && within(each.second.back(), Verifier::any_for);
        });
    require(mailbox == Mailbox::unsure || any || std::any_of(said.begin(), said.end(), bears_out),
            "an answer rests on a look-up");
    if (any || said.empty() || mailbox == Mailbox::unsure) return;
    const Said& last = said.back();
    if (last.mailbox == Mailbox::unknown && within(last, Verifier::unknown_for)) {
      require(mailbox == Mailbox::unknown, "what was said last counts");
    }
    if (last.mailbox == Mailbox::known && question.size <= last.size) {
      require(mailbox == Mailbox::known, "who is known, with room for this, is not refused");
    }
  }

  Verifier verifier_{1, bounds};
  recipients::VerifierSettings settings_;
  TimePoint now_ = TimePoint(1h);
  QuestionId next_ = 1;
  unsigned crowd_ = 0;
  std::map<QuestionId, Question> questions_;
  std::map<LookupId, recipients::StartLookup> lookups_;
  std::map<LookupId, TimePoint> started_;
  std::map<std::string, std::vector<Said>> said_;
  Mailbox last_answer_ = Mailbox::unsure;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World world;
  for (std::size_t at = 0; at + 1 < size; at += 2) world.event(data[at], data[at + 1]);
  world.settled();
  return 0;
}
