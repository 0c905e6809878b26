#include "lmtp/servers.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mailbridge::lmtp {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Order = std::vector<std::size_t>;

constexpr TimePoint start = TimePoint(std::chrono::hours(1));

TEST(Servers, OneThatFailedComesAfterTheOthersForAWhile) {
  Servers servers(3);
  EXPECT_EQ(servers.order(start), (Order{0, 1, 2}));
  EXPECT_TRUE(servers.failed(0, start));
  EXPECT_EQ(servers.order(start), (Order{1, 2, 0}));
  EXPECT_EQ(servers.order(start + Servers::rest - milliseconds(1)), (Order{1, 2, 0}));
  EXPECT_EQ(servers.order(start + Servers::rest), (Order{0, 1, 2}));
}

TEST(Servers, WhenAllRestTheyAreTriedAsConfigured) {
  Servers servers(2);
  servers.failed(1, start);
  servers.failed(0, start + seconds(1));
  EXPECT_EQ(servers.order(start + seconds(2)), (Order{0, 1}));
}

TEST(Servers, OnlyAChangeIsNews) {
  Servers servers(1);
  EXPECT_FALSE(servers.answered(0)) << "it counts as up until something else is known";
  EXPECT_TRUE(servers.failed(0, start));
  EXPECT_FALSE(servers.failed(0, start));
  EXPECT_TRUE(servers.answered(0));
  EXPECT_FALSE(servers.answered(0));
}

Outcome reply_of(Stage stage, int code, std::string words = "words") { return {stage, Reply{code, "", {std::move(words)}}, {}}; }
Outcome no_reply(Stage stage, std::string failure, bool unknown = false) {
  return {stage, std::nullopt, std::move(failure), unknown};
}
const Outcome delivered = reply_of(Stage::dot, 250);

Attempts::Ended with(std::vector<Outcome> outcomes) { return {false, std::move(outcomes), {}}; }
const Attempts::Ended stale{true, {no_reply(Stage::mail, "the server closed the connection")}, {}};

// Two servers and a transaction of 12 s unless a test says otherwise.
class AttemptsTest : public testing::Test {
 protected:
  Attempts begin(std::optional<std::size_t> kept = {}, Duration time = seconds(12)) {
    return {servers, 1, Patience{.dot_by = now + time, .reply_by = now + 2 * time}, seconds(5), kept};
  }
  // What is next: "kept", "connect 0 in 5000" or "done".
  std::string next(Attempts& attempts) const {
    const Attempts::Next next = attempts.next(now);
    if (std::holds_alternative<Done>(next)) return "done";
    const auto* connect = std::get_if<Attempts::Connect>(&next);
    if (!connect) return "kept";
    const auto left = std::chrono::duration_cast<milliseconds>(connect->until - now);
    return "connect " + std::to_string(connect->server) + " in " + std::to_string(left.count());
  }
  // Connects to the server that is next, and the conversation ends so.
  std::string serve(Attempts& attempts, Attempts::Ended ended) {
    EXPECT_TRUE(next(attempts).starts_with("connect"));
    attempts.connected(now);
    return text_of(attempts.ended(std::move(ended), now));
  }
  static std::string text_of(const std::optional<Attempts::Change>& change) {
    if (!change) return "";
    return std::to_string(change->server) + (change->why.empty() ? " up" : " down: " + change->why);
  }

  TimePoint now = start;
  Servers servers{2};
};

TEST_F(AttemptsTest, TheFirstServerThatDelivers) {
  Attempts attempts = begin();
  EXPECT_EQ(serve(attempts, with({delivered})), "");
  EXPECT_EQ(next(attempts), "done");
  EXPECT_EQ(attempts.result().server, 0U);
  EXPECT_TRUE(attempts.result().outcomes.at(0).delivered());
  EXPECT_TRUE(attempts.result().fresh);
}

TEST_F(AttemptsTest, AskingTwiceAnswersTheSame) {
  Attempts attempts = begin();
  const std::string first = next(attempts);
  now += seconds(1);
  EXPECT_EQ(next(attempts), "connect 0 in 4000") << first;
  attempts.not_connected("refused", false, now);
  EXPECT_EQ(next(attempts), next(attempts));
}

