#include "lmtp/mda_guard.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace mailbridge::lmtp {
namespace {

class Guard : public testing::Test {
 protected:
  Guard() : proc_(testing::TempDir() + "proc." + std::to_string(getpid())) {}
  ~Guard() override { std::filesystem::remove_all(proc_); }

  void process(int pid, const std::string& name, int parent, int started = 1000) {
    std::filesystem::create_directories(proc_ + "/" + std::to_string(pid));
    std::ofstream(proc_ + "/" + std::to_string(pid) + "/stat")
        << pid << " (" << name << ") S " << parent << " 5 6 0 -1 4194304 100 0 0 0 0 0 0 0 20 0 1 0 " << started
        << " 2596864 200\n";
  }
  void gone(int pid) { std::filesystem::remove_all(proc_ + "/" + std::to_string(pid)); }

  std::string proc_;
};

TEST_F(Guard, TheDotIsRefusedWhenMailMdaLosesItsParent) {
  process(10, "sh", 9);
  process(20, "mail.mda", 10);
  const MdaGuard guard(20, proc_);
  EXPECT_EQ(guard.refusal(), "");
  gone(10);
  process(20, "mail.mda", 1);
  EXPECT_EQ(guard.refusal(), "mail.mda has lost its parent, so smtpd has given up on this delivery");
}

TEST_F(Guard, AlsoThroughShellsAndWrappers) {
  process(10, "sh", 9);
  process(20, "mail.mda", 10);
  process(30, "sh", 20);
  process(40, "my (odd) script", 30);
  const MdaGuard guard(40, proc_);
  process(20, "mail.mda", 1);
  EXPECT_NE(guard.refusal(), "");
}

TEST_F(Guard, OrWhenMailMdaIsGone) {
  process(20, "mail.mda", 10);
  const MdaGuard guard(20, proc_);
  process(20, "mail.mda", 10, 2000);  // another process with its id
  EXPECT_EQ(guard.refusal(), "mail.mda has ended, so smtpd has given up on this delivery");
  gone(20);
  EXPECT_EQ(guard.refusal(), "mail.mda has ended, so smtpd has given up on this delivery");
}

TEST_F(Guard, AParentOfOneFromTheStartIsNoReason) {
  process(20, "mail.mda", 1);
  EXPECT_EQ(MdaGuard(20, proc_).refusal(), "");
}

TEST_F(Guard, WithoutMailMdaNothingIsRefused) {
  EXPECT_EQ(MdaGuard(1, proc_).refusal(), "");   // by hand under init
  EXPECT_EQ(MdaGuard(0, proc_).refusal(), "");   // the parent lives in another namespace
  EXPECT_EQ(MdaGuard(30, proc_).refusal(), "");  // no /proc
  process(30, "bash", 1);
  const MdaGuard guard(30, proc_);
  gone(30);
  EXPECT_EQ(guard.refusal(), "");
}

TEST_F(Guard, ReadsTheRealThing) {
  const MdaGuard guard(getppid());
  EXPECT_EQ(guard.refusal(), "");
}

}  // namespace
}  // namespace mailbridge::lmtp
