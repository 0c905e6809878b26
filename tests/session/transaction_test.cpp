#include "session/transaction.hpp"

#include <gtest/gtest.h>

#include <set>
#include <utility>

namespace mailbridge::session {
namespace {

// The table at the top of session/transaction.hpp.
TEST(Transaction, WhichPhaseMayFollow) {
  using enum Phase;
  const std::set<std::pair<Phase, Phase>> steps = {
      {envelope, data}, {envelope, scan}, {data, scan}, {scan, room}, {room, delivery},
  };
  for (const Phase phase : {envelope, data, scan, room, delivery, answered}) {
    for (const Phase next : {envelope, data, scan, room, delivery, answered}) {
      const bool expected = next == envelope || next == answered || steps.contains({phase, next});
      EXPECT_EQ(may_follow(phase, next), expected) << static_cast<int>(phase) << " " << static_cast<int>(next);
    }
  }
}

TEST(Transaction, WhatAPhaseSaysOfTheMessage) {
  Transaction tx;
  EXPECT_FALSE(tx.is_complete());
  tx.enter(Phase::data);
  EXPECT_FALSE(tx.is_complete());
  tx.enter(Phase::scan);
  EXPECT_TRUE(tx.is_complete());
  EXPECT_FALSE(tx.is_answered());
  tx.enter(Phase::answered);
  EXPECT_TRUE(tx.is_answered());
}

}  // namespace
}  // namespace mailbridge::session