TEST_F(AttemptsTest, WhichOutcomesLeadToAnotherServer) {
  struct Row {
    std::string what;
    std::vector<Outcome> outcomes;
    bool another;
    std::string change;
  };
  const Row rows[] = {
      {"closed without a banner", {no_reply(Stage::banner, "closed")}, true, "0 down: closed"},
      {"refuses everybody", {reply_of(Stage::banner, 554)}, true, "0 down: words"},
      {"refuses everybody without a word", {reply_of(Stage::banner, 554, "")}, true, "0 down: 554"},
      {"does not know LHLO", {reply_of(Stage::lhlo, 500)}, true, "0 down: words"},
      {"takes no mail for now", {reply_of(Stage::mail, 451)}, true, ""},
      {"refuses the sender", {reply_of(Stage::mail, 550)}, false, ""},
      {"no such user", {reply_of(Stage::rcpt, 550)}, false, ""},
      {"shuts down at RCPT", {reply_of(Stage::rcpt, 421)}, true, ""},
      {"one of two has a verdict", {reply_of(Stage::rcpt, 550), no_reply(Stage::data, "closed")}, false, ""},
      {"closed before the dot", {no_reply(Stage::body, "closed")}, true, ""},
      {"closed after the dot", {no_reply(Stage::dot, "closed", true)}, false, ""},
      {"the dot was not permitted", {no_reply(Stage::dot, "not wanted")}, false, ""},
      {"refused after the dot", {reply_of(Stage::dot, 552)}, false, ""},
      {"the mail cannot be read", {no_reply(Stage::input, "no")}, false, ""},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    servers = Servers(2);
    Attempts attempts = begin();
    EXPECT_EQ(serve(attempts, with(row.outcomes)), row.change);
    EXPECT_EQ(next(attempts).starts_with("connect 1"), row.another);
    EXPECT_EQ(next(attempts) == "done", !row.another);
    EXPECT_EQ(attempts.result().outcomes.size(), row.outcomes.size());
  }
}

TEST_F(AttemptsTest, AServerThatIsBackIsNews) {
  Attempts first = begin();
  EXPECT_EQ(next(first), "connect 0 in 5000");
  EXPECT_EQ(text_of(first.not_connected("nobody listens", false, now)), "0 down: nobody listens");
  EXPECT_EQ(serve(first, with({delivered})), "") << "the other one was up";
  now += Servers::rest;
  Attempts second = begin();
  EXPECT_EQ(serve(second, with({reply_of(Stage::rcpt, 550)})), "0 up");
}

TEST_F(AttemptsTest, EachServerLeftHasAnEqualShareOfTheTime) {
  servers = Servers(3);
  Attempts attempts = begin({}, seconds(6));
  EXPECT_EQ(next(attempts), "connect 0 in 2000");
  EXPECT_EQ(attempts.patience().banner, seconds(2));
  EXPECT_EQ(attempts.patience().lhlo, seconds(2));
  EXPECT_EQ(attempts.patience().mail, Patience().mail) << "once it has spoken there is no other server to wait for";
  attempts.not_connected("refused", false, now);
  EXPECT_EQ(next(attempts), "connect 1 in 3000");
  now += seconds(3);
  attempts.not_connected("no connection in time", false, now);
  EXPECT_EQ(next(attempts), "connect 2 in 3000");
  EXPECT_EQ(attempts.patience().banner, seconds(3));
}

TEST_F(AttemptsTest, NoConnectTakesLongerThanItsTimeout) {
  Attempts attempts = begin({}, seconds(240));
  EXPECT_EQ(next(attempts), "connect 0 in 5000");
  EXPECT_EQ(attempts.patience().banner, Patience().banner);
}

TEST_F(AttemptsTest, WhoTookAllTheTimeIsTheReason) {
  Attempts attempts = begin({}, seconds(2));
  EXPECT_EQ(next(attempts), "connect 0 in 1000");
  attempts.connected(now);
  now += seconds(2);
  attempts.ended(with({no_reply(Stage::mail, "no reply in time")}), now);
  EXPECT_EQ(next(attempts), "done") << "the other server had no time";
  EXPECT_EQ(attempts.result().server, 0U);
}

TEST_F(AttemptsTest, WithoutAnyTimeTheFirstServerIsTriedAllTheSame) {
  Attempts attempts = begin({}, seconds(0));
  EXPECT_EQ(next(attempts), "connect 0 in 0");
  attempts.not_connected("no connection in time", false, now);
  EXPECT_EQ(next(attempts), "done");
  EXPECT_EQ(attempts.result().outcomes.at(0).stage, Stage::connect);
}

TEST_F(AttemptsTest, WhatThisHostIsShortOfSaysNothingAboutAServer) {
  Attempts attempts = begin();
  next(attempts);
  EXPECT_EQ(text_of(attempts.not_connected("Too many open files", true, now)), "");
  EXPECT_EQ(servers.order(now), (Order{0, 1})) << "it does not rest";
  next(attempts);
  EXPECT_EQ(text_of(attempts.not_connected("nobody listens", false, now)), "1 down: nobody listens");
  EXPECT_EQ(next(attempts), "done");
  EXPECT_EQ(attempts.result().server, 0U);
  EXPECT_TRUE(attempts.result().outcomes.at(0).ours) << "the server that was not tried may have answered";
  EXPECT_EQ(attempts.result().outcomes.at(0).failure, "Too many open files");

  Attempts other = begin();
  next(other);
  other.not_connected("Too many open files", true, now);
  serve(other, with({delivered}));
  EXPECT_EQ(next(other), "done");
  EXPECT_TRUE(other.result().outcomes.at(0).delivered());
}

