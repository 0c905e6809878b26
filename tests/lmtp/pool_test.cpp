#include "lmtp/pool.hpp"

#include <gtest/gtest.h>

namespace mailbridge::lmtp {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

// Connections are numbers.
class PoolTest : public testing::Test {
 protected:
  using Turn = Pool<int>::Turn;

  // The ticket whose turn it is, or 0.
  std::uint64_t turn() {
    last = pool.next(now);
    return last ? last->ticket : 0;
  }

  TimePoint now = TimePoint(std::chrono::hours(1));
  Pool<int> pool{{.count = 2, .idle = seconds(60), .age = minutes(10), .uses = 3}};
  std::optional<Turn> last;
};

TEST_F(PoolTest, ServesInTurnAndNoMoreThanItsCount) {
  const auto a = pool.wait(Purpose::lookup);
  const auto b = pool.wait(Purpose::lookup);
  const auto c = pool.wait(Purpose::lookup);
  EXPECT_EQ(turn(), a);
  EXPECT_FALSE(last->connection);
  EXPECT_EQ(turn(), b);
  EXPECT_EQ(turn(), 0U);
  pool.give_back(a, 7, true, now);
  EXPECT_EQ(turn(), c);
  EXPECT_EQ(last->connection, 7);
  EXPECT_EQ(turn(), 0U);
  EXPECT_EQ(pool.waiting(), 0U);
}

TEST_F(PoolTest, TheConnectionUsedLastIsUsedAgain) {
  const auto a = pool.wait(Purpose::lookup);
  const auto b = pool.wait(Purpose::lookup);
  turn();
  turn();
  pool.give_back(b, 2, true, now);
  pool.give_back(a, 1, true, now);
  pool.wait(Purpose::lookup);
  turn();
  EXPECT_EQ(last->connection, 1);
  EXPECT_EQ(pool.idle(), 1U);
}

TEST_F(PoolTest, DeliveriesLeaveOneConnectionToLookups) {
  const auto mail = pool.wait(Purpose::delivery);
  const auto another = pool.wait(Purpose::delivery);
  const auto look_up = pool.wait(Purpose::lookup);
  const auto next_one = pool.wait(Purpose::lookup);
  EXPECT_EQ(turn(), mail);
  EXPECT_EQ(turn(), look_up) << "the other mail waits for the first one to end";
  EXPECT_EQ(turn(), 0U);
  pool.end(look_up);
  EXPECT_EQ(turn(), next_one);
  pool.end(mail);
  EXPECT_EQ(turn(), another);
}

TEST_F(PoolTest, LookupsDoNotOvertakeADeliveryThatMayGo) {
  const auto a = pool.wait(Purpose::lookup);
  const auto b = pool.wait(Purpose::lookup);
  turn();
  turn();
  const auto mail = pool.wait(Purpose::delivery);
  pool.wait(Purpose::lookup);
  pool.end(a);
  EXPECT_EQ(turn(), mail);
  pool.end(b);
  EXPECT_NE(turn(), 0U);
}

TEST_F(PoolTest, OneConnectionIsForBoth) {
  pool.set_limits({.count = 1});
  const auto mail = pool.wait(Purpose::delivery);
  const auto look_up = pool.wait(Purpose::lookup);
  EXPECT_EQ(turn(), mail);
  EXPECT_EQ(turn(), 0U);
  pool.end(mail);
  EXPECT_EQ(turn(), look_up);
}

TEST_F(PoolTest, WhoNoLongerWaitsHasNoTurn) {
  const auto a = pool.wait(Purpose::lookup);
  const auto b = pool.wait(Purpose::delivery);
  pool.end(a);
  EXPECT_EQ(turn(), b);
  EXPECT_EQ(turn(), 0U);
}

TEST_F(PoolTest, AnIdleConnectionIsClosedAfterAWhile) {
  const auto a = pool.wait(Purpose::lookup);
  turn();
  EXPECT_EQ(pool.next_expiry(), std::nullopt);
  pool.give_back(a, 1, true, now);
  EXPECT_EQ(pool.next_expiry(), now + seconds(60));
  now += seconds(60) - Duration(1);
  EXPECT_TRUE(pool.take_expired(now).empty());
  now += Duration(1);
  EXPECT_EQ(pool.take_expired(now), std::vector<int>{1});
  EXPECT_EQ(pool.next_expiry(), std::nullopt);
}

TEST_F(PoolTest, AConnectionIsNotKeptForEver) {
  bool fresh = true;
  for (const bool kept : {true, true, false}) {  // three uses
    const auto ticket = pool.wait(Purpose::lookup);
    turn();
    EXPECT_EQ(last->connection.has_value(), !fresh);
    EXPECT_EQ(last->keep, kept);
    if (kept) pool.give_back(ticket, 1, std::exchange(fresh, false), now);
    else pool.end(ticket);
  }
  const auto ticket = pool.wait(Purpose::lookup);
  turn();
  pool.give_back(ticket, 2, true, now);
  now += minutes(10);  // however it was used meanwhile
  pool.wait(Purpose::lookup);
  turn();
  EXPECT_EQ(last->connection, 2);
  EXPECT_FALSE(last->keep);
}

TEST_F(PoolTest, AgeCountsFromTheConnectionThatReplacedAStaleOne) {
  auto ticket = pool.wait(Purpose::lookup);
  turn();
  pool.give_back(ticket, 1, true, now);
  now += minutes(9);
  ticket = pool.wait(Purpose::lookup);
  turn();
  pool.give_back(ticket, 2, true, now);
  EXPECT_EQ(pool.next_expiry(), now + seconds(60));
}

TEST_F(PoolTest, IdleOnesCanBeTakenAtOnce) {
  const auto a = pool.wait(Purpose::lookup);
  const auto b = pool.wait(Purpose::lookup);
  turn();
  turn();
  pool.give_back(a, 1, true, now);
  pool.give_back(b, 2, true, now);
  EXPECT_EQ(pool.take_idle(), (std::vector<int>{1, 2}));
  EXPECT_EQ(pool.idle(), 0U);
}

TEST_F(PoolTest, FewerThanBefore) {
  const auto a = pool.wait(Purpose::lookup);
  const auto b = pool.wait(Purpose::lookup);
  turn();
  turn();
  pool.give_back(a, 1, true, now);
  pool.set_limits({.count = 1});
  EXPECT_EQ(pool.take_expired(now), std::vector<int>{1});
  pool.wait(Purpose::lookup);
  EXPECT_EQ(turn(), 0U);
  pool.end(b);
  EXPECT_NE(turn(), 0U);
}

}  // namespace
}  // namespace mailbridge::lmtp
