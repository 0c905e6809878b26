#include "recipients/verifier.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace mailbridge::recipients {
namespace {

using namespace std::chrono_literals;

constexpr auto known = Mailbox::known, unknown = Mailbox::unknown, full = Mailbox::full, unsure = Mailbox::unsure;

// Time is a number; whoever is looked up is what `mailboxes` says, a local part that nobody has included.
class VerifierTest : public testing::Test {
 protected:
  VerifierTest() { use(false); }

  void use(bool sizes, Duration timeout = 3s) { verifier.use({{"example.org", "example.net"}, sizes, timeout}); }

  QuestionId ask(const std::string& address, std::size_t size = 0) {
    verifier.ask(++last, address, size, now);
    collect();
    return last;
  }
  // Asks and has the look-up finished, if there is one, within `takes`.
  std::optional<Mailbox> answer(const std::string& address, std::size_t size = 0, Duration takes = 1ms) {
    const QuestionId id = ask(address, size);
    if (!answers.contains(id)) pass(takes);
    finish_all();
    return answers.contains(id) ? std::optional(answers.at(id)) : std::nullopt;
  }
  void pass(Duration duration) {
    now += duration;
    verifier.tick(now);
    collect();
  }
  void finish_all() {
    while (!lookups.empty()) finish(lookups.begin()->first);
  }
  void finish(LookupId id) {
    const StartLookup lookup = lookups.at(id);
    finish(id, lookup.recipient.starts_with("no-such-user-") ? nobody : mailbox_of(lookup));
  }
  void finish(LookupId id, Mailbox mailbox, std::string_view why = "it is down") {
    lookups.erase(id);
    verifier.lookup_finished(id, mailbox, why, now);
    collect();
  }
  Mailbox mailbox_of(const StartLookup& lookup) {
    const auto found = mailboxes.find(lookup.recipient);
    if (found == mailboxes.end()) return unknown;
    const auto& [mailbox, room] = found->second;
    return mailbox == known && lookup.size > room ? full : mailbox;
  }
  void collect() {
    for (; verifier.answer(); verifier.drop_answer()) {
      EXPECT_FALSE(answers.contains(verifier.answer()->id)) << "answered twice";
      answers.emplace(verifier.answer()->id, verifier.answer()->mailbox);
    }
    for (StartLookup& lookup : verifier.take_lookups()) {
      looked_up.push_back(lookup.recipient);
      lookups.emplace(lookup.id, std::move(lookup));
    }
    for (Note& note : verifier.take_notes()) notes.push_back(std::move(note.text));
  }
  std::size_t count() { return std::exchange(looked_up, {}).size(); }

