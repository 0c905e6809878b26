#include "session/scan_queue.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <vector>

namespace mailbridge::session {
namespace {

std::vector<ScanId> begin_all(ScanQueue& queue) {
  std::vector<ScanId> begun;
  while (const auto id = queue.next()) begun.push_back(*id);
  return begun;
}

using Ids = std::vector<ScanId>;

TEST(ScanQueue, SoManyAtOnceAndTheOthersInOrder) {
  ScanQueue queue(2, 10);
  for (const ScanId id : {1U, 2U, 3U, 4U}) EXPECT_FALSE(queue.add(id, "a"));
  EXPECT_EQ(begin_all(queue), (Ids{1, 2}));
  queue.ended();
  EXPECT_EQ(begin_all(queue), (Ids{3}));
  queue.remove(4);
  queue.remove(4);
  queue.ended();
  EXPECT_EQ(begin_all(queue), Ids{});
  EXPECT_EQ(queue.running(), 1U);
  EXPECT_EQ(queue.waiting(), 0U);
}

TEST(ScanQueue, ClientsTakeTurns) {
  ScanQueue queue(1, 100);
  for (ScanId id = 1; id <= 50; ++id) queue.add(id, "many");
  EXPECT_EQ(begin_all(queue), (Ids{1}));
  queue.add(51, "one");
  queue.add(52, "two");
  queue.add(53, "two");
  Ids order;
  for (int i = 0; i < 7; ++i) {
    queue.ended();
    const Ids begun = begin_all(queue);
    order.insert(order.end(), begun.begin(), begun.end());
  }
  EXPECT_EQ(order, (Ids{2, 51, 52, 3, 53, 4, 5}));
}

TEST(ScanQueue, AFullQueueTurnsAwayTheNewestOfTheClientWithTheMost) {
  ScanQueue queue(1, 3);
  queue.add(1, "many");
  begin_all(queue);
  for (const ScanId id : {2U, 3U, 4U}) EXPECT_FALSE(queue.add(id, "many"));
  EXPECT_EQ(queue.add(5, "many"), 5U);
  EXPECT_EQ(queue.add(6, "one"), 4U);
  EXPECT_EQ(queue.add(7, "one"), 7U) << "two would be as many as the other has";
  EXPECT_EQ(queue.add(8, "two"), 3U);
  EXPECT_EQ(queue.add(9, "three"), 9U) << "each has one";
  EXPECT_EQ(queue.waiting(), 3U);
}

TEST(ScanQueue, WithoutAQueueOnlyWhatCanBeginIsTaken) {
  ScanQueue queue(1, 0);
  EXPECT_FALSE(queue.add(1, "a"));
  EXPECT_EQ(begin_all(queue), (Ids{1}));
  EXPECT_EQ(queue.add(2, "b"), 2U);
  queue.ended();
  EXPECT_FALSE(queue.add(3, "b"));
  EXPECT_EQ(begin_all(queue), (Ids{3}));
}

TEST(ScanQueue, LimitsCanChange) {
  ScanQueue queue(3, 3);
  for (const ScanId id : {1U, 2U, 3U, 4U, 5U, 6U}) {
    queue.add(id, "a");
    begin_all(queue);
  }
  queue.set_limits(1, 1);
  EXPECT_EQ(queue.add(7, "a"), 7U);
  queue.ended();
  queue.ended();
  EXPECT_EQ(begin_all(queue), Ids{});
  queue.set_limits(5, 1);
  EXPECT_EQ(begin_all(queue), (Ids{4, 5, 6}));
}

TEST(ScanQueue, WhatCouldNotBeginWaitsForAnotherToEnd) {
  ScanQueue queue(10, 10);
  for (ScanId id = 1; id <= 8; ++id) queue.add(id, id % 2 == 0 ? "even" : "odd");
  EXPECT_EQ(begin_all(queue), (Ids{1, 2, 3, 4, 5, 6, 7, 8}));
  for (const ScanId id : {8U, 7U, 6U, 5U, 4U, 3U}) queue.put_back(id, id % 2 == 0 ? "even" : "odd");
  EXPECT_EQ(queue.running(), 2U);
  EXPECT_EQ(queue.waiting(), 6U);
  EXPECT_EQ(begin_all(queue), Ids{}) << "before one has ended there is no room";
  queue.ended();
  EXPECT_EQ(begin_all(queue), (Ids{3}));
  queue.ended();
  EXPECT_EQ(begin_all(queue), (Ids{4, 5})) << "as many have ended as ran: one more is tried";
  queue.put_back(5, "odd");
  queue.ended();
  EXPECT_EQ(begin_all(queue), (Ids{5}));
  queue.remove(6);
  queue.ended();
  EXPECT_EQ(begin_all(queue), (Ids{8, 7})) << "clients take turns";
  queue.set_limits(10, 10);
  for (ScanId id = 11; id <= 20; ++id) queue.add(id, "more");
  EXPECT_EQ(begin_all(queue).size(), 7U) << "new settings, new hope";
}

TEST(ScanQueue, TheLastOneThatCouldNotBeginMayTryAgain) {
  ScanQueue queue(2, 10);
  queue.add(1, "a");
  queue.add(2, "b");
  EXPECT_EQ(begin_all(queue), (Ids{1, 2}));
  queue.put_back(2, "b");
  queue.put_back(1, "a");
  EXPECT_EQ(begin_all(queue), (Ids{1}));
}

// The same rules, written down as plainly as possible.
class Model {
 public:
  Model(std::size_t max_running, std::size_t max_waiting) : max_running_(max_running), max_waiting_(max_waiting) {}

