#include "rspamd/upstreams.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace mailbridge::rspamd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr TimePoint start = TimePoint(std::chrono::hours(1));
constexpr double half = 0.5;  // of the jitter: the pause as it is written

Upstreams with(const std::vector<int>& priorities) {
  std::vector<Upstream> upstreams;
  for (const int priority : priorities) upstreams.push_back({TcpEndpoint{"192.0.2.1", 11333}, priority});
  return Upstreams(upstreams);
}

TEST(Upstream, Parsed) {
  struct Row {
    std::string text;
    std::string shown;  // or what is wrong
  };
  const Row rows[] = {
      {"http://scan.example.org", "http://scan.example.org:11333"},
      {"http://[::1]:1,priority=7", "http://[::1]:1,priority=7"},
      {"unix:/run/rspamd/normal.sock,priority=1000", "unix:/run/rspamd/normal.sock,priority=1000"},
      {"http://a,priority=0", "http://a:11333"},
      {"https://a:443", "https://a:443"},
      {"http://a,key=un4jzyxw8g3ue9okbz89q8a34azud8jk6n6j5tonzbw78z79tcpy",
       "http://a:11333,key=un4jzyxw8g3ue9okbz89q8a34azud8jk6n6j5tonzbw78z79tcpy"},
      {"http://a,key=un4jzyxw8g3ue9okbz89q8a34azud8jk6n6j5tonzbw78z79tcpy,priority=2",
       "http://a:11333,priority=2,key=un4jzyxw8g3ue9okbz89q8a34azud8jk6n6j5tonzbw78z79tcpy"},
      {"http://a,key=abc", "a public key of rspamd has 52 letters, not less"},
      {"http://a,key=yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", "this public key protects nothing"},
      {"http://a,priority=1,priority=2", "'priority=N' and 'key=KEY' can follow an endpoint, each once, not 'priority=2'"},
      {"", "an rspamd endpoint begins with 'http://', 'https://' or 'unix:/'"},
      {",priority=1", "an rspamd endpoint begins with 'http://', 'https://' or 'unix:/'"},
      {"http://a,", "'priority=N' and 'key=KEY' can follow an endpoint, each once, not ''"},
      {"http://a,weight=3", "'priority=N' and 'key=KEY' can follow an endpoint, each once, not 'weight=3'"},
      {"http://a,http://b", "'priority=N' and 'key=KEY' can follow an endpoint, each once, not 'http://b'"},
      {"http://a,priority=", "a priority is a number from 0 to 1000, not ''"},
      {"http://a,priority=-1", "a priority is a number from 0 to 1000, not '-1'"},
      {"http://a,priority=1001", "a priority is a number from 0 to 1000, not '1001'"},
      {"http://a,priority=99999999999999999999", "a priority is a number from 0 to 1000, not '99999999999999999999'"},
  };
  for (const Row& row : rows) {
    const auto upstream = parse_upstream(row.text);
    EXPECT_EQ(upstream ? to_string(*upstream) : upstream.error().what, row.shown) << row.text;
  }
}

TEST(UpstreamsOf, TheKeyIsForThoseWithoutOne) {
  const std::string own = "un4jzyxw8g3ue9okbz89q8a34azud8jk6n6j5tonzbw78z79tcpy";
  const std::string other = "yn4jzyxw8g3ue9okbz89q8a34azud8jk6n6j5tonzbw78z79tcpy";
  const auto upstreams = upstreams_of({"http://a,key=" + own, "http://b"}, other).value();
  ASSERT_EQ(upstreams.size(), 2U);
  ASSERT_NE(httpcrypt::parse_key(own).value(), httpcrypt::parse_key(other).value());
  EXPECT_EQ(upstreams[0].key, httpcrypt::parse_key(own).value());
  EXPECT_EQ(upstreams[1].key, httpcrypt::parse_key(other).value());
  EXPECT_FALSE(upstreams_of({"http://b"}, "").value()[0].key);
  EXPECT_TRUE(upstreams_of(std::vector<std::string>(Upstreams::max_count, "http://a"), ""));
  EXPECT_FALSE(upstreams_of(std::vector<std::string>(Upstreams::max_count + 1, "http://a"), ""));
}

