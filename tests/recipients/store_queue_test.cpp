#include "recipients/store_queue.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mailbridge::recipients {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

// Connections are numbers.
class StoreQueueTest : public testing::Test {
 protected:
  using Queue = StoreQueue<int>;
  using Work = Queue::Work;

  void look_up(LookupId id, Duration time = seconds(10)) { queue.add(StartLookup{id, "a@x", 0, now + time}); }
  void deliver(DeliveryId id, Duration time = seconds(60)) {
    open.add(id);
    queue.add(StartDelivery{id, {.recipients = {{"a@x"}, {"b@x"}}}, now + time, now + 2 * time});
  }
  // The work that is next, and with 'k' the connection that comes with it: "L1 L2", "D7 k5"; "" when there is none.
  std::string next() {
    work = queue.next(now);
    if (!work) return "";
    std::string text;
    for (const StartLookup& lookup : work->lookups) text += " L" + std::to_string(lookup.id);
    if (work->delivery) text += " D" + std::to_string(work->delivery->id);
    if (work->connection) text += " k" + std::to_string(*work->connection);
    EXPECT_EQ(work->turn.reused, work->connection != nullptr);
    return text.substr(1);
  }
  // The last work is done over a connection that can serve again; 0: over none that can.
  std::vector<int> end(int connection, bool fresh) { return end(*work, connection, fresh); }
  std::vector<int> end(const Work& done, int connection, bool fresh) {
    return numbers(queue.end(done.turn, connection == 0 ? nullptr : std::make_unique<int>(connection), fresh, now));
  }
  static std::vector<int> numbers(std::vector<std::unique_ptr<int>> connections) {
    std::vector<int> all;
    for (const auto& connection : connections) all.push_back(*connection);
    return all;
  }
  // "L2 no connection was free in time"
  std::string unserved() {
    std::string text;
    for (const Unserved& some : queue.take_unserved()) {
      for (const LookupId id : some.lookups) text += "L" + std::to_string(id) + " " + some.why + "\n";
      for (const auto& delivery : some.deliveries)
        text += "D" + std::to_string(delivery.id) + "/" + std::to_string(delivery.recipients) + " " + some.why + "\n";
      EXPECT_FALSE(some.ours);
    }
    return text;
  }

  TimePoint now = TimePoint(std::chrono::hours(1));
  OpenDeliveries open;
  Queue queue{{.count = 1, .idle = seconds(60), .age = minutes(10), .uses = 3}, 3, open};
  std::optional<Work> work;
};

TEST_F(StoreQueueTest, LookUpsThatWaitTogetherShareWork) {
  look_up(1);
  EXPECT_EQ(next(), "L1");
  for (LookupId id = 2; id <= 6; ++id) look_up(id);
  EXPECT_EQ(next(), "") << "there is one connection";
}

TEST_F(StoreQueueTest, ButNoMoreThanABatch) {
  for (LookupId id = 1; id <= 5; ++id) look_up(id);
  EXPECT_EQ(next(), "L1 L2 L3");
  end(7, true);
  EXPECT_EQ(next(), "L4 L5 k7");
  end(7, false);
  EXPECT_EQ(next(), "");
}

TEST_F(StoreQueueTest, DeliveriesAndLookUpsInTheOrderTheyCame) {
  look_up(1);
  EXPECT_EQ(next(), "L1");
  const Work first = std::move(*work);
  deliver(1);
  look_up(2);
  look_up(3);
  deliver(2);
  EXPECT_EQ(end(first, 7, true), std::vector<int>{});
  EXPECT_EQ(next(), "D1 k7");
  end(7, false);
  EXPECT_EQ(next(), "L2 L3 k7");
  EXPECT_FALSE(work->turn.keep) << "its third use";
  end(0, false);
  EXPECT_EQ(next(), "D2");
}

TEST_F(StoreQueueTest, ALookUpThatIsLateIsNotAsked) {
  look_up(1);
  next();
  look_up(2, seconds(1));
  look_up(3, seconds(5));
  now += seconds(1);
  end(7, true);
  EXPECT_EQ(next(), "L3 k7");
  EXPECT_EQ(unserved(), "L2 no connection was free in time\n");
  EXPECT_EQ(unserved(), "");
}

TEST_F(StoreQueueTest, WhenAllAreLateTheConnectionStaysIdle) {
  look_up(1);
  next();
  for (LookupId id = 2; id <= 9; ++id) look_up(id, seconds(1));
  now += seconds(2);
  end(7, true);
  EXPECT_EQ(next(), "");
  EXPECT_EQ(queue.idle(), 1U);
  EXPECT_EQ(queue.held(), 0U);
  EXPECT_EQ(queue.waiting(), 0U);
  look_up(10);
  EXPECT_EQ(next(), "L10 k7");
}

