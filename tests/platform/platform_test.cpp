// The contract, with whichever file keeps it.
#include "platform/platform.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include <gtest/gtest.h>

#include "platform/random.hpp"

namespace mailbridge::platform {
namespace {

TEST(NamelessFile, IsItsOwnersAndInNoDirectory) {
  const std::string directory = testing::TempDir() + "nameless." + std::to_string(getpid());
  std::filesystem::create_directory(directory);
  const auto file = nameless_file(directory);
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_TRUE(std::filesystem::is_empty(directory));
  struct stat status {};
  ASSERT_EQ(fstat(*file, &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  EXPECT_EQ(status.st_nlink, 0U);
  EXPECT_EQ(fcntl(*file, F_GETFD), FD_CLOEXEC);
  char back[4] = {};
  EXPECT_EQ(pwrite(*file, "mail", 4, 0), 4);
  EXPECT_EQ(pread(*file, back, 4, 0), 4);
  EXPECT_EQ(std::string(back, 4), "mail");
  close(*file);
  std::filesystem::remove(directory);
}

TEST(NamelessFile, TheSystemsReasonIsTold) {
  const auto file = nameless_file("/nonexistent");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error(), std::errc::no_such_file_or_directory);
}

TEST(Process, OursAndAChild) {
  const auto ours = process(getpid());
  if (!ours) GTEST_SKIP() << "this system does not say";
  EXPECT_EQ(ours->parent, getppid());
  EXPECT_EQ(process(getpid())->started, ours->started);
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const auto seen = process(child);
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->name, ours->name);
  EXPECT_EQ(seen->parent, getpid());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(process(child));
}

class Connecting : public testing::Test {
 protected:
  Connecting() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    here_.sin_family = AF_INET;
    here_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof here_;
    EXPECT_EQ(bind(listener_, address(), size), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&here_), &size), 0);
  }
  ~Connecting() override {
    close(listener_);
    for (const int descriptor : sockets_) close(descriptor);
  }

  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&here_); }
  int begin() {
    const int descriptor = sockets_.emplace_back(socket(AF_INET, SOCK_STREAM, 0));
    fcntl(descriptor, F_SETFL, O_NONBLOCK);
    EXPECT_EQ(connect(descriptor, address(), sizeof here_), -1);
    EXPECT_EQ(errno, EINPROGRESS);
    return descriptor;
  }
  int outcome(int descriptor) const { return connect_outcome(descriptor, address(), sizeof here_); }
  // When there is one.
  int wait(int descriptor) const {
    for (int now = outcome(descriptor);; now = outcome(descriptor)) {
      if (now != EALREADY) return now;
      pollfd writable{descriptor, POLLOUT, 0};
      poll(&writable, 1, -1);
    }
  }

  sockaddr_in here_{};
  const int listener_;
  std::vector<int> sockets_;
};

TEST_F(Connecting, Made) {
  listen(listener_, 1);
  const int one = begin();
  EXPECT_EQ(wait(one), 0);
  EXPECT_EQ(write(one, "x", 1), 1);
}

TEST_F(Connecting, Refused) { EXPECT_EQ(wait(begin()), ECONNREFUSED); }

TEST_F(Connecting, UnderWayWhileTheListenersQueueIsFull) {
  listen(listener_, 0);
  int last = 0;
  for (int i = 0; i < 8; ++i) last = begin();
  EXPECT_EQ(outcome(last), EALREADY);
  EXPECT_EQ(outcome(last), EALREADY);
}

TEST(RandomBytes, AreOthersEachTime) {
  using Bytes = std::array<unsigned char, 32>;
  EXPECT_NE(random_bytes<Bytes>(), random_bytes<Bytes>());
}

}  // namespace
}  // namespace mailbridge::platform
