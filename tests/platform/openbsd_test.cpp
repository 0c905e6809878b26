// OpenBSD's file with system calls that are played here.
#include <sys/sysctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "platform/platform.hpp"

namespace {
std::vector<int> asked;
std::vector<std::string> calls;
std::string failing;  // the call that fails
int failure = 0;

int called(std::string call) {
  calls.push_back(call);
  if (call != failing) return 0;
  errno = failure;
  return -1;
}
}  // namespace

extern "C" int pledge(const char* promises, const char* exec_promises) {
  EXPECT_EQ(exec_promises, nullptr);
  return called(std::string("pledge ") + promises);
}
extern "C" int unveil(const char* path, const char* permissions) {
  return called(std::string("unveil ") + path + " " + permissions);
}
extern "C" int sysctl(const int* name, unsigned count, void* old, size_t* old_size, void*, size_t) {
  asked.assign(name, name + count);
  kinfo_proc info{};
  if (name[3] != 20) {
    *old_size = 0;
    return 0;
  }
  info.p_ppid = 10;
  info.p_ustart_sec = 1'700'000'000;
  info.p_ustart_usec = 42;
  std::strcpy(info.p_comm, "mail.mda");
  EXPECT_EQ(*old_size, sizeof info);
  std::memcpy(old, &info, sizeof info);
  return 0;
}

namespace mailbridge::platform {
namespace {

TEST(OpenBsd, AProcess) {
  const auto found = process(20);
  EXPECT_EQ(asked, (std::vector<int>{CTL_KERN, KERN_PROC, KERN_PROC_PID, 20, sizeof(kinfo_proc), 1}));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->name, "mail.mda");
  EXPECT_EQ(found->parent, 10);
  EXPECT_EQ(found->started, "1700000000.42");
  EXPECT_FALSE(process(21));
}

TEST(OpenBsd, Confined) {
  const std::string promises = "pledge error stdio rpath wpath cpath inet unix dns";
  struct Row {
    std::string fails;
    int error;
    std::string fault;
    std::vector<std::string> calls;
  };
  const Row rows[] = {
      {"", 0, "", {"unveil / rw", "unveil /a rwc", "unveil /b rwc", promises}},
      {"unveil /a rwc", ENOENT, "", {"unveil / rw", "unveil /a rwc", "unveil /b rwc", promises}},
      {"unveil /a rwc", E2BIG, "unveil: Argument list too long", {"unveil / rw", "unveil /a rwc"}},
      {"unveil / rw", EPERM, "unveil: Operation not permitted", {"unveil / rw"}},
      {promises, EINVAL, "pledge: Invalid argument", {"unveil / rw", "unveil /a rwc", "unveil /b rwc", promises}},
  };
  for (const Row& row : rows) {
    calls.clear();
    failing = row.fails;
    failure = row.error;
    const auto confined = confine({"/a", "/b"});
    EXPECT_EQ(confined ? "" : confined.error().what, row.fault);
    EXPECT_EQ(calls, row.calls);
  }
}

}  // namespace
}  // namespace mailbridge::platform
