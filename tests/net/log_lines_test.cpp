#include "net/log_lines.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mailbridge::net {
namespace {

using ::testing::ElementsAre;
using ::testing::MatchesRegex;

using Lines = std::vector<std::string>;

class Syslogd {
 public:
  explicit Syslogd(const std::string& path, int type = SOCK_DGRAM) : listener_(socket(AF_UNIX, type | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    unlink(path.c_str());
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw std::runtime_error("bind");
    if (type == SOCK_STREAM && listen(listener_, 5) != 0) throw std::runtime_error("listen");
    descriptor_ = listener_;
  }
  ~Syslogd() {
    if (descriptor_ != listener_) close(descriptor_);
    close(listener_);
  }
  Syslogd(const Syslogd&) = delete;
  Syslogd& operator=(const Syslogd&) = delete;

  void accept() { descriptor_ = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC); }
  std::string read() const {
    char block[65536];
    const ssize_t n = recv(descriptor_, block, sizeof block, MSG_DONTWAIT);
    return {block, static_cast<std::size_t>(std::max<ssize_t>(n, 0))};
  }
  // What there is to read, and what comes of `lines` meanwhile; without priority, time and name.
  Lines read_all(LogLines& lines) const {
    Lines all;
    for (bool last = false;; last = lines.flush()) {
      for (std::string one = read(); !one.empty(); one = read()) all.push_back(one.substr(one.find("]: ") + 3));
      if (last) return all;
    }
  }

 private:
  const int listener_;
  int descriptor_;
};

class LogLinesTest : public ::testing::Test {
 protected:
  LogLinesTest() {
    std::string pattern = ::testing::TempDir() + "log-XXXXXX";
    directory_ = mkdtemp(pattern.data());
    path_ = directory_ + "/log";
  }
  ~LogLinesTest() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
  std::string path_;
};

// What is beneath standard error for a while.
class StandardError {
 public:
  explicit StandardError(int descriptor) : before_(dup(STDERR_FILENO)) { dup2(descriptor, STDERR_FILENO); }
  ~StandardError() {
    dup2(before_, STDERR_FILENO);
    close(before_);
  }
  StandardError(const StandardError&) = delete;
  StandardError& operator=(const StandardError&) = delete;

 private:
  const int before_;
};

// Both ends of something that a process can have as standard error.
struct Wire {
  int ours;
  int theirs;  // never waits
};
Wire make(const std::string& kind) {
  int ends[2];
  if (kind == "pipe" ? pipe(ends) != 0 : socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw std::runtime_error(kind);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return {ends[1], ends[0]};
}

std::string read_all(int descriptor) {
  std::string text;
  char block[65536];
  for (ssize_t n; (n = read(descriptor, block, sizeof block)) > 0;) text.append(block, static_cast<std::size_t>(n));
  return text;
}

std::size_t lost_in(const std::string& line) {
  constexpr std::string_view words = " lines were lost: the log could not be written";
  return line.ends_with(words) ? std::stoul(line.substr(0, line.size() - words.size())) : 0;
}

TEST_F(LogLinesTest, ALineIsAsSyslogWritesIt) {
  const Syslogd syslogd(path_);
  LogLines lines(LogTarget::syslog, "filter-mailbridge", path_);
  lines.write(Level::info, "hello");
  EXPECT_EQ(lines.kept(), 0U);
  const std::string rest = " [ 0-9][0-9] [0-9:]+ filter-mailbridge\\[" + std::to_string(getpid()) + "\\]: ";
  EXPECT_THAT(syslogd.read(), MatchesRegex("<22>[A-Z][a-z][a-z]" + rest + "hello"));
  lines.write(Level::error, "oh");
  EXPECT_THAT(syslogd.read(), MatchesRegex("<19>[A-Z][a-z][a-z]" + rest + "oh"));
}

TEST_F(LogLinesTest, ABurstIsKeptForAReaderWhoIsBehind) {
  const Syslogd syslogd(path_);
  LogLines lines(LogTarget::syslog, "test", path_);
  Lines all;
  for (int i = 0; i < 2000; ++i) lines.write(Level::info, all.emplace_back("line " + std::to_string(i)));
  EXPECT_GT(lines.kept(), 0U);
  EXPECT_EQ(syslogd.read_all(lines), all);
  EXPECT_EQ(lines.kept(), 0U);
}

TEST_F(LogLinesTest, WhatIsBeyondTheBoundIsCounted) {
  const Syslogd syslogd(path_);
  LogLines lines(LogTarget::syslog, "test", path_);
  const std::string text(1000, 'x');
  constexpr std::size_t said = 3000;
  for (std::size_t i = 0; i < said; ++i) lines.write(Level::info, std::to_string(i) + text);
  EXPECT_LE(lines.kept(), LogLines::max_kept + LogLines::max_line);
  Lines all = syslogd.read_all(lines);
  ASSERT_GT(lost_in(all.back()), 0U) << all.back();
  EXPECT_EQ(all.size() - 1 + lost_in(all.back()), said);
  all.pop_back();
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], std::to_string(i) + text) << "the first ones";
  lines.write(Level::info, "more");
  EXPECT_THAT(syslogd.read_all(lines), ElementsAre("more")) << "it is told once";
}

