// Every transcript of tests/sessions/lmtp in every way of playing it.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/agent_player.hpp"

namespace mailbridge::test {
namespace {

enum class Way { whole, bytes, random, broken };

std::vector<std::filesystem::path> sessions() {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(MB_SOURCE_DIR "/tests/sessions/lmtp")) {
    if (entry.path().extension() == ".session") found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

class Session : public testing::TestWithParam<std::tuple<std::filesystem::path, Way>> {};

TEST_P(Session, IsPlayed) {
  const auto& [path, way] = GetParam();
  const AgentPlayer player(path);
  switch (way) {
    case Way::whole:
      EXPECT_EQ(player.play(Cuts::whole), "") << path;
      break;
    case Way::bytes:
      EXPECT_EQ(player.play(Cuts::bytes), "") << path;
      break;
    case Way::random:
      for (unsigned seed = 0; seed < 50; ++seed) EXPECT_EQ(player.play(Cuts::random, seed), "") << path << " seed " << seed;
      break;
    case Way::broken:
      EXPECT_EQ(player.play_broken(), "") << path;
      break;
  }
}

std::string test_name(const testing::TestParamInfo<Session::ParamType>& parameter) {
  const auto& [path, way] = parameter.param;
  constexpr const char* ways[] = {"whole", "bytes", "random", "broken"};
  std::string name = path.stem();
  std::replace(name.begin(), name.end(), '-', '_');
  return name + "_" + ways[static_cast<int>(way)];
}

INSTANTIATE_TEST_SUITE_P(Lmtp, Session,
                         testing::Combine(testing::ValuesIn(sessions()),
                                          testing::Values(Way::whole, Way::bytes, Way::random, Way::broken)),
                         test_name);

class Strict : public testing::Test {
 protected:
  Strict() : path_(testing::TempDir() + "strict." + testing::UnitTest::GetInstance()->current_test_info()->name()) {}
  ~Strict() override { std::filesystem::remove(path_); }
  std::string play(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    try {
      return AgentPlayer(path_).play(Cuts::whole);
    } catch (const std::runtime_error& error) {
      return std::string(error.what()).substr(path_.size());
    }
  }
  std::string path_;
};

TEST_F(Strict, TranscriptsThatAreNoTests) {
  EXPECT_EQ(play("D> 220 x\n"), ": one E line stands at the end");
  EXPECT_EQ(play("nothing at all\n"), ": one E line stands at the end");
  EXPECT_EQ(play("R> x\nE 75\n"), ":1: not a lane of the agent");
  EXPECT_EQ(play("D2> x\nE 75\n"), ":1: not a lane of the agent");
}

TEST_F(Strict, WhatIsNotAsWrittenIsFound) {
  const std::string options = "O SENDER=a@b RECIPIENT=u@x\n";
  EXPECT_EQ(play(options + "D> 220 x\nD< HELO\nE 75\n"), "3: it says  LHLO client.example\\r\n and should say  HELO\n");
  EXPECT_EQ(play(options + "D> 220 x\nE 75\n"), "3: the agent has not ended: it says  LHLO client.example\\r\n");
  EXPECT_EQ(play(options + "D! closed\nE 0\n").substr(0, 19), "3: the status is 75");
  EXPECT_EQ(play(options + "D! closed\nN other words\nE 75\n").substr(0, 16), "3: 'other words'");
  EXPECT_EQ(play(options + "D! gone\nE 75\n"), "2: no such ending");
  EXPECT_EQ(play("D! closed\nE 75\n").substr(0, 27), "1: the options are refused:");
  EXPECT_EQ(play(options + "D! closed\nN no reply\nE 75\n").substr(0, 3), "3: ");
}

}  // namespace
}  // namespace mailbridge::test
