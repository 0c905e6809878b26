#include "session/output.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace mailbridge::session {
namespace {

const smtpd::Version v7{0, 7}, v4{0, 4};

std::shared_ptr<mail::Message> message_of(const std::vector<std::string>& lines) {
  auto message = std::make_shared<mail::Message>(std::make_shared<mail::Budget>(mail::Budget{1 << 30, "/var/tmp"}));
  for (const std::string& line : lines) message->append_line(line);
  return message;
}

class OutputTest : public testing::Test {
 protected:
  std::string all(std::size_t at_most = std::string::npos) {
    std::string written;
    for (std::string_view bytes = window(); !bytes.empty(); bytes = window()) {
      bytes = bytes.substr(0, at_most);
      written += bytes;
      output.written(bytes.size());
    }
    return written;
  }
  std::string_view window() {
    return output.window([this](std::uint64_t key, const mail::Message&) { lost.push_back(key); });
  }

  Output output;
  std::vector<std::uint64_t> lost;
};

TEST_F(OutputTest, AnswersInTheOrderOfTheVersion) {
  output.answer("filter-result", v7, "0a", "c0", "reject|", "550 no");
  output.answer("filter-result", v4, "0a", "c0", "proceed");
  EXPECT_EQ(all(), "filter-result|0a|c0|reject|550 no\nfilter-result|c0|0a|proceed\n");
}

TEST_F(OutputTest, AMessageIsStuffedAndEndsInOneDotHoweverLittleSmtpdTakes) {
  for (const std::size_t at_most : {std::size_t{1}, std::size_t{7}, std::string::npos}) {
    output.message(1, v7, "0a", "d0", "X-Spam: No\r\n", message_of({"Subject: x", "", ".dot", ""}), 12);
    EXPECT_EQ(all(at_most),
              "filter-dataline|0a|d0|X-Spam: No\nfilter-dataline|0a|d0|\nfilter-dataline|0a|d0|..dot\n"
              "filter-dataline|0a|d0|\nfilter-dataline|0a|d0|.\n")
        << at_most;
  }
}

TEST_F(OutputTest, WhatIsDroppedEndsBetweenTwoLines) {
  output.message(1, v7, "0a", "d0", "A: 1\r\n", message_of({std::string(900, 'x'), "y"}), 0);
  output.message(2, v7, "0b", "d0", "B: 1\r\n", message_of({""}), 0);
  output.drop(1);
  EXPECT_EQ(all(), "filter-dataline|0b|d0|B: 1\nfilter-dataline|0b|d0|\nfilter-dataline|0b|d0|.\n");
}

TEST_F(OutputTest, ALongMessageLetsTheOthersGoFirstAfterEachMiB) {
  output.message(1, v7, "0a", "d0", "A: 1\r\n", message_of(std::vector<std::string>(3000, std::string(998, 'x'))), 0);
  output.message(2, v7, "0b", "d0", "B: 1\r\n", message_of({"", "short"}), 0);
  const std::string written = all();
  const std::size_t other_ends = written.find("filter-dataline|0b|d0|.\n");
  EXPECT_LT(other_ends, std::size_t{3} << 19);
  EXPECT_GT(other_ends, std::size_t{1} << 20);
  EXPECT_TRUE(written.ends_with("filter-dataline|0a|d0|.\n"));
}

TEST_F(OutputTest, AWindowIsNoLongerThan64KiBAndALine) {
  output.message(1, v7, "0a", "d0", "A: 1\r\n", message_of(std::vector<std::string>(3000, std::string(998, 'x'))), 0);
  EXPECT_GE(window().size(), 64U * 1024);
  EXPECT_LE(window().size(), 64U * 1024 + 1024);
}

TEST_F(OutputTest, AMessageThatCannotBeReadAgainIsTold) {
  auto message = std::make_shared<mail::Message>(std::make_shared<mail::Budget>(mail::Budget{1, "/nonexistent"}));
  for (int i = 0; i < 300 && !message->failed(); ++i) message->append_line(i == 1 ? "" : std::string(998, 'x'));
  ASSERT_TRUE(message->failed());
  output.message(9, v7, "0a", "d0", "A: 1\r\n", message, 0);
  EXPECT_TRUE(all().ends_with("filter-dataline|0a|d0|.\n")) << "the stream ends all the same";
  EXPECT_EQ(lost, std::vector<std::uint64_t>{9});
}

}  // namespace
}  // namespace mailbridge::session