TEST_F(LogLinesTest, SyslogdGoesAndComesBack) {
  LogLines lines(LogTarget::syslog, "test", path_);
  lines.write(Level::info, "before there is one");
  EXPECT_FALSE(lines.flush(std::chrono::hours(1))) << "nobody is there to wait for";
  {
    const Syslogd first(path_);
    EXPECT_TRUE(lines.flush());
    lines.write(Level::info, "to the first");
    EXPECT_THAT(first.read_all(lines), ElementsAre("before there is one", "to the first"));
  }
  lines.write(Level::info, "while it is away");
  std::filesystem::remove(path_);
  lines.write(Level::info, "and its socket, too");
  EXPECT_GT(lines.kept(), 0U);
  const Syslogd second(path_);
  lines.write(Level::info, "to the second");
  EXPECT_THAT(second.read_all(lines), ElementsAre("while it is away", "and its socket, too", "to the second"));
}

TEST_F(LogLinesTest, ASyslogdThatListensForStreams) {
  Syslogd syslogd(path_, SOCK_STREAM);
  LogLines lines(LogTarget::syslog, "test", path_);
  lines.write(Level::info, "one");
  lines.write(Level::info, "two");
  syslogd.accept();
  const std::string said = syslogd.read();
  const std::string end("\0", 1);
  EXPECT_NE(said.find("]: one" + end + "<22>"), std::string::npos);
  EXPECT_TRUE(said.ends_with("]: two" + end));
}

TEST_F(LogLinesTest, ALineBeyondTheBoundIsCut) {
  const Syslogd syslogd(path_);
  LogLines lines(LogTarget::syslog, "test", path_);
  lines.write(Level::info, std::string(LogLines::max_line + 1, 'x'));
  EXPECT_THAT(syslogd.read_all(lines), ElementsAre(std::string(LogLines::max_line, 'x')));
}

TEST_F(LogLinesTest, ItWaitsOnlyWhenItIsToldTo) {
  const Syslogd syslogd(path_);
  LogLines lines(LogTarget::syslog, "test", path_);
  for (int i = 0; i < 1000; ++i) lines.write(Level::info, "line");
  ASSERT_FALSE(lines.flush());
  EXPECT_FALSE(lines.flush(std::chrono::milliseconds(20)));
  std::thread reader([&] {
    for (int read = 0; read < 1000;) read += syslogd.read().empty() ? 0 : 1;
  });
  EXPECT_TRUE(lines.flush(std::chrono::minutes(1)));
  reader.join();
}

TEST_F(LogLinesTest, AnotherTargetHearsHowManyAreMissing) {
  LogLines lines(LogTarget::syslog, "test", path_);
  for (int i = 0; i < 7; ++i) lines.write(Level::info, "nobody is there");
  const auto [ours, theirs] = make("pipe");
  {
    const StandardError beneath(ours);
    lines.use(LogTarget::stderr_stream, "test");
    lines.write(Level::info, "here");
  }
  EXPECT_EQ(read_all(theirs), "7 lines were lost: the log could not be written\nhere\n");
  close(ours);
  close(theirs);
}

TEST_F(LogLinesTest, StandardErrorThatNobodyReads) {
  for (const std::string kind : {"pipe", "socket"}) {
    const auto [ours, theirs] = make(kind);
    LogLines lines(LogTarget::stderr_stream, "test");
    Lines all;
    std::string heard;
    {
      const StandardError beneath(ours);
      const std::string text(PIPE_BUF + 1000, 'x');  // no pipe takes one whole
      for (int i = 0; i < 200; ++i) lines.write(Level::info, all.emplace_back(std::to_string(i) + text));
      EXPECT_GT(lines.kept(), 0U) << kind;
      EXPECT_FALSE(lines.flush(std::chrono::milliseconds(20))) << kind;
      while (!lines.flush()) heard += read_all(theirs);
      heard += read_all(theirs);
      EXPECT_EQ(fcntl(ours, F_GETFL) & O_NONBLOCK, 0) << kind << ": it is shared with others";
    }
    std::string said;
    for (const std::string& line : all) said += line + "\n";
    EXPECT_TRUE(heard == said) << kind;
    close(ours);
    close(theirs);
  }
}

TEST_F(LogLinesTest, StandardErrorThatIsGone) {
  std::signal(SIGPIPE, SIG_IGN);
  for (const std::string kind : {"pipe", "socket", "nothing"}) {
    const auto [ours, theirs] = make(kind == "pipe" ? "pipe" : "socket");
    close(theirs);
    LogLines lines(LogTarget::stderr_stream, "test");
    const StandardError beneath(ours);
    if (kind == "nothing") close(STDERR_FILENO);
    for (int i = 0; i < 10; ++i) lines.write(Level::info, "nobody is there");
    EXPECT_FALSE(lines.flush()) << kind;
    close(ours);
  }
}

TEST_F(LogLinesTest, StandardErrorThatIsAFile) {
  const std::string file = directory_ + "/errors";
  const int ours = open(file.c_str(), O_RDWR | O_CREAT | O_APPEND, 0600);
  {
    const StandardError beneath(ours);
    LogLines lines(LogTarget::stderr_stream, "test");
    for (int i = 0; i < 100; ++i) lines.write(Level::info, "line");
    EXPECT_EQ(lines.kept(), 0U);
  }
  close(ours);
  EXPECT_EQ(std::filesystem::file_size(file), 500U);
}

}  // namespace
}  // namespace mailbridge::net