TEST_F(AttemptsTest, AllRecipientsShareAFailureToConnect) {
  Attempts attempts(servers, 3, Patience{.dot_by = now + seconds(9), .reply_by = now + seconds(9)}, seconds(5));
  for (int server = 0; server < 2; ++server) {
    next(attempts);
    attempts.not_connected("nobody listens", false, now);
  }
  EXPECT_EQ(next(attempts), "done");
  EXPECT_EQ(attempts.result().outcomes.size(), 3U);
  EXPECT_EQ(attempts.result().server, 1U);
}

TEST_F(AttemptsTest, AKeptConnectionIsUsedFirst) {
  servers.failed(1, now);
  Attempts attempts = begin(1);
  EXPECT_EQ(next(attempts), "kept");
  EXPECT_EQ(attempts.patience().banner, Patience().banner) << "there is no other server to leave time for";
  attempts.ended(with({delivered}), now);
  EXPECT_EQ(next(attempts), "done");
  EXPECT_EQ(attempts.result().server, 1U);
  EXPECT_FALSE(attempts.result().fresh);
}

TEST_F(AttemptsTest, AStaleConnectionIsReplacedOnce) {
  Attempts attempts = begin(0);
  EXPECT_EQ(next(attempts), "kept");
  EXPECT_EQ(text_of(attempts.ended(stale, now)), "") << "it says nothing about the server";
  EXPECT_EQ(next(attempts), "connect 0 in 5000") << "the server itself is tried again";
  attempts.connected(now);
  attempts.ended(with({delivered}), now);
  EXPECT_EQ(next(attempts), "done");
  EXPECT_TRUE(attempts.result().fresh);
}

TEST_F(AttemptsTest, AConnectionThatHasSpokenIsNotUsed) {
  Attempts attempts = begin(0);
  EXPECT_EQ(next(attempts), "kept");
  attempts.kept_is_gone();
  EXPECT_EQ(next(attempts), "connect 0 in 5000");
  EXPECT_TRUE(attempts.result().fresh);
}

TEST_F(AttemptsTest, AnAnswerOnAKeptConnectionThatIsNoVerdict) {
  Attempts attempts = begin(0);
  next(attempts);
  attempts.ended(with({reply_of(Stage::mail, 451)}), now);
  EXPECT_EQ(next(attempts), "connect 0 in 5000");
  EXPECT_TRUE(attempts.result().fresh);
}

TEST_F(AttemptsTest, TheTimeOfAllAttemptsIsAdded) {
  const auto spent = [](const Attempts& attempts, Stage stage) {
    return attempts.result().spent[static_cast<std::size_t>(stage)];
  };
  Attempts attempts = begin(0);
  next(attempts);
  Attempts::Ended ended = stale;
  ended.spent[static_cast<std::size_t>(Stage::mail)] = seconds(1);
  attempts.ended(ended, now);
  next(attempts);
  now += milliseconds(300);
  attempts.not_connected("nobody listens", false, now);
  next(attempts);
  now += milliseconds(20);
  attempts.connected(now);
  ended = with({delivered});
  ended.spent[static_cast<std::size_t>(Stage::mail)] = seconds(2);
  attempts.ended(ended, now);
  EXPECT_EQ(spent(attempts, Stage::connect), milliseconds(320));
  EXPECT_EQ(spent(attempts, Stage::mail), seconds(3));
}

TEST_F(AttemptsTest, TheHandshakeAfterStarttlsHasTheTimeOfAConnect) {
  const Attempts attempts = begin();
  EXPECT_EQ(attempts.handshake_by(now), now + seconds(5));
  EXPECT_EQ(attempts.handshake_by(now + seconds(10)), now + seconds(12));
}

TEST_F(AttemptsTest, WhatAClientLeaves) {
  Client client({.recipients = {{"a@x"}}}, {.dot_by = now + seconds(9), .reply_by = now + seconds(9)}, LhloState{});
  client.end({Ending::Kind::closed});
  const Attempts::Ended ended = Attempts::ended_with(client);
  EXPECT_TRUE(ended.stale);
  EXPECT_EQ(ended.outcomes.size(), 1U);
}

}  // namespace
}  // namespace mailbridge::lmtp
