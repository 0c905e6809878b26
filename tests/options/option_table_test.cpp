#include "options/option_table.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "options/toml_file.hpp"

namespace mailbridge::options {
namespace {

struct Values {
  std::string name = "unset";
  std::string size;
  std::string keep;
  std::string many;
};

template <auto Member>
std::string keep(void* values, std::string_view value) {
  if (value == "bad") return "no good";
  (static_cast<Values*>(values)->*Member) += std::string(value) + ";";
  return {};
}

constexpr Option options[] = {
    {{'n', "name", "NAME", OptionText::optional_value, "", "A name."}, keep<&Values::name>},
    {{'z', "size", "SIZE", OptionText::value, "5", "A size. Or more."}, keep<&Values::size>},
    {{0, "keep", "", OptionText::nothing, "", "Keep it."}, keep<&Values::keep>},
    {{0, "many", "WORD", OptionText::values, "d", "Words."}, keep<&Values::many>},
    {{0, "argv-only", "", OptionText::nothing, "", "Not for a file."}, keep<&Values::keep>, false},
};
constexpr OptionTable table{"prog", "A test.", options};

class OptionTableTest : public testing::Test {
 protected:
  ~OptionTableTest() override { std::filesystem::remove(path_); }

  // "name|size|keep|many" as kept, or "!" and what is wrong, with the file's name as FILE.
  std::string read(std::vector<std::string> argv, const std::string& toml = {}) {
    argv.insert(argv.begin(), "prog");
    if (!toml.empty()) {
      std::ofstream(path_, std::ios::binary) << toml;
      argv.insert(argv.end(), {"--config", path_});
    }
    Values values;
    const auto text = read_table(table, argv, &values);
    if (text) return *text ? **text : values.name + "|" + values.size + "|" + values.keep + "|" + values.many;
    std::string what = "!" + text.error().what;
    if (const std::size_t at = what.find(path_); at != std::string::npos) what.replace(at, path_.size(), "FILE");
    return what;
  }

