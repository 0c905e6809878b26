#include "agent/mda_guard.hpp"

#include <unistd.h>

#include <map>

#include <gtest/gtest.h>

namespace mailbridge::agent {
namespace {

class Guard : public testing::Test {
 protected:
  void process(int pid, const std::string& name, int parent, int started = 1000) {
    processes_[pid] = {name, parent, std::to_string(started)};
  }
  void gone(int pid) { processes_.erase(pid); }

  const MdaGuard::LookUp table_ = [this](pid_t pid) -> std::optional<platform::Process> {
    const auto found = processes_.find(pid);
    if (found == processes_.end()) return std::nullopt;
    return found->second;
  };

 private:
  std::map<pid_t, platform::Process> processes_;
};

TEST_F(Guard, TheDotIsRefusedWhenMailMdaLosesItsParent) {
  process(10, "sh", 9);
  process(20, "mail.mda", 10);
  const MdaGuard guard(20, table_);
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
  const MdaGuard guard(40, table_);
  process(20, "mail.mda", 1);
  EXPECT_NE(guard.refusal(), "");
}

TEST_F(Guard, OrWhenMailMdaIsGone) {
  process(20, "mail.mda", 10);
  const MdaGuard guard(20, table_);
  process(20, "mail.mda", 10, 2000);  // another process with its id
  EXPECT_EQ(guard.refusal(), "mail.mda has ended, so smtpd has given up on this delivery");
  gone(20);
  EXPECT_EQ(guard.refusal(), "mail.mda has ended, so smtpd has given up on this delivery");
}

TEST_F(Guard, AParentOfOneFromTheStartIsNoReason) {
  process(20, "mail.mda", 1);
  EXPECT_EQ(MdaGuard(20, table_).refusal(), "");
}

TEST_F(Guard, WithoutMailMdaNothingIsRefused) {
  EXPECT_EQ(MdaGuard(1, table_).refusal(), "");   // by hand under init
  EXPECT_EQ(MdaGuard(0, table_).refusal(), "");   // the parent lives in another namespace
  EXPECT_EQ(MdaGuard(30, table_).refusal(), "");  // the system says nothing
  process(30, "bash", 1);
  const MdaGuard guard(30, table_);
  gone(30);
  EXPECT_EQ(guard.refusal(), "");
}

TEST_F(Guard, ReadsTheRealThing) {
  const MdaGuard guard(getppid());
  EXPECT_EQ(guard.refusal(), "");
}

}  // namespace
}  // namespace mailbridge::agent