TEST(Upstreams, TheHighestPriorityThatIsUpInTurn) {
  struct Row {
    std::string what;
    std::vector<int> priorities;
    std::vector<std::size_t> down;
    Upstreams::Set without;
    std::vector<std::size_t> chosen;
  };
  const Row rows[] = {
      {"one", {0}, {}, 0, {0, 0, 0}},
      {"equals in turn", {0, 0, 0}, {}, 0, {0, 1, 2, 0, 1}},
      {"the highest first", {0, 5, 1, 5}, {}, 0, {1, 3, 1, 3}},
      {"its equal alone when one is down", {0, 5, 1, 5}, {1}, 0, {3, 3, 3}},
      {"the next lower when all above are down", {0, 5, 1, 5}, {1, 3}, 0, {2, 2}},
      {"the lowest last", {0, 5, 1, 5}, {1, 3, 2}, 0, {0, 0}},
      {"all down: who went down first is back first", {0, 0, 9}, {1, 2, 0}, 0, {1, 1}},
      {"the only one is never given up", {0}, {0}, 0, {0, 0}},
      {"not those", {0, 5, 1, 5}, {}, 0b1010, {2, 2}},
      {"down, but the others were tried", {0, 0}, {1}, 0b01, {1, 1}},
  };
  for (const Row& row : rows) {
    Upstreams upstreams = with(row.priorities);
    TimePoint now = start;
    for (const std::size_t server : row.down) EXPECT_TRUE(upstreams.not_connected(server, now += milliseconds(1), half));
    for (const std::size_t server : row.chosen) EXPECT_EQ(upstreams.choose(row.without), server) << row.what;
  }
  EXPECT_EQ(with({0, 0}).choose(0b11), std::nullopt);
}

TEST(Upstreams, PausesDoubleAreCappedAndEndWithAPing) {
  Upstreams upstreams = with({0, 0});
  TimePoint now = start;
  EXPECT_EQ(upstreams.next_probe(), std::nullopt);
  EXPECT_TRUE(upstreams.not_connected(0, now, half));
  for (const int pause : {1, 2, 4, 8, 16, 32, 60, 60}) {
    EXPECT_EQ(upstreams.next_probe(), now + seconds(pause));
    EXPECT_EQ(upstreams.take_probe(now + seconds(pause) - milliseconds(1)), std::nullopt);
    now += seconds(pause);
    EXPECT_EQ(upstreams.take_probe(now), 0U);
    EXPECT_EQ(upstreams.next_probe(), std::nullopt) << "one probe at a time";
    EXPECT_FALSE(upstreams.pinged(0, false, now, half)) << "no news";
    EXPECT_EQ(upstreams.choose(0), 1U);
  }
  now += seconds(60);
  EXPECT_EQ(upstreams.take_probe(now), 0U);
  EXPECT_EQ(upstreams.choose(0), 1U) << "not before it has answered";
  EXPECT_TRUE(upstreams.pinged(0, true, now, half));
  EXPECT_TRUE(upstreams.up(0));
  EXPECT_EQ(upstreams.choose(0), 0U);

  // A ping is no scan: what fails again is left alone for as long as before. An answer to a scan ends that.
  EXPECT_TRUE(upstreams.not_connected(0, now, half));
  EXPECT_EQ(upstreams.next_probe(), now + seconds(60));
  EXPECT_TRUE(upstreams.answered(0, now));
  EXPECT_EQ(upstreams.next_probe(), std::nullopt);
  EXPECT_TRUE(upstreams.not_connected(0, now, half));
  EXPECT_EQ(upstreams.next_probe(), now + seconds(1));
}

