#include "platform/system/linux.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace mailbridge::platform {
namespace {

class Proc : public testing::Test {
 protected:
  Proc() : proc_(testing::TempDir() + "proc." + std::to_string(getpid())) { std::filesystem::create_directories(proc_ + "/20"); }
  ~Proc() override { std::filesystem::remove_all(proc_); }

  std::string proc_;
};

TEST_F(Proc, TheLineOfAProcess) {
  struct Row {
    std::string line;
    std::optional<std::string> process;
  };
  const std::string rest = " 5 6 0 -1 4194304 100 0 0 0 0 0 0 0 20 0 1 0 ";
  const Row rows[] = {
      {"20 (mail.mda) S 10" + rest + "1000 2596864 200\n", "mail.mda 10 1000"},
      {"20 (my (odd) script) S 1" + rest + "7 2596864 200\n", "my (odd) script 1 7"},
      {"20 (S 1 2) 3) R 10" + rest + "2000 0\n", "S 1 2) 3 10 2000"},
      {"20 (mail.mda) S 10" + rest + "1000", "mail.mda 10 1000"},
      {"20 (mail.mda) S 10 5 6\n", std::nullopt},
      {"20 mail.mda S 10" + rest + "1000\n", std::nullopt},
      {"20 )mail.mda( S 10" + rest + "1000\n", std::nullopt},
      {"", std::nullopt},
  };
  for (const auto& [line, expected] : rows) {
    std::ofstream(proc_ + "/20/stat") << line;
    const auto found = process_in(proc_, 20);
    std::optional<std::string> text;
    if (found) text = found->name + " " + std::to_string(found->parent) + " " + found->started;
    EXPECT_EQ(text, expected) << line;
  }
}

TEST_F(Proc, NoSuchProcess) { EXPECT_FALSE(process_in(proc_, 30)); }

}  // namespace
}  // namespace mailbridge::platform
