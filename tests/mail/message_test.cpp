#include "mail/message.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <random>

#include "mail/headers.hpp"

namespace mailbridge::mail {
namespace {

std::string bytes_of(const Message& message, std::size_t offset = 0) {
  std::string bytes;
  for (;;) {
    const std::string_view piece = message.from(offset + bytes.size());
    if (piece.empty()) return bytes;
    EXPECT_TRUE(piece.ends_with("\r\n")) << "whole lines";
    bytes += piece;
  }
}

TEST(Message, TheHeaderSectionEndsBeforeTheFirstEmptyLine) {
  struct Row {
    const char* what;
    std::vector<std::string> lines;
    std::string head, rest;
  };
  const std::vector<Row> rows = {
      {"nothing", {}, "", ""},
      {"header and body", {"A: b", " c", "", "body", "", "X: y"}, "A: b\r\n c\r\n", "\r\nbody\r\n\r\nX: y\r\n"},
      {"no body", {"A: b"}, "A: b\r\n", ""},
      {"no header", {"", "body"}, "", "\r\nbody\r\n"},
      {"a blank or a CR is not empty", {"A: b", " ", "\r", "", "body"}, "A: b\r\n \r\n\r\r\n", "\r\nbody\r\n"},
  };
  for (const Row& row : rows) {
    Message message;
    for (const std::string& line : row.lines) message.append_line(line);
    EXPECT_EQ(message.head(), row.head) << row.what;
    EXPECT_EQ(message.from(0), row.head.empty() ? row.rest : row.head) << row.what;
    EXPECT_EQ(bytes_of(message, row.head.size()), row.rest) << row.what;
    EXPECT_EQ(message.size(), row.head.size() + row.rest.size()) << row.what;
    EXPECT_EQ(parse_headers(row.head + row.rest).size, row.head.size()) << row.what;
  }
}

std::shared_ptr<Budget> budget_of(std::size_t limit, const std::string& spool = "/var/tmp") {
  return std::make_shared<Budget>(Budget{limit, spool});
}

// Several messages grow by turns: everything they hold is found again, wherever it went, and the budget is whole in the end.
TEST(Message, ReadsBackWhatWasAppendedFromEveryOffset) {
  constexpr std::size_t plenty = std::size_t{64} * 1024 * 1024;
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    const auto up_to = [&](std::size_t most) { return std::uniform_int_distribution<std::size_t>(0, most)(random); };
    const std::size_t lines = up_to(6000);
    for (const std::size_t limit : {std::size_t{0}, std::size_t{50'000}, std::size_t{300'000}, plenty}) {
      const auto budget = budget_of(limit);
      struct Pair {
        explicit Pair(std::shared_ptr<Budget> budget) : message(std::move(budget)) { message.append_line(""); }
        Message message;
        std::string expected = "\r\n";
      };
      std::vector<std::unique_ptr<Pair>> pairs;
      for (int i = 0; i < 3; ++i) pairs.push_back(std::make_unique<Pair>(budget));
      for (std::size_t i = 0; i < lines; ++i) {
        auto& [message, expected] = *pairs[up_to(2)];
        const std::size_t longest = up_to(200) == 0 ? 70'000 : 100;
        const std::string line(up_to(longest), static_cast<char>('a' + up_to(25)));
        message.append_line(line);
        expected += line + "\r\n";
        ASSERT_LE(budget->used, limit + 3 * 70'002);
      }
      for (const auto& pair : pairs) {
        const auto& [message, expected] = *pair;
        ASSERT_FALSE(message.failed());
        ASSERT_EQ(message.size(), expected.size());
        ASSERT_TRUE(bytes_of(message) == expected) << seed << " " << limit;
        for (int i = 0; i < 100; ++i) {
          const std::size_t offset = up_to(expected.size());
          const std::string_view piece = message.from(offset);
          ASSERT_EQ(piece.data(), message.from(offset).data());
          ASSERT_EQ(piece.empty(), offset == expected.size());
          ASSERT_TRUE(piece.empty() || piece.ends_with('\n'));
          ASSERT_TRUE(std::string_view(expected).substr(offset).starts_with(piece)) << seed << " " << limit << " " << offset;
        }
      }
      pairs.clear();
      EXPECT_EQ(budget->used, 0U);
    }
  }
}

void append_lines(Message& message, std::size_t bytes) {
  const std::string line(998, 'x');
  message.append_line("Subject: long");
  message.append_line("");
  for (std::size_t i = 0; i < bytes; i += 1000) message.append_line(line);
}

TEST(Message, ReadingTakesAWindowAndGivesItBack) {
  const auto budget = budget_of(0);
  Message message(budget);
  append_lines(message, 1'000'000);
  const std::size_t unread = budget->used;
  EXPECT_LE(unread, 4096U);
  message.from(message.head().size());
  EXPECT_EQ(budget->used, unread + 16384);
  EXPECT_EQ(bytes_of(message).size(), message.size());
  EXPECT_EQ(budget->used, unread);
}

TEST(Message, ALargeMessageMovesToItsFileInParts) {
  const auto budget = budget_of(8'000'000);
  Message large(budget), other(budget);
  append_lines(large, 6'000'000);
  append_lines(other, 1'600'000);
  const std::size_t before = budget->used;
  append_lines(large, 250'000);
  EXPECT_LT(budget->used, before - 500'000);
  EXPECT_GT(budget->used, before - 1'500'000);
}

TEST(Message, AHeaderSectionStaysInMemoryOrIsRefused) {
  const auto budget = budget_of(100'000);
  for (const std::size_t lines : {60U, 1000U}) {
    Message message(budget);
    for (std::size_t i = 0; i < lines; ++i) message.append_line("X-Long: " + std::string(990, 'x'));
    EXPECT_EQ(message.failed(), lines > 64);
    EXPECT_EQ(message.failure().message(), lines > 64 ? "Cannot allocate memory" : "Success");
    EXPECT_LE(budget->used, budget->limit);
  }
  EXPECT_EQ(budget->used, 0U);
}

TEST(Message, TheHeaderSectionIsReplacedAndTheRestStays) {
  for (const std::size_t limit : {std::size_t{0}, std::size_t{1} << 20}) {
    const auto budget = budget_of(limit);
    {
      Message message(budget);
      message.append_line("A: b");
      append_lines(message, 100'000);
      const std::string rest = bytes_of(message, message.head().size());
      for (const std::string& head :
           {std::string("Longer: header\r\n"), "X: " + std::string(200'000, 'x') + "\r\n", std::string()}) {
        message.replace_head(head);
        EXPECT_EQ(message.head(), head);
        EXPECT_EQ(message.size(), head.size() + rest.size());
        EXPECT_TRUE(bytes_of(message) == head + rest);
      }
    }
    EXPECT_EQ(budget->used, 0U);
  }
}

TEST(Message, ADirectoryThatCannotHoldASpoolFileFailsTheMessageAlone) {
  const auto budget = budget_of(10'000, "/nonexistent");
  Message small(budget), large(budget);
  small.append_line("Subject: small");
  append_lines(large, 100'000);
  EXPECT_EQ(large.failure(), std::errc::no_such_file_or_directory);
  EXPECT_EQ(large.from(large.head().size()), "");
  small.append_line("");
  small.append_line("body");
  EXPECT_FALSE(small.failed());
  EXPECT_EQ(bytes_of(small), "Subject: small\r\n\r\nbody\r\n");
}

TEST(Message, AFullDiskIsSaid) {
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{20'000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const auto budget = budget_of(10'000);
  {
    Message message(budget);
    append_lines(message, 1'000'000);
    EXPECT_EQ(message.failure(), std::errc::file_too_large);
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(budget->used, 0U);
}

// Descriptors of files without a name in that directory.
std::vector<int> nameless_files(const std::string& directory) {
  std::vector<int> found;
  for (int descriptor = 3; descriptor < 100; ++descriptor) {
    char path[200];
    const ssize_t n = readlink(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), path, sizeof path);
    const std::string_view name(path, n < 0 ? 0 : static_cast<std::size_t>(n));
    if (name.starts_with(directory + "/") && name.ends_with("(deleted)")) found.push_back(descriptor);
  }
  return found;
}

TEST(Message, ASpoolFileIsPrivateAndNameless) {
  const auto budget = budget_of(0);
  {
    Message message(budget);
    append_lines(message, 100'000);
    const auto files = nameless_files("/var/tmp");
    ASSERT_EQ(files.size(), 1U);
    struct stat status {};
    ASSERT_EQ(fstat(files[0], &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
    EXPECT_EQ(status.st_nlink, 0U);
    EXPECT_EQ(fcntl(files[0], F_GETFD), FD_CLOEXEC);
  }
  EXPECT_TRUE(nameless_files("/var/tmp").empty());
}

TEST(Message, WhatCannotBeReadBackIsSaid) {
  const auto budget = budget_of(0);
  Message message(budget);
  append_lines(message, 100'000);
  const auto files = nameless_files("/var/tmp");
  ASSERT_EQ(files.size(), 1U);
  ASSERT_EQ(ftruncate(files[0], 50'000), 0);
  const std::size_t got = bytes_of(message).size();
  EXPECT_TRUE(message.failed());
  EXPECT_EQ(message.failure(), std::errc::io_error);
  EXPECT_GT(got, 30'000U);
  EXPECT_LE(got, 51'000U);
  EXPECT_EQ(message.from(message.size() - 1), "") << "nothing after a hole";
}

TEST(Message, NoMoreFilesThanThereMayBe) {
  const auto budget = budget_of(4096);
  budget->max_files = 1;
  const auto large = [&] {
    auto message = std::make_unique<Message>(budget);
    for (int i = 0; i < 100; ++i) message->append_line(i == 0 ? "" : std::string(100, 'x'));
    return message;
  };
  auto first = large();
  EXPECT_FALSE(first->failed());
  EXPECT_EQ(large()->failure(), std::errc::too_many_files_open);
  first.reset();
  EXPECT_FALSE(large()->failed());
  EXPECT_EQ(budget->files, 0U);
}

// What has no lines, in memory and in the file.
TEST(Message, Bytes) {
  for (const std::size_t limit : {std::size_t{1} << 20, std::size_t{32} * 1024}) {
    Message message(budget_of(limit));
    std::string expected;
    std::mt19937 random(1);
    for (int i = 0; i < 50; ++i) {
      const std::string piece(1 + random() % Message::max_piece, static_cast<char>('a' + i % 20));
      message.append_bytes(piece);
      expected += piece;
    }
    EXPECT_EQ(message.head(), "");
    std::string bytes;
    while (bytes.size() < message.size()) {
      const std::string_view piece = message.from(bytes.size());
      ASSERT_FALSE(piece.empty()) << message.failure().message();
      bytes += piece;
    }
    EXPECT_TRUE(bytes == expected) << limit;
  }
}

}  // namespace
}  // namespace mailbridge::mail