TEST_F(StoreQueueTest, ADeliveryWithoutTimeForItsDotIsAnsweredAtOnce) {
  deliver(1);
  EXPECT_EQ(next(), "D1");
  deliver(2, seconds(5));
  deliver(3, seconds(3));
  EXPECT_EQ(queue.next_due(), now + seconds(3));
  now += seconds(3);
  EXPECT_EQ(next(), "");
  EXPECT_EQ(unserved(), "D3/2 no connection was free in time\n");
  EXPECT_EQ(queue.next_due(), now + seconds(2));
}

TEST_F(StoreQueueTest, ACancelledDeliveryIsNotBegun) {
  deliver(1);
  EXPECT_EQ(next(), "D1");
  EXPECT_STREQ(open.refusal(1), "");
  deliver(2);
  deliver(3);
  open.cancel(1);
  open.cancel(2);
  open.cancel(4);  // it is answered, or never was
  EXPECT_STREQ(open.refusal(1), "the delivery is no longer wanted") << "its dot must not leave";
  EXPECT_EQ(next(), "");
  EXPECT_EQ(unserved(), "") << "it waits for its turn";
  end(7, true);
  EXPECT_EQ(next(), "D3 k7");
  EXPECT_EQ(unserved(), "D2/2 the delivery is no longer wanted\n");
  open.remove(1);
  EXPECT_STREQ(open.refusal(1), "");
}

TEST_F(StoreQueueTest, AStaleConnectionMakesTheIdleOnesSuspect) {
  Queue two({.count = 3}, 1, open);
  std::vector<Work> begun;
  for (LookupId id = 1; id <= 3; ++id) {
    two.add(StartLookup{id, "a@x", 0, now + seconds(9)});
    begun.push_back(std::move(*two.next(now)));
  }
  for (int i = 0; i < 3; ++i) two.end(begun[static_cast<std::size_t>(i)].turn, std::make_unique<int>(i + 1), true, now);
  EXPECT_EQ(two.idle(), 3U);
  two.add(StartLookup{4, "a@x", 0, now + seconds(9)});
  const Work last = std::move(*two.next(now));
  EXPECT_EQ(*last.connection, 3);
  EXPECT_EQ(numbers(two.end(last.turn, std::make_unique<int>(9), true, now)), (std::vector<int>{1, 2}));
  EXPECT_EQ(two.idle(), 1U);
}

TEST_F(StoreQueueTest, AFreshConnectionSaysNothingAboutTheOthers) {
  Queue two({.count = 2}, 1, open);
  for (LookupId id = 1; id <= 2; ++id) two.add(StartLookup{id, "a@x", 0, now + seconds(9)});
  const Work first = std::move(*two.next(now));
  const Work second = std::move(*two.next(now));
  two.end(first.turn, std::make_unique<int>(1), true, now);
  EXPECT_TRUE(two.end(second.turn, nullptr, true, now).empty());
  EXPECT_EQ(two.idle(), 1U);
}

TEST_F(StoreQueueTest, WorkThatCouldNotBeDoneLeavesItsPlace) {
  look_up(1);
  next();
  const auto turn = work->turn;
  look_up(2);
  EXPECT_EQ(next(), "");
  queue.abandon(turn);
  EXPECT_EQ(next(), "L2");
  queue.abandon(turn);  // nothing happens
  EXPECT_EQ(queue.held(), 1U);
}

TEST_F(StoreQueueTest, IdleConnectionsExpire) {
  EXPECT_EQ(queue.next_due(), std::nullopt);
  look_up(1);
  next();
  end(7, true);
  EXPECT_EQ(queue.next_due(), now + seconds(60));
  now += seconds(60);
  EXPECT_EQ(numbers(queue.take_expired(now)), std::vector<int>{7});
  EXPECT_EQ(queue.next_due(), std::nullopt);
}

TEST_F(StoreQueueTest, OnceClosedWhatWaitsIsServedAndNothingIsKept) {
  look_up(1);
  next();
  end(7, true);
  look_up(2);
  EXPECT_EQ(next(), "L2 k7");
  deliver(1);
  EXPECT_TRUE(queue.close().empty());
  end(0, false);
  EXPECT_EQ(next(), "D1");
  EXPECT_FALSE(work->turn.keep);

  look_up(3);
  end(0, true);
  next();
  end(8, true);
  EXPECT_EQ(numbers(queue.close()), std::vector<int>{8});
}

TEST(Probe, AsksAboutAllUntilTheLastIsLate) {
  const TimePoint now(std::chrono::hours(1));
  const Probe probe =
      probe_for({{1, "a@x", 0, now + seconds(2)}, {2, "b@x", 0, now + seconds(3)}, {3, "c@x", 0, now + seconds(1)}});
  EXPECT_TRUE(probe.transaction.probe);
  ASSERT_EQ(probe.transaction.recipients.size(), 3U);
  EXPECT_EQ(probe.transaction.recipients[1].address, "b@x");
  EXPECT_EQ(probe.patience.dot_by, now + seconds(3));
  EXPECT_EQ(probe.patience.reply_by, now + seconds(3));
}

}  // namespace
}  // namespace mailbridge::recipients
