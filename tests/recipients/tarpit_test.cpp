#include "recipients/tarpit.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace mailbridge::recipients {
namespace {

using namespace std::chrono_literals;

const TimePoint start(1h);

// A client above a limit of 20.
Tarpit slowed(std::string_view address = "192.0.2.1") {
  Tarpit tarpit;
  tarpit.use(20);
  for (int i = 0; i < 21; ++i) EXPECT_EQ(tarpit.count(address, start), i == 20);
  return tarpit;
}

// How long the next question waits; -1s: it is late, -2s: it is turned away.
Duration wait(Tarpit& tarpit, std::string_view address, TimePoint now) {
  const Tarpit::Turn turn = tarpit.take_turn(address, now);
  if (turn.answer == Tarpit::Turn::Answer::true_one) return turn.at - now;
  EXPECT_EQ(turn.at, now + 10s);
  return turn.answer == Tarpit::Turn::Answer::when_it_exists ? -1s : -2s;
}

TEST(Tarpit, UpToItsLimitNobodyIsSlowed) {
  Tarpit tarpit;
  tarpit.use(20);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start), 0s);
  for (int i = 0; i < 20; ++i) {
    EXPECT_FALSE(tarpit.count("192.0.2.1", start));
    for (int n = 0; n < 100; ++n) EXPECT_EQ(wait(tarpit, "192.0.2.1", start), 0s);
  }
}

TEST(Tarpit, BeyondItAnswersAreASecondApart) {
  Tarpit tarpit = slowed();
  for (int i = 1; i <= 10; ++i) EXPECT_EQ(wait(tarpit, "192.0.2.1", start), i * 1s);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(wait(tarpit, "192.0.2.1", start), -1s);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(wait(tarpit, "192.0.2.1", start), -2s);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 199ms), -2s);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 200ms), -1s);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 200ms), -2s);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 1s), 10s) << "the first has been answered";
  for (int i = 0; i < 4; ++i) EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 1s), -1s);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 1s), -2s);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 30s), 1s);
}

// A guess is answered each second and no sooner, whatever is asked.
TEST(Tarpit, ASecondIsOneAnswer) {
  Tarpit tarpit = slowed();
  std::mt19937 random(7);
  std::vector<TimePoint> answers;
  TimePoint now = start;
  for (; now < start + 600s; now += std::chrono::milliseconds(random() % 200)) {
    const Tarpit::Turn turn = tarpit.take_turn("192.0.2.1", now);
    EXPECT_LE(turn.at, now + 10s);
    if (turn.answer == Tarpit::Turn::Answer::true_one) answers.push_back(turn.at);
    tarpit.count("192.0.2.1", now);
  }
  ASSERT_GT(answers.size(), 590U);
  for (std::size_t i = 1; i < answers.size(); ++i) EXPECT_GE(answers[i] - answers[i - 1], 1s);
}

TEST(Tarpit, NobodyElseIsSlowed) {
  struct Row {
    std::string guesser, other;
    bool same;
  };
  const Row rows[] = {
      {"192.0.2.1", "192.0.2.1", true},
      {"192.0.2.1", "192.0.2.2", false},
      {"192.0.2.1", "::ffff:192.0.2.1", true},
      {"192.0.2.1", "::1", false},
      {"2001:db8:1:2::3", "2001:db8:1:2:ffff:ffff:ffff:ffff", true},
      {"2001:db8:1:2::3", "2001:0db8:0001:0002::", true},
      {"2001:db8:1:2::3", "2001:db8:1:3::3", false},
      {"fe80::1%eth0", "fe80::2%eth1", true},
      {"what is no address", "what is no address", true},
      {"what is no address", "nor this", false},
      {"", "192.0.2.1", false},
  };
  for (const Row& row : rows) {
    Tarpit tarpit = slowed(row.guesser);
    EXPECT_EQ(wait(tarpit, row.other, start), row.same ? 1s : 0s) << row.guesser << " and " << row.other;
  }
}

TEST(Tarpit, OneIsForgottenEachMinute) {
  Tarpit tarpit = slowed();
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 59s), 1s);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 60s), 0s);
  EXPECT_TRUE(tarpit.count("192.0.2.1", start + 119s)) << "it is as many again";
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 119s), 1s);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 120s), 0s) << "a minute counts from the last one that was forgotten";
  EXPECT_FALSE(tarpit.count("192.0.2.1", start + 24h));
  for (int i = 2; i <= 20; ++i) EXPECT_FALSE(tarpit.count("192.0.2.1", start + 24h)) << "all is forgotten";
  EXPECT_TRUE(tarpit.count("192.0.2.1", start + 24h));
}

TEST(Tarpit, AMailServerWithAFewTyposIsNeverSlowed) {
  Tarpit tarpit;
  tarpit.use(20);
  for (TimePoint now = start; now < start + 24h * 30; now += 1min) {
    EXPECT_FALSE(tarpit.count("192.0.2.1", now));
    EXPECT_EQ(wait(tarpit, "192.0.2.1", now), 0s);
  }
}

TEST(Tarpit, AnHourAfterTheLastGuessNobodyIsSlowed) {
  Tarpit tarpit = slowed();
  for (int i = 0; i < 100'000; ++i) tarpit.count("192.0.2.1", start);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 59min + 59s), 1s);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start + 1h), 0s);
}

TEST(Tarpit, WithoutALimitNobodyIsCounted) {
  Tarpit tarpit;
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(tarpit.count("192.0.2.1", start));
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start), 0s);
  tarpit = slowed();
  tarpit.use(0);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start), 0s);
  tarpit.use(21);
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start), 0s);
}

TEST(Tarpit, TheTableHasABound) {
  Tarpit tarpit(2);
  tarpit.use(1);
  for (const char* address : {"192.0.2.1", "192.0.2.2"}) {
    tarpit.count(address, start);
    tarpit.count(address, start);
  }
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start), 1s);
  tarpit.count("192.0.2.3", start);
  EXPECT_EQ(wait(tarpit, "192.0.2.2", start), 0s) << "it was not heard of for longest";
  EXPECT_EQ(wait(tarpit, "192.0.2.1", start), 2s);
}

}  // namespace
}  // namespace mailbridge::recipients
