#include "app/options.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include <gtest/gtest.h>
#include <CLI/CLI.hpp>

#include "app/toml_file.hpp"

namespace mailbridge::app {
namespace {

struct Values {
  std::string name = "unset";
  double seconds = 5;
  bool keep = false;
  std::vector<std::string> many;
};

class Options : public testing::Test {
 protected:
  Options() : path_(testing::TempDir() + "options_test." + std::to_string(getpid()) + ".toml") {}
  ~Options() override { std::filesystem::remove(path_); }

  Result<std::optional<std::string>> read(std::vector<std::string> arguments, const std::string& toml = {}) {
    CLI::App app("a test", "prog");
    app.add_option("-n,--name", values_.name)->expected(0, 1);
    app.add_option("--seconds", values_.seconds)->check([](const std::string& text) {
      const double seconds = std::strtod(text.c_str(), nullptr);
      return seconds >= 1 && seconds <= 300 ? "" : "from 1 to 300";
    });
    app.add_flag("--keep", values_.keep);
    app.add_flag("--argv-only")->configurable(false);
    app.add_option("--many", values_.many);
    if (!toml.empty()) {
      std::ofstream(path_, std::ios::binary) << toml;
      arguments.insert(arguments.end(), {"--config", path_});
    }
    std::vector<const char*> argv{"prog"};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    return read_options(app, static_cast<int>(argv.size()), argv.data());
  }

  // What is wrong, with the file's name as FILE.
  std::string wrong(std::vector<std::string> arguments, const std::string& toml = {}) {
    const auto read_ = read(std::move(arguments), toml);
    if (read_) return "nothing";
    std::string what = read_.error().what;
    if (const std::size_t at = what.find(path_); at != std::string::npos) what.replace(at, path_.size(), "FILE");
    return what;
  }

  std::string path_;
  Values values_;
};

TEST_F(Options, AFileUsesTheNamesOfTheOptions) {
  ASSERT_TRUE(read({}, "name = 'x y'\nseconds = 2.5\nkeep = true\nmany = ['a', 1]\n"));
  EXPECT_EQ(values_.name, "x y");
  EXPECT_EQ(values_.seconds, 2.5);
  EXPECT_TRUE(values_.keep);
  EXPECT_EQ(values_.many, (std::vector<std::string>{"a", "1"}));
}

TEST_F(Options, AFileCanSwitchAFlagOffAndGiveAnEmptyText) {
  ASSERT_TRUE(read({}, "keep = false\nname = ''\nmany = 'one'\n"));
  EXPECT_FALSE(values_.keep);
  EXPECT_EQ(values_.name, "");
  EXPECT_EQ(values_.many, std::vector<std::string>{"one"});
}

TEST_F(Options, ArgvWinsOverTheFile) {
  ASSERT_TRUE(read({"--seconds", "7", "--keep"}, "seconds = 2\nkeep = false\nname = 'file'\n"));
  EXPECT_EQ(values_.seconds, 7);
  EXPECT_TRUE(values_.keep);
  EXPECT_EQ(values_.name, "file");
}

TEST_F(Options, WhatIsWrongNamesFileLineAndKey) {
  struct Row {
    std::string toml;
    std::string expected;
  };
  const Row rows[] = {
      {"# c\nsecond = 2\n", "FILE:2: second: no such option; did you mean seconds?"},
      {"\n\nconfig = 'other'\n", "FILE:3: config: no such option"},
      {"help = true\n", "FILE:1: help: no such option"},
      {"version = true\n", "FILE:1: version: no such option"},
      {"argv-only = true\n", "FILE:1: argv-only: no such option"},
      {"[section]\nname = 'x'\n", "FILE:1: section: no such option"},
      {"seconds = 'soon'\n", "FILE:1: seconds: from 1 to 300"},
      {"seconds = 301\n", "FILE:1: seconds: from 1 to 300"},
      {"seconds = [1, 2]\n", "FILE:1: seconds: one plain value is wanted"},
      {"keep = 'maybe'\n", "FILE:1: keep: Could not convert: --keep = maybe"},
      {"many = ['a',\n 2020-01-01]\n", "FILE:2: many: an array of plain values is wanted"},
      {"name = { a = 1 }\n", "FILE:1: name: one plain value is wanted"},
  };
  for (const Row& row : rows) EXPECT_EQ(wrong({}, row.toml), row.expected) << row.toml;
  EXPECT_EQ(wrong({}, "name = 'a'\nname = 'b'\n").substr(0, 8), "FILE:2: ");
  EXPECT_EQ(wrong({}, "name = \n").substr(0, 8), "FILE:1: ");
}

TEST_F(Options, WrongArguments) {
  EXPECT_EQ(wrong({"--config", "/nonexistent/x.toml"}), "/nonexistent/x.toml: No such file or directory");
  EXPECT_EQ(wrong({"--config", testing::TempDir()}), testing::TempDir() + ": Is a directory");
  const std::string fifo = testing::TempDir() + "fifo." + std::to_string(getpid());
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& other : {fifo, std::string("/dev/zero")}) {
    EXPECT_EQ(wrong({"--config", other}), other + ": not a regular file");
  }
  unlink(fifo.c_str());
  std::ofstream(fifo).seekp(static_cast<std::streamoff>(max_file)) << "x";
  EXPECT_EQ(wrong({"--config", fifo}), fifo + ": larger than 16 MiB");
  unlink(fifo.c_str());
  EXPECT_EQ(wrong({"--bogus"}), "The following argument was not expected: --bogus");
  EXPECT_EQ(wrong({"--second=2"}), "The following argument was not expected: --second=2; did you mean --seconds?");
  EXPECT_EQ(wrong({"--nmae=x"}), "The following argument was not expected: --nmae=x; did you mean --name?");
  EXPECT_EQ(wrong({"--seconds", "0"}), "--seconds: from 1 to 300");
}

TEST_F(Options, HelpAndVersionAreForStandardOutput) {
  EXPECT_NE(read({"--help"})->value().find("--seconds"), std::string::npos);
  EXPECT_EQ(read({"--version"})->value().substr(0, 5), "prog ");
}

}  // namespace
}  // namespace mailbridge::app
