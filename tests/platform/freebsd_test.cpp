// FreeBSD's file with a system call that is played here.
#include <sys/sysctl.h>
#include <sys/user.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "platform/platform.hpp"

namespace {
std::vector<int> asked;
}

extern "C" int sysctl(const int* name, unsigned count, void* old, size_t* old_size, const void*, size_t) {
  asked.assign(name, name + count);
  if (name[3] != 20) {
    errno = ESRCH;
    return -1;
  }
  kinfo_proc info{};
  info.ki_ppid = 10;
  info.ki_start = {1'700'000'000, 42};
  std::strcpy(info.ki_comm, "mail.mda");
  EXPECT_EQ(*old_size, sizeof info);
  std::memcpy(old, &info, sizeof info);
  return 0;
}

namespace mailbridge::platform {
namespace {

TEST(FreeBsd, AProcess) {
  const auto found = process(20);
  EXPECT_EQ(asked, (std::vector<int>{CTL_KERN, KERN_PROC, KERN_PROC_PID, 20}));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->name, "mail.mda");
  EXPECT_EQ(found->parent, 10);
  EXPECT_EQ(found->started, "1700000000.42");
  EXPECT_FALSE(process(21));
}

TEST(FreeBsd, IsNotConfined) { EXPECT_EQ(confine({"/var/tmp"}).error().what, "Capsicum does not let a process connect sockets"); }

}  // namespace
}  // namespace mailbridge::platform
