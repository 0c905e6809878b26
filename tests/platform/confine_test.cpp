#include "platform/platform.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <functional>

#include <gtest/gtest.h>

namespace mailbridge::platform {
namespace {

class Confine : public testing::Test {
 protected:
  Confine() : base_(std::filesystem::path(testing::TempDir()) / ("confine." + std::to_string(getpid()))) {
    std::filesystem::create_directories(base_ / "inside");
    std::filesystem::create_directories(base_ / "outside");
    std::fclose(std::fopen((base_ / "outside" / "there").c_str(), "w"));
  }
  ~Confine() override { std::filesystem::remove_all(base_); }

  // errno of what a confined process does, 0 when it succeeds, -1 when this system cannot confine.
  int confined(const std::function<bool()>& what) const {
    const pid_t child = fork();
    if (child == 0) {
      if (!confine({base_ / "inside", base_ / "missing"})) _exit(255);
      _exit(what() ? 0 : errno);
    }
    int status = 0;
    waitpid(child, &status, 0);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 254;
    return code == 255 ? -1 : code;
  }

  static bool opens(const std::filesystem::path& path, int flags) { return open(path.c_str(), flags, 0600) >= 0; }

  std::filesystem::path base_;
};

TEST_F(Confine, WritingIsPossibleInsideOnlyAndReadingEverywhere) {
  if (confined([] { return true; }) < 0) GTEST_SKIP() << "not confined here";
  const auto inside = base_ / "inside";
  const auto outside = base_ / "outside";
  EXPECT_EQ(confined([&] { return opens(inside / "new", O_WRONLY | O_CREAT | O_EXCL); }), 0);
  EXPECT_EQ(confined([&] { return nameless_file(inside).has_value(); }), 0);
  EXPECT_EQ(confined([&] { return unlink((inside / "new").c_str()) == 0; }), 0);
  EXPECT_EQ(confined([&] { return opens(outside / "new", O_WRONLY | O_CREAT); }), EACCES);
  EXPECT_EQ(confined([&] { return opens(outside / "there", O_WRONLY); }), EACCES);
  EXPECT_EQ(confined([&] { return unlink((outside / "there").c_str()) == 0; }), EACCES);
  EXPECT_EQ(confined([&] { return opens(outside / "there", O_RDONLY); }), 0);
}

TEST_F(Confine, NoProgramIsStarted) {
  if (confined([] { return true; }) < 0) GTEST_SKIP() << "not confined here";
  EXPECT_EQ(confined([] { return execl("/bin/true", "true", nullptr) == 0; }), EACCES);
}

TEST_F(Confine, SocketsWork) {
  if (confined([] { return true; }) < 0) GTEST_SKIP() << "not confined here";
  EXPECT_EQ(confined([] { return socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && socket(AF_INET, SOCK_STREAM, 0) >= 0; }), 0);
}

}  // namespace
}  // namespace mailbridge::platform