TEST(Upstreams, JitterNeverMakesAPauseShorterThanTheOneBefore) {
  Upstreams upstreams = with({0, 0});
  upstreams.not_connected(0, start, 1);
  Duration last = *upstreams.next_probe() - start;
  EXPECT_EQ(last, milliseconds(1200));
  for (int i = 0; i < 6; ++i) {
    upstreams.take_probe(start + std::chrono::hours(1));
    upstreams.pinged(0, false, start, i % 2 == 0 ? 0 : 1);
    EXPECT_GT(*upstreams.next_probe() - start, last);
    last = *upstreams.next_probe() - start;
  }
  EXPECT_EQ(last, seconds(72));
}

TEST(Upstreams, WhatWasUnderWayWhenItWentDownIsNoNews) {
  Upstreams upstreams = with({0, 0});
  EXPECT_TRUE(upstreams.not_connected(0, start, half));
  EXPECT_FALSE(upstreams.not_connected(0, start + milliseconds(500), half));
  EXPECT_FALSE(upstreams.timed_out(0, start + milliseconds(500), half));
  upstreams.lost(0, start + milliseconds(500));
  EXPECT_EQ(upstreams.next_probe(), start + seconds(1));
  EXPECT_FALSE(upstreams.answered(0, start - milliseconds(1))) << "begun before";
  EXPECT_TRUE(upstreams.answered(0, start + milliseconds(1)));
}

TEST(Upstreams, FourTimeoutsInARowAreTheServersFault) {
  Upstreams upstreams = with({0, 0});
  TimePoint now = start;
  for (int mail = 0; mail < 100; ++mail) {
    EXPECT_FALSE(upstreams.timed_out(0, now, half));
    if (mail % 3 == 2) {
      EXPECT_FALSE(upstreams.answered(0, now));
    }
  }
  EXPECT_FALSE(upstreams.timed_out(0, now, half));
  EXPECT_FALSE(upstreams.timed_out(0, now, half));
  EXPECT_EQ(upstreams.take_probe(now), 0U) << "a suspect from the first one on";
  EXPECT_FALSE(upstreams.pinged(0, true, now, half));
  EXPECT_TRUE(upstreams.timed_out(0, now, half));
  EXPECT_FALSE(upstreams.up(0));
  // It answers /ping but not a scan: the next one is enough.
  now += seconds(1);
  EXPECT_EQ(upstreams.take_probe(now), 0U);
  EXPECT_TRUE(upstreams.pinged(0, true, now, half));
  EXPECT_TRUE(upstreams.timed_out(0, now, half));
  EXPECT_EQ(upstreams.next_probe(), now + seconds(2));
}

TEST(Upstreams, ALostConnectionMakesASuspectThatGetsMail) {
  Upstreams upstreams = with({1, 0});
  upstreams.lost(0, start);
  EXPECT_EQ(upstreams.choose(0), 0U);
  EXPECT_EQ(upstreams.next_probe(), start);
  EXPECT_EQ(upstreams.take_probe(start), 0U);
  upstreams.lost(0, start);
  EXPECT_EQ(upstreams.take_probe(start), std::nullopt) << "one probe at a time";
  EXPECT_FALSE(upstreams.pinged(0, true, start, half));
  EXPECT_EQ(upstreams.next_probe(), std::nullopt);
  upstreams.lost(0, start);
  EXPECT_EQ(upstreams.take_probe(start), 0U);
  EXPECT_TRUE(upstreams.pinged(0, false, start, half));
  EXPECT_EQ(upstreams.choose(0), 1U);
}

TEST(Upstreams, ASingleServerIsNotProbed) {
  Upstreams upstreams = with({0});
  upstreams.lost(0, start);
  EXPECT_TRUE(upstreams.not_connected(0, start, half));
  EXPECT_EQ(upstreams.next_probe(), std::nullopt);
  EXPECT_EQ(upstreams.take_probe(start + std::chrono::hours(1)), std::nullopt);
  EXPECT_TRUE(upstreams.answered(0, start));
}

