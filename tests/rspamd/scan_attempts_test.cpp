#include "rspamd/scan_attempts.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mailbridge::rspamd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = ScanFailure::Kind;

constexpr TimePoint start = TimePoint(std::chrono::hours(1));
constexpr double half = 0.5;  // the pauses of Upstreams as they are written

ScanResult verdict() {
  Verdict verdict;
  verdict.action = "no action";
  return verdict;
}
ScanResult failure(Kind kind) { return tl::unexpected(ScanFailure{kind, "what"}); }

std::string text_of(const std::optional<ScanAttempts::Change>& change) {
  if (!change) return "";
  return change->up ? "up" + change->why : "down: " + change->why;
}
std::string text_of(const ScanResult& result) {
  return result ? result->action : std::string(to_string(result.error().kind)) + ": " + result.error().what;
}

// Two servers of equal priority; a scan of 10 s, and 3 s for each connect.
class ScanAttemptsTest : public testing::Test {
 protected:
  ScanAttempts begin(Duration time = seconds(10), bool late_is_unreachable = false) {
    return {upstreams, {now + time, seconds(3), late_is_unreachable}};
  }
  // The next attempt, by server; none when the scan has ended.
  std::optional<std::size_t> attempt(ScanAttempts& attempts) {
    const auto server = attempts.next();
    if (server) connect_by = attempts.begin(now);
    return server;
  }

  TimePoint now = start;
  TimePoint connect_by{};
  Upstreams upstreams{{{TcpEndpoint{"192.0.2.1", 11333}}, {TcpEndpoint{"192.0.2.2", 11333}}}};
  const ScanAttempts::NoConnection refused{false, false, "Connection refused"};
  const ScanAttempts::NoConnection lacking{false, true, "Too many open files"};
  const ScanAttempts::NoConnection late{true, false, "no connection in time"};
};

TEST_F(ScanAttemptsTest, AVerdict) {
  ScanAttempts attempts = begin();
  EXPECT_EQ(attempts.tried(), std::nullopt);
  EXPECT_EQ(attempt(attempts), 0U);
  EXPECT_EQ(attempts.connected(), std::nullopt);
  EXPECT_EQ(text_of(attempts.finished(verdict(), now, half)), "");
  EXPECT_EQ(attempt(attempts), std::nullopt);
  EXPECT_EQ(text_of(attempts.result()), "no action");
  EXPECT_EQ(attempts.tried(), 0U);
  EXPECT_EQ(attempts.connected(), 0U);
}

TEST_F(ScanAttemptsTest, AConnectEndsWithItsTimeoutOrWithTheScan) {
  ScanAttempts attempts = begin();
  attempt(attempts);
  EXPECT_EQ(connect_by, start + seconds(3));
  attempts.not_connected(refused, now, half);
  now += seconds(9);
  attempt(attempts);
  EXPECT_EQ(connect_by, start + seconds(10));
}

TEST_F(ScanAttemptsTest, AServerThatCannotBeConnectedToIsDown) {
  ScanAttempts attempts = begin();
  attempt(attempts);
  EXPECT_EQ(attempts.recorded(refused), "refused Connection refused");
  EXPECT_EQ(text_of(attempts.not_connected(refused, now, half)), "down: Connection refused");
  EXPECT_EQ(upstreams.next_probe(), now + Upstreams::first_pause);
  EXPECT_EQ(attempt(attempts), 1U);
  now += seconds(3);
  EXPECT_EQ(attempts.recorded(late), "refused no connection in time") << "the scan has time left";
  EXPECT_EQ(text_of(attempts.not_connected(late, now, half)), "down: no connection in time");
  EXPECT_EQ(attempt(attempts), std::nullopt);
  EXPECT_EQ(text_of(attempts.result()), "unreachable: no connection in time");
  EXPECT_EQ(attempts.tried(), 1U);
  EXPECT_EQ(attempts.connected(), std::nullopt);

  ScanAttempts again = begin();  // both are down: the first one is back first
  EXPECT_EQ(attempt(again), 0U);
  EXPECT_EQ(text_of(again.not_connected(refused, now, half)), "") << "no news";
}

TEST_F(ScanAttemptsTest, WhatThisHostIsShortOfSaysNothingAboutAServer) {
  ScanAttempts attempts = begin();
  attempt(attempts);
  EXPECT_EQ(attempts.recorded(lacking), "lacking Too many open files");
  EXPECT_EQ(text_of(attempts.not_connected(lacking, now, half)), "");
  EXPECT_TRUE(upstreams.up(0));
  EXPECT_EQ(upstreams.next_probe(), std::nullopt);
  EXPECT_EQ(attempt(attempts), 1U);
  attempts.not_connected(refused, now, half);
  EXPECT_EQ(attempt(attempts), std::nullopt);
  EXPECT_EQ(text_of(attempts.result()), "overload: Too many open files");
}

