#include "net/converse.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <gtest/gtest.h>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/write.hpp>

#include "net/connect.hpp"
#include "question.hpp"
#include "tests/support/scripted_server.hpp"

namespace mailbridge::net {
namespace {

using test::Peer;
using test::ScriptedServer;

const std::string large(8 << 20, 'x');  // more than any socket buffer

class Converse : public testing::TestWithParam<ScriptedServer::Kind> {
 protected:
  void talk(Machine& machine, ScriptedServer::Script script) {
    ScriptedServer server(std::move(script), GetParam());
    asio::io_context io;
    const TimePoint start = Clock::now();
    const auto run = [&]() -> asio::awaitable<void> {
      auto socket = co_await connect(*parse_lmtp_endpoint(server.endpoint()), Clock::now() + std::chrono::seconds(5));
      co_await converse(*socket, machine, [this](char direction, std::string_view bytes) {
        if (direction == '<') written_ += bytes.size();
        else watched_ += direction + std::string(bytes) + ";";
      });
    };
    asio::co_spawn(io, run, [](std::exception_ptr thrown) { EXPECT_FALSE(thrown); });
    io.run();
    took_ = Clock::now() - start;
    wrong_ = server.finish();
    if (!server.heard().empty()) heard_ = server.heard()[0];
  }
  Duration took_{};
  std::size_t written_ = 0;
  std::string watched_;
  std::string wrong_;
  std::string heard_;
};

using std::chrono::milliseconds;

TEST_P(Converse, QuestionAndAnswer) {
  Machine machine("hello\n", milliseconds(5000));
  talk(machine, [](Peer& peer) {
    peer.hear_line();
    peer.say("an");
    peer.pause(20);
    peer.say("swer\n");
  });
  EXPECT_EQ(machine.heard, "answer\n");
  EXPECT_FALSE(machine.ended);
  EXPECT_EQ(heard_, "hello\n");
  EXPECT_EQ(written_, 6U);
}

// A socket for which the system has no memory now and then.
struct Starved {
  Socket& socket;
  unsigned times;  // of each kind that fail before one succeeds
  unsigned reads = 0;
  unsigned writes = 0;