TEST(Upstreams, WhateverHappensSomeServerGetsTheMail) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
    const auto jitter = [&] { return std::uniform_real_distribution<double>(0, 1)(random); };
    std::vector<int> priorities(1 + below(6));
    for (int& priority : priorities) priority = static_cast<int>(below(3));
    Upstreams upstreams = with(priorities);
    TimePoint now = start;
    std::vector<std::size_t> probed;
    for (int step = 0; step < 300; ++step) {
      now += milliseconds(below(4000));
      const std::size_t server = below(priorities.size());
      switch (below(6)) {
        case 0:
          upstreams.not_connected(server, now, jitter());
          break;
        case 1:
          upstreams.timed_out(server, now, jitter());
          break;
        case 2:
          upstreams.lost(server, now);
          break;
        case 3:
          upstreams.answered(server, now - milliseconds(below(2000)));
          break;
        case 4:
          while (const auto probe = upstreams.take_probe(now)) probed.push_back(*probe);
          break;
        default:
          if (probed.empty()) break;
          upstreams.pinged(probed.back(), below(2) == 0, now, jitter());
          probed.pop_back();
      }
      const Upstreams::Set without = below(2) == 0 ? 0 : below(std::size_t{1} << priorities.size());
      const auto chosen = upstreams.choose(without);
      int best = -1;
      bool any = false;
      for (std::size_t i = 0; i < priorities.size(); ++i) {
        if ((without >> i & 1) != 0) continue;
        any = true;
        if (upstreams.up(i)) best = std::max(best, priorities[i]);
      }
      ASSERT_EQ(chosen.has_value(), any) << seed;
      if (!any) continue;
      ASSERT_EQ(without >> *chosen & 1, 0U) << seed;
      if (best >= 0) {
        ASSERT_TRUE(upstreams.up(*chosen)) << seed;
        ASSERT_EQ(priorities[*chosen], best) << seed;
      }
      // Whoever is down is asked sooner or later.
      for (std::size_t i = 0; i < priorities.size() && priorities.size() > 1; ++i) {
        if (upstreams.up(i) || std::find(probed.begin(), probed.end(), i) != probed.end()) continue;
        ASSERT_TRUE(upstreams.next_probe() && *upstreams.next_probe() <= now + seconds(72)) << seed;
      }
    }
  }
}

TEST(Upstreams, APingThatCouldNotBeSentIsNoNews) {
  Upstreams upstreams = with({1, 0});
  upstreams.not_connected(0, start, half);
  const TimePoint first = *upstreams.next_probe();
  ASSERT_EQ(upstreams.take_probe(first), 0U);
  EXPECT_FALSE(upstreams.next_probe());
  for (int i = 1; i <= 10; ++i) {
    upstreams.not_pinged(0, first + (i - 1) * Upstreams::first_pause);
    EXPECT_EQ(upstreams.next_probe(), first + i * Upstreams::first_pause) << "no pause grows";
    ASSERT_EQ(upstreams.take_probe(first + i * Upstreams::first_pause), 0U);
  }
  EXPECT_FALSE(upstreams.up(0));
  EXPECT_TRUE(upstreams.pinged(0, true, first, half));
}

// What each attempt comes to, in turn; a scan's way over the servers, and what it ends with.
enum class Event { no_connection, not_tried, lost, timed_out, refused, unreadable, verdict };

ScanResult result_of(Event event) {
  using Kind = ScanFailure::Kind;
  switch (event) {
    case Event::lost:
      return tl::unexpected(ScanFailure{Kind::unreachable, "Connection reset by peer"});
    case Event::timed_out:
      return tl::unexpected(ScanFailure{Kind::timed_out, "too slow"});
    case Event::refused:
      return tl::unexpected(ScanFailure{Kind::http, "500 no"});
    case Event::unreadable:
      return tl::unexpected(ScanFailure{Kind::unreadable, "garbage"});
    case Event::no_connection:
    case Event::not_tried:
    case Event::verdict:
      break;
  }
  Verdict verdict;
  verdict.action = "no action";
  return verdict;
}