  std::optional<ScanId> add(ScanId id, const std::string& client) {
    waiting_.push_back({id, client});
    if (std::find(turns_.begin(), turns_.end(), client) == turns_.end()) turns_.push_back(client);
    if (running_ < max_running_ || waiting_.size() <= max_waiting_) return std::nullopt;
    std::size_t most = 0;
    for (const std::string& each : turns_) most = std::max(most, count(each));
    for (const std::string& each : turns_) {  // the first of those with the most, but the new one's own when it has as many
      if (count(client) == most ? each != client : count(each) != most) continue;
      const auto newest = std::find_if(waiting_.rbegin(), waiting_.rend(), [&](const auto& w) { return w.second == each; });
      const ScanId gone = newest->first;
      remove(gone);
      return gone;
    }
    return std::nullopt;
  }
  std::optional<ScanId> next() {
    if (running_ >= max_running_ || waiting_.empty()) return std::nullopt;
    const std::string client = turns_.front();
    turns_.pop_front();
    turns_.push_back(client);
    const auto oldest = std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& w) { return w.second == client; });
    const ScanId id = oldest->first;
    remove(id);
    ++running_;
    return id;
  }
  void ended() { --running_; }
  void remove(ScanId id) {
    std::erase_if(waiting_, [&](const auto& w) { return w.first == id; });
    std::erase_if(turns_, [&](const std::string& client) { return count(client) == 0; });
  }
  std::size_t count(const std::string& client) const {
    return static_cast<std::size_t>(
        std::count_if(waiting_.begin(), waiting_.end(), [&](const auto& w) { return w.second == client; }));
  }
  std::size_t running_ = 0;
  std::deque<std::pair<ScanId, std::string>> waiting_;

 private:
  std::size_t max_running_, max_waiting_;
  std::deque<std::string> turns_;
};

TEST(ScanQueue, DoesWhatItsRulesSay) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    const auto up_to = [&](std::size_t most) { return std::uniform_int_distribution<std::size_t>(0, most)(random); };
    const std::size_t max_running = 1 + up_to(4), max_waiting = up_to(12);
    ScanQueue queue(max_running, max_waiting);
    Model model(max_running, max_waiting);
    for (ScanId id = 1; id < 400; ++id) {
      switch (up_to(3)) {
        case 0:
        case 1: {
          const std::string client(1, static_cast<char>('a' + up_to(4)));
          ASSERT_EQ(queue.add(id, client), model.add(id, client)) << seed << " " << id;
          break;
        }
        case 2:
          if (queue.running() > 0) queue.ended(), model.ended();
          break;
        default: {
          const ScanId gone = 1 + up_to(id);
          queue.remove(gone);
          model.remove(gone);
        }
      }
      for (;;) {
        const auto begun = queue.next();
        ASSERT_EQ(begun, model.next()) << seed << " " << id;
        if (!begun) break;
      }
      ASSERT_EQ(queue.running(), model.running_);
      ASSERT_EQ(queue.waiting(), model.waiting_.size());
      ASSERT_LE(queue.running(), max_running);
      ASSERT_LE(queue.waiting(), max_waiting);
      ASSERT_TRUE(queue.waiting() == 0 || queue.running() == max_running) << "nobody waits for nothing";
    }
  }
}

}  // namespace
}  // namespace mailbridge::session
