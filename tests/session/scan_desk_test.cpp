#include "session/scan_desk.hpp"

#include <gtest/gtest.h>

#include <string>

namespace mailbridge::session {
namespace {

using namespace std::chrono_literals;

const TimePoint t0 = TimePoint(1h);
const std::string client = "192.0.2.1", other = "192.0.2.2";

class ScanDeskTest : public testing::Test {
 protected:
  ScanDeskTest() { desk.use(2, 2, 30s); }
  ScanDesk desk;
};

TEST_F(ScanDeskTest, AScanBeginsWithTheDeadlineOfWhenItWasWanted) {
  const ScanId id = desk.add(7, client, t0).id;
  EXPECT_EQ(desk.next_deadline(), t0 + 30s);
  EXPECT_FALSE(desk.under_way(id));
  const auto turn = desk.begin();
  ASSERT_TRUE(turn);
  EXPECT_EQ(turn->id, id);
  EXPECT_EQ(turn->session_key, 7U);
  EXPECT_EQ(turn->until, t0 + 30s);
  EXPECT_TRUE(turn->first);
  EXPECT_EQ(desk.under_way(id), 7U);
  EXPECT_EQ(desk.next_deadline(), t0 + 30s + grace) << "the driver ends it first";
  EXPECT_FALSE(desk.begin());
}

TEST_F(ScanDeskTest, OnlySoManyAreUnderWay) {
  for (int i = 0; i < 3; ++i) desk.add(7, client, t0);
  const auto first = desk.begin();
  EXPECT_TRUE(desk.begin());
  EXPECT_FALSE(desk.begin());
  EXPECT_TRUE(desk.drop(first->id)) << "rspamd had it";
  EXPECT_TRUE(desk.begin());
  EXPECT_FALSE(desk.drop(first->id)) << "once";
}

TEST_F(ScanDeskTest, WhoHasToGiveWayIsNamedWithItsSession) {
  desk.add(1, client, t0);
  desk.add(1, client, t0);
  desk.begin();
  desk.begin();
  desk.add(2, client, t0);
  const ScanId newest = desk.add(3, client, t0).id;
  const auto added = desk.add(4, other, t0);
  ASSERT_TRUE(added.displaced);
  EXPECT_EQ(added.displaced->id, newest);
  EXPECT_EQ(added.displaced->session_key, 3U);
  EXPECT_FALSE(desk.drop(newest)) << "rspamd never had it";
}

TEST_F(ScanDeskTest, WhoIsLate) {
  const ScanId waits = desk.add(1, client, t0).id;
  EXPECT_FALSE(desk.late_waiting(t0 + 30s - 1ms));
  ASSERT_TRUE(desk.late_waiting(t0 + 30s));
  EXPECT_EQ(desk.late_waiting(t0 + 30s)->id, waits);
  desk.begin();
  EXPECT_FALSE(desk.late_waiting(t0 + 1h));
  EXPECT_FALSE(desk.late_under_way(t0 + 30s)) << "the driver has a second more";
  ASSERT_TRUE(desk.late_under_way(t0 + 31s));
  EXPECT_EQ(desk.late_under_way(t0 + 31s)->session_key, 1U);
  desk.drop(waits);
  EXPECT_FALSE(desk.late_under_way(t0 + 31s));
  EXPECT_FALSE(desk.next_deadline());
}

TEST_F(ScanDeskTest, WhatCouldNotBeginWaitsForAnotherToEnd) {
  const ScanId first = desk.add(1, client, t0).id;
  desk.begin();
  EXPECT_EQ(desk.put_back(first, client), ScanDesk::PutBack::refused) << "there is nothing to wait for";
  EXPECT_TRUE(desk.under_way(first));
  const ScanId second = desk.add(2, other, t0).id;
  desk.begin();
  EXPECT_EQ(desk.put_back(second, other), ScanDesk::PutBack::first_time);
  EXPECT_FALSE(desk.under_way(second));
  EXPECT_FALSE(desk.begin());
  desk.drop(first);
  const auto turn = desk.begin();
  ASSERT_TRUE(turn);
  EXPECT_EQ(turn->id, second);
  EXPECT_FALSE(turn->first);
  EXPECT_EQ(turn->until, t0 + 30s) << "its deadline stays";
}

TEST_F(ScanDeskTest, LessPatienceShortensWhatWaitsAndWhatIsUnderWay) {
  const ScanId first = desk.add(1, client, t0).id;
  desk.begin();
  const ScanId second = desk.add(2, client, t0 + 1s).id;
  desk.use(1, 2, 10s);
  EXPECT_EQ(desk.late_under_way(t0 + 11s)->id, first);
  EXPECT_FALSE(desk.late_under_way(t0 + 10s));
  EXPECT_EQ(desk.late_waiting(t0 + 11s)->id, second);
  desk.use(1, 2, 60s);
  EXPECT_EQ(desk.late_waiting(t0 + 11s)->id, second) << "never longer than it was promised";
}

}  // namespace
}  // namespace mailbridge::session