  const std::string path_ = testing::TempDir() + "option_table_test." + std::to_string(getpid()) + ".toml";
};

TEST_F(OptionTableTest, Words) {
  struct Row {
    std::vector<std::string> argv;
    std::string expected;
  };
  const Row rows[] = {
      {{}, "unset|5;||d;"},
      {{"--name", "x", "--size=7", "--keep"}, "unsetx;|7;|true;|d;"},
      {{"-nx", "-z", "7"}, "unsetx;|7;||d;"},
      {{"--name"}, "unset;|5;||d;"},
      {{"-n", "-z", "7"}, "unset;|7;||d;"},
      {{"-n", "--keep@x"}, "unset--keep@x;|5;||d;"},
      {{"-n", ""}, "unset;|5;||d;"},
      {{"--name="}, "unset;|5;||d;"},
      {{"-z", "-"}, "unset|-;||d;"},
      {{"--size=-7"}, "unset|-7;||d;"},
      {{"--many", "a", "--many=b"}, "unset|5;||a;b;"},
      {{"--keep=false"}, "unset|5;|false;|d;"},
      {{"--bogus"}, "!no such option: --bogus"},
      {{"--bogus=1"}, "!no such option: --bogus"},
      {{"--nmae", "x"}, "!no such option: --nmae; did you mean --name?"},
      {{"--sizes=7"}, "!no such option: --sizes; did you mean --size?"},
      {{"-x"}, "!no such option: -x"},
      {{"name"}, "!no such option: name"},
      {{"-"}, "!no such option: -"},
      {{"--"}, "!no such option: --"},
      {{"--size"}, "!--size: a value is wanted"},
      {{"--size", "--keep"}, "!--size: a value is wanted"},
      {{"--size", "7", "-z8"}, "!-z: once is enough"},
      {{"--size", "bad"}, "!--size: no good"},
      {{"-z", "bad"}, "!--size: no good"},
      {{"--keep=maybe"}, "!--keep: no value is wanted"},
      {{"--keep", "yes"}, "!no such option: yes"},
      {{"--config"}, "!--config: a value is wanted"},
      {{"--config", "/a.toml", "--config=/b.toml"}, "!--config: once is enough"},
      {{"--config", "/nonexistent/x.toml"}, "!/nonexistent/x.toml: No such file or directory"},
  };
  for (const Row& row : rows) EXPECT_EQ(read(row.argv), row.expected) << testing::PrintToString(row.argv);
}

TEST_F(OptionTableTest, AFile) {
  struct Row {
    std::string toml, expected;
  };
  const Row rows[] = {
      {"name = 'x y'\nsize = 2.5\nkeep = true\nmany = ['a', 1]\n", "unsetx y;|2.5;|true;|a;1;"},
      {"keep = false\nname = ''\nmany = 'one'\n", "unset;|5;|false;|one;"},
      {"# c\nsized = 2\n", "!FILE:2: sized: no such option; did you mean size?"},
      {"config = 'other'\n", "!FILE:1: config: no such option"},
      {"help = true\n", "!FILE:1: help: no such option"},
      {"version = true\n", "!FILE:1: version: no such option"},
      {"argv-only = true\n", "!FILE:1: argv-only: no such option"},
      {"[section]\nname = 'x'\n", "!FILE:1: section: no such option"},
      {"size = 'bad'\n", "!FILE:1: size: no good"},
      {"size = [1, 2]\n", "!FILE:1: size: one plain value is wanted"},
      {"name = { a = 1 }\n", "!FILE:1: name: one plain value is wanted"},
      {"many = ['a',\n 2020-01-01]\n", "!FILE:2: many: an array of plain values is wanted"},
      {"many = []\n", "!FILE:1: many: at least one value is wanted"},
      {"keep = 'maybe'\n", "!FILE:1: keep: true or false is wanted, not maybe"},
  };
  for (const Row& row : rows) EXPECT_EQ(read({}, row.toml), row.expected) << row.toml;
  EXPECT_EQ(read({"-z7", "--keep", "--many=c"}, "size = 2\nkeep = false\nname = 'file'\nmany = 'x'\n"), "unsetfile;|7;|true;|c;");
  EXPECT_EQ(read({}, "name = 'a'\nname = 'b'\n").substr(0, 9), "!FILE:2: ");
  EXPECT_EQ(read({}, "name = \n").substr(0, 9), "!FILE:1: ");
}

TEST_F(OptionTableTest, OnlyARegularFileOfAReasonableSizeIsRead) {
  EXPECT_EQ(read({"--config", testing::TempDir()}), "!" + testing::TempDir() + ": Is a directory");
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(read({"--config", path_}), "!FILE: not a regular file");
  EXPECT_EQ(read({"--config", "/dev/zero"}), "!/dev/zero: not a regular file");
  std::filesystem::remove(path_);
  std::ofstream(path_).seekp(static_cast<std::streamoff>(max_file)) << "x";
  EXPECT_EQ(read({"--config", path_}), "!FILE: larger than 16 MiB");
}

TEST_F(OptionTableTest, EachValueThatIsTakenIsTold) {
  std::ofstream(path_, std::ios::binary) << "size = 2\nmany = ['x', 'y']\n";
  std::string told;
  Values values;
  const auto tell = [&](const Option& option, std::string_view value) {
    told.append(option.name).append("=").append(value).append(";");
  };
  ASSERT_TRUE(read_table(table, {"prog", "--keep", "-z7", "--config", path_}, &values, tell));
  EXPECT_EQ(told, "keep=true;size=7;many=x;many=y;");
}

TEST_F(OptionTableTest, Texts) {
  EXPECT_EQ(read({"--version"}).substr(0, 5), "prog ");
  const std::string help = read({"--keep", "--help", "--bogus"});
  EXPECT_EQ(help.substr(0, 34), "A test.\nusage: prog [option ...]\n\n");
  EXPECT_NE(help.find("\n  -z, --size SIZE                         A size [5]\n"), std::string::npos) << help;
}

}  // namespace
}  // namespace mailbridge::options