TEST_F(ScanAttemptsTest, TheScansOwnDeadlineIsNoFaultOfTheServer) {
  ScanAttempts attempts = begin(seconds(2));
  attempt(attempts);
  now = connect_by;
  EXPECT_EQ(attempts.recorded(late), "timed_out");
  EXPECT_EQ(text_of(attempts.not_connected(late, now, half)), "");
  EXPECT_TRUE(upstreams.up(0));
  EXPECT_EQ(upstreams.next_probe(), now) << "but it is probed at once";
  EXPECT_EQ(attempt(attempts), std::nullopt) << "no other server has time, either";
  EXPECT_EQ(text_of(attempts.result()), "timed_out: no complete reply within the time given");
  EXPECT_EQ(attempts.connected(), std::nullopt);
}

TEST_F(ScanAttemptsTest, OrItIsWhereThatIsWanted) {
  ScanAttempts attempts = begin(seconds(2), true);
  attempt(attempts);
  now = connect_by;
  EXPECT_EQ(text_of(attempts.not_connected(late, now, half)), "down: no connection in time");
  EXPECT_EQ(attempt(attempts), 1U);
  attempts.not_connected(late, now, half);
  EXPECT_EQ(text_of(attempts.result()), "unreachable: no connection in time");
}

TEST_F(ScanAttemptsTest, ARefusalBeforeTheDeadlineIsNoTimeout) {
  ScanAttempts attempts = begin(seconds(2));
  attempt(attempts);
  EXPECT_EQ(attempts.recorded(refused), "refused Connection refused");
  attempts.not_connected(refused, now, half);
  EXPECT_EQ(attempt(attempts), 1U);
}

TEST_F(ScanAttemptsTest, WhatAConversationTellsAboutItsServer) {
  struct Row {
    std::string what;
    ScanResult result;
    std::string change;  // of a server that is down
    bool probed;         // one that is up
  };
  const Row rows[] = {
      {"a verdict", verdict(), "up", false},
      {"an error over HTTP", failure(Kind::http), "up", false},
      {"no HTTP", failure(Kind::unreadable), "", false},
      {"lost", failure(Kind::unreachable), "", true},
      {"too slow", failure(Kind::timed_out), "", true},
      {"the mail cannot be read", failure(Kind::overload), "", false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    upstreams = Upstreams({{TcpEndpoint{"192.0.2.1", 11333}}, {TcpEndpoint{"192.0.2.2", 11333}}});
    ScanAttempts up = begin();
    attempt(up);
    EXPECT_EQ(text_of(up.finished(row.result, now, half)), "");
    EXPECT_EQ(upstreams.next_probe().has_value(), row.probed);

    upstreams = Upstreams({{TcpEndpoint{"192.0.2.1", 11333}}, {TcpEndpoint{"192.0.2.2", 11333}}});
    upstreams.not_connected(0, now - milliseconds(1), half);
    upstreams.not_connected(1, now - milliseconds(1), half);
    ScanAttempts down = begin();
    attempt(down);
    EXPECT_EQ(text_of(down.finished(row.result, now, half)), row.change);
  }
}

TEST_F(ScanAttemptsTest, FourTimeoutsInARowAreNews) {
  upstreams = Upstreams({{TcpEndpoint{"192.0.2.1", 11333}}});
  for (unsigned scan = 1; scan <= Upstreams::max_timeouts; ++scan) {
    ScanAttempts attempts = begin();
    attempt(attempts);
    EXPECT_EQ(text_of(attempts.finished(failure(Kind::timed_out), now, half)),
              scan == Upstreams::max_timeouts ? "down: several scans in a row timed out" : "");
  }
}

TEST_F(ScanAttemptsTest, AnAnswerToAnAttemptThatBeganBeforeItWentDownIsNoNews) {
  ScanAttempts attempts = begin();
  attempt(attempts);
  upstreams.not_connected(0, now + milliseconds(1), half);
  EXPECT_EQ(text_of(attempts.finished(verdict(), now + seconds(1), half)), "");
  EXPECT_FALSE(upstreams.up(0));
}

TEST_F(ScanAttemptsTest, LostTwice) {
  ScanAttempts attempts = begin();
  EXPECT_EQ(attempt(attempts), 0U);
  attempts.finished(failure(Kind::unreachable), now, half);
  EXPECT_EQ(attempt(attempts), 1U);
  attempts.finished(failure(Kind::unreachable), now, half);
  EXPECT_EQ(attempt(attempts), std::nullopt);
  EXPECT_EQ(text_of(attempts.result()), "http: refused: connection lost twice, last: what");
  EXPECT_EQ(attempts.connected(), 1U);
}

}  // namespace
}  // namespace mailbridge::rspamd