  Verifier verifier{7};
  TimePoint now = TimePoint(1h);
  QuestionId last = 0;
  std::map<std::string, std::pair<Mailbox, std::size_t>> mailboxes = {{"alice@example.org", {known, 1000}},
                                                                      {"alice+x@example.org", {known, 1000}},
                                                                      {"Bob@example.org", {known, 1000}},
                                                                      {"full@example.org", {full, 0}},
                                                                      {"sick@example.org", {unsure, 0}}};
  Mailbox nobody = unknown;
  std::map<QuestionId, Mailbox> answers;
  std::map<LookupId, StartLookup> lookups;
  std::vector<std::string> looked_up;
  std::vector<std::string> notes;
};

TEST_F(VerifierTest, CoversItsDomainsInEitherCase) {
  for (const char* address : {"alice@example.org", "A@EXAMPLE.net", "a@b@Example.org"}) EXPECT_TRUE(verifier.covers(address));
  for (const char* address : {"a@example.com", "a@sub.example.org", "example.org", "", "a@"}) {
    EXPECT_FALSE(verifier.covers(address)) << address;
  }
  verifier.use({});
  EXPECT_FALSE(verifier.covers("alice@example.org"));
  EXPECT_FALSE(verifier.covers("alice"));
}

// How long each answer is kept: the question after `after` is a look-up, or it is not.
TEST_F(VerifierTest, AnswersAreKeptForTheirTime) {
  struct Row {
    const char* name;
    bool sizes;
    const char* address;
    std::size_t size;
    Mailbox mailbox;
    Duration after;
    std::size_t next_size;
    bool looked_up;
  };
  const Row rows[] = {
      {"known", false, "alice@example.org", 0, known, 59min, 0, true},  // in the background, see below
      {"known for a while", false, "alice@example.org", 0, known, 14min, 0, false},
      {"known no more", false, "alice@example.org", 0, known, 1h, 0, true},
      {"known, whatever the size", false, "alice@example.org", 10, known, 14min, 99999, false},
      {"unknown", false, "nobody@example.org", 0, unknown, 89s, 0, false},
      {"unknown no more", false, "nobody@example.org", 0, unknown, 90s, 0, true},
      {"full", false, "full@example.org", 0, full, 59s, 0, false},
      {"full for smaller ones", false, "full@example.org", 500, full, 59s, 1, false},
      {"full no more", false, "full@example.org", 0, full, 60s, 0, true},
      {"unsure", false, "sick@example.org", 0, unsure, 1ms, 0, true},
      {"room", true, "alice@example.org", 500, known, 29s, 500, false},
      {"room for a smaller one", true, "alice@example.org", 500, known, 29s, 499, false},
      {"room for a larger one", true, "alice@example.org", 500, known, 1s, 501, true},
      {"room no more", true, "alice@example.org", 500, known, 30s, 500, true},
      {"no room", true, "alice@example.org", 1001, full, 59s, 1001, false},
      {"no room for a larger one", true, "alice@example.org", 1001, full, 59s, 2000, false},
      {"no room, but for a smaller one", true, "alice@example.org", 1001, full, 1s, 1000, true},
      {"no room no more", true, "alice@example.org", 1001, full, 60s, 1001, true},
      {"+detail is somebody else", false, "alice+y@example.org", 0, unknown, 1s, 0, false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    verifier = Verifier(7);
    use(row.sizes);
    EXPECT_EQ(answer(row.address, row.size, 0ms), row.mailbox);
    count();
    pass(row.after);
    ask(row.address, row.next_size);
    EXPECT_EQ(count(), row.looked_up ? 1U : 0U);
    lookups.clear();
  }
}

TEST_F(VerifierTest, TheDomainIsFoldedAndTheLocalPartIsNot) {
  EXPECT_EQ(answer("Bob@EXAMPLE.org"), known);
  EXPECT_EQ(looked_up[0], "Bob@example.org");
  count();
  EXPECT_EQ(answer("Bob@example.ORG"), known);
  EXPECT_EQ(count(), 0U);
  EXPECT_EQ(answer("bob@example.org"), unknown);
  EXPECT_EQ(answer("alice+x@example.org"), known);
  EXPECT_EQ(looked_up.back(), "alice+x@example.org");
}

TEST_F(VerifierTest, AMailboxMadeLaterIsFoundSoon) {
  EXPECT_EQ(answer("new@example.org"), unknown);
  mailboxes["new@example.org"] = {known, 1000};
  pass(80s);
  EXPECT_EQ(answer("new@example.org"), unknown);
  pass(10s);
  EXPECT_EQ(answer("new@example.org"), known) << "asking does not make it unknown for longer";
}

TEST_F(VerifierTest, AKnownOneIsAskedAboutAgainInTheBackground) {
  answer("alice@example.org");
  pass(15min);
  count();
  const QuestionId id = ask("alice@example.org");
  EXPECT_EQ(answers.at(id), known) << "at once";
  EXPECT_EQ(looked_up, std::vector<std::string>{"alice@example.org"});
  ask("alice@example.org");
  EXPECT_EQ(count(), 1U) << "one look-up at a time";
  mailboxes.erase("alice@example.org");
  finish_all();
  EXPECT_EQ(answer("alice@example.org"), unknown);
  EXPECT_EQ(count(), 0U) << "by then it is known that there is nobody";
}

TEST_F(VerifierTest, ARefreshThatFailsChangesNothing) {
  answer("alice@example.org");
  mailboxes["alice@example.org"] = {unsure, 0};
  pass(59min);
  EXPECT_EQ(answer("alice@example.org"), known);
  pass(1min);
  EXPECT_EQ(answer("alice@example.org"), unsure);
}

TEST_F(VerifierTest, ARefreshMakesItKnownForAnotherHour) {
  answer("alice@example.org");
  pass(59min);
  answer("alice@example.org");
  pass(14min);
  count();
  EXPECT_EQ(answer("alice@example.org"), known);
  EXPECT_EQ(count(), 0U);
}

TEST_F(VerifierTest, FewRefreshesAtATime) {
  for (int i = 0; i < 100; ++i) {
    const std::string address = "u" + std::to_string(i) + "@example.org";
    mailboxes[address] = {known, 1000};
    answer(address);
  }
  pass(16min);
  count();
  for (int i = 0; i < 100; ++i) ask("u" + std::to_string(i) + "@example.org");
  EXPECT_EQ(count(), VerifierBounds().background);
  finish_all();
  ask("u99@example.org");
  EXPECT_EQ(count(), 1U);
}

TEST_F(VerifierTest, SeveralWhoAskWaitForOneLookup) {
  for (int i = 0; i < 5; ++i) ask("alice@example.org");
  EXPECT_EQ(count(), 1U);
  EXPECT_TRUE(answers.empty());
  finish_all();
  EXPECT_EQ(answers.size(), 5U);
  for (const auto& [id, mailbox] : answers) EXPECT_EQ(mailbox, known);
}

TEST_F(VerifierTest, WhoAsksAboutMoreIsAnsweredForMore) {
  use(true);
  const QuestionId small = ask("alice@example.org", 10), large = ask("alice@example.org", 5000),
                   same = ask("alice@example.org", 9);
  EXPECT_EQ(count(), 1U);
  finish(lookups.begin()->first);
  EXPECT_EQ(answers.at(small), known);
  EXPECT_EQ(answers.at(same), known);
  EXPECT_FALSE(answers.contains(large));
  finish_all();
  EXPECT_EQ(answers.at(large), full);
  EXPECT_EQ(answer("alice@example.org", 10), known) << "and the smaller one still fits";
}

TEST_F(VerifierTest, WhoJoinedALookupThatFailedIsNotAskedAboutAgain) {
  use(true);
  ask("sick@example.org", 1);
  ask("sick@example.org", 2);
  finish_all();
  EXPECT_EQ(count(), 1U);
  EXPECT_EQ(answers, (std::map<QuestionId, Mailbox>{{1, unsure}, {2, unsure}}));
}

TEST_F(VerifierTest, WhatIsForgottenIsNotAnsweredAndIsLearnt) {
  verifier.forget(ask("alice@example.org"));
  finish_all();
  EXPECT_TRUE(answers.empty());
  count();
  EXPECT_EQ(answer("alice@example.org"), known);
  EXPECT_EQ(count(), 0U);
}

TEST_F(VerifierTest, AQuestionIsAnsweredByItsDeadline) {
  const QuestionId first = ask("alice@example.org");
  EXPECT_EQ(lookups.begin()->second.until, now + 2700ms) << "so that its answer is in time";
  pass(1s);
  const QuestionId second = ask("alice@example.org");
  EXPECT_EQ(verifier.next_deadline(), now + 2s);
  pass(1999ms);
  EXPECT_TRUE(answers.empty());
  pass(1ms);
  EXPECT_EQ(answers, (std::map<QuestionId, Mailbox>{{first, unsure}}));
  finish_all();
  EXPECT_EQ(answers.at(second), known);
  EXPECT_EQ(verifier.next_deadline(), std::nullopt);
}

TEST_F(VerifierTest, ALookupThatNeverEndsIsGivenUp) {
  ask("alice@example.org");
  pass(3s);
  EXPECT_EQ(verifier.lookups(), 1U);
  pass(700ms);
  EXPECT_EQ(verifier.lookups(), 0U);
  finish_all();
  EXPECT_EQ(verifier.known(), 0U) << "its answer falls on no one";
  EXPECT_EQ(notes, std::vector<std::string>{"recipients cannot be verified: no answer in time"});
}

TEST_F(VerifierTest, AShorterTimeoutHoldsFromTheMomentItIsRead) {
  ask("alice@example.org");
  use(false, 1s);
  pass(1s);
  EXPECT_EQ(answers.at(1), unsure);
}

// ---- when there is no answer

TEST_F(VerifierTest, SilenceCostsOneSessionItsTimeout) {
  answer("alice@example.org");
  mailboxes["Bob@example.org"] = {unsure, 0};
  EXPECT_EQ(answer("Bob@example.org", 0, 2700ms), unsure);
  count();
  for (int i = 0; i < 49; ++i) {
    EXPECT_EQ(answers.at(ask("b" + std::to_string(i) + "@example.org")), unsure) << "at once";
    pass(100ms);
  }
  EXPECT_EQ(answer("alice@example.org"), known) << "what is known is";
  EXPECT_EQ(count(), 0U);

  pass(200ms);
  const QuestionId trial = ask("Bob@example.org");
  EXPECT_FALSE(answers.contains(trial));
  EXPECT_EQ(answers.at(ask("nobody@example.org")), unsure) << "one at a time";
  pass(2700ms);
  finish_all();
  EXPECT_EQ(answers.at(trial), unsure);
  EXPECT_EQ(answers.at(ask("nobody@example.org")), unsure) << "still silent";
  pass(5s);
  EXPECT_EQ(answer("nobody@example.org"), unknown) << "it answers";
  ask("a@example.org");
  ask("b@example.org");
  EXPECT_EQ(lookups.size(), 2U);
}

TEST_F(VerifierTest, WhatWeWereShortOfIsNoSilence) {
  ask("alice@example.org");
  pass(2s);
  verifier.lookup_finished(lookups.begin()->first, unsure, "Too many open files", now, true);
  lookups.clear();
  collect();
  EXPECT_EQ(answers.at(1), unsure);
  EXPECT_EQ(notes, std::vector<std::string>{"recipients cannot be verified: Too many open files"});
  EXPECT_EQ(answer("Bob@example.org"), known);
}

TEST_F(VerifierTest, AFailureAtOnceIsNoSilence) {
  EXPECT_EQ(answer("sick@example.org", 0, 999ms), unsure);
  EXPECT_EQ(answer("alice@example.org"), known);
}

TEST_F(VerifierTest, OneSlowLookupAmongOthersIsNoSilence) {
  ask("sick@example.org");
  pass(1s);
  EXPECT_EQ(lookups.size(), 1U);
  const LookupId slow = lookups.begin()->first;
  ask("alice@example.org");
  finish(std::prev(lookups.end())->first);
  pass(1s);
  finish(slow, unsure);
  EXPECT_EQ(answer("Bob@example.org"), known);
}

TEST_F(VerifierTest, FailuresAreToldOnceAMinute) {
  for (int i = 0; i < 100; ++i) {
    answer("sick@example.org");
    pass(999ms);
  }
  EXPECT_EQ(notes.size(), 2U);
  ask("sick@example.org");
  pass(20s);
  finish(lookups.begin()->first, unsure, "a\nb\"");
  EXPECT_EQ(notes.size(), 2U) << "that look-up had been given up";
}

// ---- domains that take every local part

TEST_F(VerifierTest, ADomainThatTakesEveryLocalPartIsAskedOnceADay) {
  nobody = known;
  EXPECT_EQ(answer("alice@example.org"), known);
  ASSERT_EQ(looked_up.size(), 2U);
  EXPECT_TRUE(looked_up[1].starts_with("no-such-user-") && looked_up[1].ends_with("@example.org")) << looked_up[1];
  EXPECT_EQ(looked_up[1].size(), std::string("no-such-user-0123456789abcdef@example.org").size());
  const std::string first = looked_up[1];
  count();
  EXPECT_EQ(notes, std::vector<std::string>{"example.org: every local part is taken, so who is unknown there cannot be told"});
  for (int i = 0; i < 23; ++i) {
    EXPECT_EQ(answer("any" + std::to_string(i) + "@Example.org"), known);
    pass(1h);
  }
  EXPECT_EQ(count(), 0U);
  answer("alice@example.net");
  EXPECT_EQ(count(), 1U) << "another domain";
  pass(1h);
  EXPECT_EQ(answer("alice@example.org"), known);
  EXPECT_EQ(count(), 2U);
  EXPECT_NE(looked_up, std::vector<std::string>{first}) << "another nobody";
  EXPECT_EQ(notes.size(), 1U) << "which is no news";
}

TEST_F(VerifierTest, ADomainThatDoesNotIsAskedAfterHours) {
  answer("alice@example.org");
  EXPECT_EQ(count(), 2U);
  pass(2h);
  EXPECT_EQ(answer("alice@example.org"), known);
  EXPECT_EQ(count(), 1U);
  pass(59min);
  EXPECT_EQ(answer("Bob@example.org"), known);
  EXPECT_EQ(count(), 1U);
  pass(1min);
  EXPECT_EQ(answer("alice+x@example.org"), known);
  EXPECT_EQ(count(), 2U);
}

TEST_F(VerifierTest, SomebodyUnknownTellsAsMuch) {
  EXPECT_EQ(answer("nobody@example.org"), unknown);
  EXPECT_EQ(answer("alice@example.org"), known);
  EXPECT_EQ(looked_up, (std::vector<std::string>{"nobody@example.org", "alice@example.org"}));
}

TEST_F(VerifierTest, ADomainWithoutAnAnswerIsAskedAgainSoon) {
  nobody = unsure;
  answer("alice@example.org");
  count();
  pass(59s);
  answer("alice+x@example.org");
  EXPECT_EQ(count(), 1U);
  pass(1s);
  answer("Bob@example.org");
  EXPECT_EQ(count(), 2U);
}

TEST_F(VerifierTest, RoomIsAskedAboutWhateverTheDomainTakes) {
  use(true);
  nobody = known;
  EXPECT_EQ(answer("alice@example.org", 10), known);
  EXPECT_EQ(answer("full@example.org", 10), full);
}

// ---- bounds

TEST_F(VerifierTest, WhoIsUnknownDoesNotCostWhoIsKnown) {
  const VerifierBounds bounds;
  answer("alice@example.org");
  for (std::size_t i = 0; i < bounds.unknown + 1000; ++i) answer("x" + std::to_string(i) + "@example.org", 0, 0ms);
  EXPECT_EQ(verifier.unknown(), bounds.unknown);
  count();
  EXPECT_EQ(answer("alice@example.org"), known);
  EXPECT_EQ(answer("x1500@example.org"), unknown);
  EXPECT_EQ(count(), 0U);
  EXPECT_EQ(answer("x0@example.org"), unknown);
  EXPECT_EQ(count(), 1U) << "the oldest made room";
}

TEST_F(VerifierTest, EveryMemoryHasItsBound) {
  const VerifierBounds bounds{200, 10, 20, 30, 5};
  verifier = Verifier(7, bounds);
  use(true);
  for (std::size_t i = 0; i < bounds.known + 10; ++i) {
    const std::string address = "k" + std::to_string(i) + "@example.org";
    mailboxes[address] = {i % 2 == 0 ? known : full, 1000};
    answer(address, 0, 0ms);
  }
  EXPECT_EQ(verifier.full(), bounds.full);
  pass(60s);
  for (std::size_t i = 0; i < bounds.known + 10; ++i) {
    mailboxes["k" + std::to_string(i) + "@example.org"] = {known, 1000};
    answer("k" + std::to_string(i) + "@example.org", 0, 0ms);
  }
  EXPECT_EQ(verifier.known(), bounds.known);
  for (std::size_t i = 0; i <= bounds.lookups; ++i) ask("m" + std::to_string(i) + "@example.org");
  EXPECT_EQ(verifier.lookups(), bounds.lookups);
  EXPECT_EQ(answers.at(last), unsure);
}

TEST_F(VerifierTest, LookupsInTheBackgroundFindNoMoreRoomThanOthers) {
  verifier = Verifier(7, {200, 10, 20, 3, 5});
  use(false);
  answer("alice@example.org");
  pass(15min);
  for (const char* address : {"a@example.org", "b@example.org", "c@example.org"}) ask(address);
  EXPECT_EQ(answers.at(ask("alice@example.org")), known);
  EXPECT_EQ(verifier.lookups(), 3U);
}

TEST_F(VerifierTest, WhoWasThereAWhileAgoStillIsWhenNobodyTellsAboutRoom) {
  use(true);
  EXPECT_EQ(answer("alice@example.org", 10), known);
  mailboxes["alice@example.org"] = {unsure, 0};
  pass(31s);
  EXPECT_EQ(answer("alice@example.org", 10), known);
  pass(1h);
  EXPECT_EQ(answer("alice@example.org", 10), unsure);
}

TEST_F(VerifierTest, OnceFullItMustBeAskedAboutToBeKnown) {
  answer("alice@example.org");
  mailboxes["alice@example.org"] = {full, 0};
  pass(15min);
  EXPECT_EQ(answer("alice@example.org"), known);
  EXPECT_EQ(answer("alice@example.org"), full);
  pass(60s);
  count();
  EXPECT_EQ(answer("alice@example.org"), full);
  EXPECT_EQ(count(), 1U);
}

TEST_F(VerifierTest, ADomainThatIsNoLongerVerifiedIsForgotten) {
  nobody = known;
  answer("alice@example.org");
  verifier.use({{"example.net"}, false, 3s});
  use(false);
  EXPECT_EQ(answer("other@example.org"), unknown);
}

}  // namespace
}  // namespace mailbridge::recipients