TEST(Attempts, WhatIsTriedAgain) {
  using enum Event;
  struct Row {
    std::size_t servers;
    std::vector<Event> events;
    std::vector<std::size_t> way;
    std::string end;
  };
  const std::string ours = "overload: Too many open files";
  const std::string twice = "http: refused: connection lost twice, last: Connection reset by peer";
  const Row rows[] = {
      {1, {verdict}, {0}, "no action"},
      {1, {no_connection}, {0}, "unreachable: Connection refused"},
      {1, {lost, verdict}, {0, 0}, "no action"},
      {1, {lost, lost}, {0, 0}, twice},
      {1, {lost, no_connection}, {0, 0}, "unreachable: Connection refused"},
      {1, {lost, timed_out}, {0, 0}, "timed_out: too slow"},
      {1, {timed_out}, {0}, "timed_out: too slow"},
      {3, {refused}, {0}, "http: 500 no"},
      {3, {unreadable}, {0}, "unreadable: garbage"},
      {3, {timed_out}, {0}, "timed_out: too slow"},
      {3, {no_connection, verdict}, {0, 1}, "no action"},
      {3, {no_connection, no_connection, refused}, {0, 1, 2}, "http: 500 no"},
      {3, {no_connection, no_connection, no_connection}, {0, 1, 2}, "unreachable: Connection refused"},
      {3, {lost, verdict}, {0, 1}, "no action"},
      {3, {lost, lost}, {0, 1}, twice},
      {3, {lost, no_connection, lost}, {0, 1, 2}, twice},
      {3, {no_connection, lost, lost}, {0, 1, 2}, twice},
      {2, {lost, no_connection, verdict}, {0, 1, 0}, "no action"},
      {2, {lost, no_connection, lost}, {0, 1, 0}, twice},
      {2, {lost, no_connection, no_connection}, {0, 1, 0}, "unreachable: Connection refused"},
      {2, {no_connection, lost, verdict}, {0, 1, 1}, "no action"},
      {1, {not_tried}, {0}, ours},
      {1, {lost, not_tried}, {0, 0}, ours},
      {2, {not_tried, verdict}, {0, 1}, "no action"},
      {2, {not_tried, no_connection}, {0, 1}, ours},
      {2, {no_connection, not_tried}, {0, 1}, ours},
      {2, {not_tried, timed_out}, {0, 1}, "timed_out: too slow"},
      {2, {not_tried, lost, no_connection}, {0, 1, 1}, ours},
      {2, {not_tried, lost, lost}, {0, 1, 1}, twice},
  };
  for (const Row& row : rows) {
    Upstreams upstreams = with(std::vector<int>(row.servers));
    Attempts attempts;
    std::string name;
    for (std::size_t i = 0; i < row.events.size(); ++i) {
      name += std::to_string(static_cast<int>(row.events[i])) + " ";
      const auto server = attempts.next(upstreams);
      ASSERT_EQ(server, row.way[i]) << name;
      if (row.events[i] == no_connection) attempts.not_connected(*server, "Connection refused");
      else if (row.events[i] == not_tried) attempts.not_tried(*server, "Too many open files");
      else attempts.finished(*server, result_of(row.events[i]));
    }
    EXPECT_EQ(attempts.next(upstreams), std::nullopt) << name;
    const ScanResult& result = attempts.result();
    EXPECT_EQ(result ? result->action : std::string(to_string(result.error().kind)) + ": " + result.error().what, row.end)
        << name;
  }
}

}  // namespace
}  // namespace mailbridge::rspamd