  bool non_blocking() const { return socket.non_blocking(); }
  void non_blocking(bool on) { socket.non_blocking(on); }
  template <class Token>
  auto async_wait(asio::socket_base::wait_type direction, Token&& token) {
    return socket.async_wait(direction, std::forward<Token>(token));
  }
  std::size_t read_some(asio::mutable_buffer buffer, asio::error_code& error) {
    return starves(reads, error, asio::error::no_memory) ? 0 : socket.read_some(buffer, error);
  }
  std::size_t write_some(asio::const_buffer buffer, asio::error_code& error) {
    return starves(writes, error, asio::error::no_buffer_space) ? 0 : socket.write_some(buffer, error);
  }
  bool starves(unsigned& tries, asio::error_code& error, asio::error::basic_errors what) const {
    if (tries++ % (times + 1) == times) return false;
    error = what;
    return true;
  }
};

TEST(Converse, WhatTheSystemIsShortOfIsNoEnding) {
  for (const bool for_ever : {false, true}) {
    ScriptedServer server([&](Peer& peer) {
      if (for_ever) return peer.wait_for_close();
      peer.hear_line();
      peer.say("ok\n");
    });
    Machine machine("hello\n", milliseconds(for_ever ? 100 : 10000));
    asio::io_context io;
    const auto run = [&]() -> asio::awaitable<void> {
      auto socket = co_await connect(*parse_lmtp_endpoint(server.endpoint()), Clock::now() + std::chrono::seconds(5));
      Starved starved{*socket, for_ever ? 1'000'000U : 3U};
      co_await converse(starved, machine);
    };
    asio::co_spawn(io, run, [](std::exception_ptr thrown) { EXPECT_FALSE(thrown); });
    io.run();
    EXPECT_EQ(machine.heard, for_ever ? "" : "ok\n");
    EXPECT_EQ(machine.ended.has_value(), for_ever);
    EXPECT_EQ(server.finish(), "");
  }
}

TEST_P(Converse, ALargeQuestionLeavesWhole) {
  Machine machine(large + "\n", milliseconds(10000));
  talk(machine, [](Peer& peer) {
    peer.hear_line();
    peer.say("ok\n");
  });
  EXPECT_EQ(machine.heard, "ok\n");
  EXPECT_EQ(heard_, large + "\n");
}

TEST_P(Converse, AnEarlyReplyIsHeardWhileTheSendIsBlocked) {
  Machine machine(large, milliseconds(10000));
  talk(machine, [](Peer& peer) {
    peer.pause(50);
    peer.say("too big\n");
    peer.pause(100);
  });
  EXPECT_EQ(machine.heard, "too big\n");
  EXPECT_GT(machine.left(), 0U);
  EXPECT_LT(took_, milliseconds(5000));
}

TEST_P(Converse, APeerThatNeverReadsCostsTheStepsPatience) {
  Machine machine(large, milliseconds(200));
  talk(machine, [](Peer& peer) { peer.pause(600); });
  ASSERT_TRUE(machine.ended);
  EXPECT_EQ(machine.ended->kind, Ending::Kind::timed_out);
  EXPECT_GE(took_, milliseconds(200));
  EXPECT_LT(took_, milliseconds(550));
}

TEST_P(Converse, ASilentPeerCostsTheStepsPatience) {
  Machine machine("hello\n", milliseconds(100));
  talk(machine, [](Peer& peer) { peer.wait_for_close(); });
  ASSERT_TRUE(machine.ended);
  EXPECT_EQ(machine.ended->kind, Ending::Kind::timed_out);
  EXPECT_EQ(watched_, "!timed_out;");
}

TEST_P(Converse, ClosedEarly) {
  Machine machine("hello\n", milliseconds(5000));
  talk(machine, [](Peer& peer) {
    peer.hear_line();
    peer.say("half");
  });
  ASSERT_TRUE(machine.ended);
  EXPECT_EQ(machine.ended->kind, Ending::Kind::closed);
  EXPECT_EQ(machine.heard, "half");
  EXPECT_EQ(watched_, ">half;!closed;");
}

TEST_P(Converse, LastWordsBeforeACloseInMidSendAreHeard) {
  Machine machine(large, milliseconds(5000));
  talk(machine, [](Peer& peer) {
    peer.say("refused\n");
    peer.pause(20);
  });
  EXPECT_EQ(machine.heard, "refused\n");
}

TEST_P(Converse, ClosedInMidSendWithoutAWord) {
  Machine machine(large, milliseconds(5000));
  talk(machine, [](Peer&) {});
  ASSERT_TRUE(machine.ended);
  EXPECT_NE(machine.ended->kind, Ending::Kind::timed_out);
  EXPECT_LT(took_, milliseconds(2000));
}

INSTANTIATE_TEST_SUITE_P(Net, Converse, testing::Values(ScriptedServer::Kind::local, ScriptedServer::Kind::tcp),
                         [](const auto& parameter) { return parameter.param == ScriptedServer::Kind::local ? "unix" : "tcp"; });

// A process that gets no time for a while: the answer is there, and so is the deadline.
class Sleeper : public Machine {
 public:
  using Machine::Machine;
  void sent(std::size_t n) {
    Machine::sent(n);
    std::this_thread::sleep_for(milliseconds(300));
  }
};

TEST(ConverseLate, AReplyThatCameInTimeIsNoSilence) {
  ScriptedServer server([](Peer& peer) {
    peer.hear_line();
    peer.say("ok\n");
  });
  asio::io_context io;
  Sleeper machine("hello\n", milliseconds(100));
  const auto run = [&]() -> asio::awaitable<void> {
    auto socket = co_await connect(*parse_lmtp_endpoint(server.endpoint()), Clock::now() + std::chrono::seconds(5));
    co_await converse(*socket, machine);
  };
  asio::co_spawn(io, run, asio::detached);
  io.run();
  EXPECT_EQ(machine.heard, "ok\n");
  EXPECT_FALSE(machine.ended);
}

// A socket that never makes anyone wait: it always has one more byte, or always takes what it gets.
class Tireless {
 public:
  explicit Tireless(bool talks) : talks_(talks) {}
  bool non_blocking() const { return true; }
  void non_blocking(bool) {}
  template <class Buffers>
  std::size_t read_some(const Buffers& buffers, asio::error_code& error) {
    error.clear();
    if (!talks_) return error = asio::error::would_block, 0;
    *static_cast<char*>(asio::mutable_buffer(buffers).data()) = 'x';
    return 1;
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& buffers, asio::error_code& error) {
    error.clear();
    return asio::buffer_size(buffers);
  }
  template <class Handler>
  void async_wait(asio::socket_base::wait_type, Handler&&) {
    ADD_FAILURE() << "nobody has to wait";
  }

 private:
  bool talks_;
};

// Talks or listens until it is told to stop, or for so long that nobody else can have had a turn.
class Tirelessly {
 public:
  Tirelessly(bool listens, const bool& stop) : listens_(listens), stop_(stop) {}
  Step next(TimePoint now) {
    if (stop_ || ++turns == too_many) return Done{};
    if (listens_) return Await{now + std::chrono::hours(1)};
    return Send{"x", now + std::chrono::hours(1)};
  }
  void sent(std::size_t) {}
  void receive(std::string_view) {}
  void end(const Ending&) {}

  static constexpr int too_many = 1'000'000;
  int turns = 0;

 private:
  bool listens_;
  const bool& stop_;
};

class ConverseFairly : public testing::TestWithParam<bool> {};

TEST_P(ConverseFairly, APeerThatNeverPausesLeavesTheOthersTheirTurn) {
  asio::io_context io;
  asio::local::stream_protocol::socket ours(io), theirs(io);
  asio::local::connect_pair(ours, theirs);
  asio::write(theirs, asio::buffer("answer\n", 7));
  bool answered = false;
  Tireless socket(GetParam());
  Tirelessly machine(GetParam(), answered);
  Machine other("hello\n", milliseconds(60'000));
  asio::co_spawn(io, converse(socket, machine), asio::detached);
  const auto ask = [&]() -> asio::awaitable<void> {
    co_await converse(ours, other);
    ours.close();
    answered = true;
  };
  asio::co_spawn(io, ask, asio::detached);
  io.run();
  EXPECT_EQ(other.heard, "answer\n");
  EXPECT_LT(machine.turns, Tirelessly::too_many);
}

INSTANTIATE_TEST_SUITE_P(Net, ConverseFairly, testing::Bool(),
                         [](const auto& parameter) { return parameter.param ? "AlwaysTalks" : "AlwaysTakes"; });

}  // namespace
}  // namespace mailbridge::net
