// The driver of every Conversation: one small loop over readiness. It decides nothing (base/conversation.hpp).
//
// It reads before each write but the first, and whenever it waits. So a reply that comes while we send is heard, and a peer that
// stops reading holds us no longer than the step's time. A failed write does not end the conversation, because the peer's last
// words may still be on their way: it goes on reading until the connection ends. When the time is over, it reads once more: if
// this process did not run for a while, the reply may be there.
//
// When the system is short of memory for a read or a write, that is tried again until the step's time is over. The lack says
// nothing about the peer, and nothing wakes us when it ends.
//
// A peer that always has more to say, or always takes more, would never make us wait. So after some turns the other conversations
// of the thread have theirs.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/socket_base.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include "base/conversation.hpp"
#include "net/as_tuple.hpp"

namespace mailbridge::net {

inline constexpr unsigned turns_at_once = 16;
inline constexpr Duration nap = std::chrono::milliseconds(10);

// What wakes a waiting conversation: its timer, which is cancelled when the socket is ready. A wait for the socket may still be
// pending when the timer ends; then it serves the next time, and it may outlive the conversation.
struct Wake {
  asio::steady_timer timer;
  bool reading = false;
  bool writing = false;
};

template <class Socket>
void wake_when_ready(Socket& socket, asio::socket_base::wait_type direction, const std::shared_ptr<Wake>& wake,
                     bool Wake::*pending) {
  if (std::exchange((*wake).*pending, true)) return;
  socket.async_wait(direction, [wake, pending](const asio::error_code&) {
    (*wake).*pending = false;
    wake->timer.cancel();
  });
}

// One conversation's reads and writes, without waiting.
template <class Socket, Conversation Machine, class Watch>
class Transfer {
 public:
  Transfer(Socket& socket, Machine& machine, Watch& watch) : socket_(socket), machine_(machine), watch_(watch) {
    if (!socket_.non_blocking()) socket_.non_blocking(true);
  }

  void begin_turn() { short_of_memory_ = false; }

  // Right after our last word no answer is there, and right after a write that had to stop there is no room. To be asked once in
  // each turn.
  bool must_wait_first(bool sends) { return std::exchange(wrote_, Wrote::nothing) == (sends ? Wrote::part : Wrote::all); }

  // True if the machine was told what has arrived, or how the connection ended.
  bool read() {
    // Nothing is suspended between a read and its receive(), so all conversations of a thread read into one buffer.
    thread_local std::array<char, 64 * 1024> in;
    asio::error_code error;
    const std::size_t n = socket_.read_some(asio::buffer(in), error);
    if (!error) {
      watch_('>', std::string_view(in.data(), n));
      machine_.receive(std::string_view(in.data(), n));
      return true;
    }
    if (error == asio::error::eof) end(Ending::Kind::closed);
    else if (is_to_be_tried_again(error)) return false;
    else end(Ending::Kind::failed, error.message());
    return true;
  }

  // True if some of it has left.
  bool write(std::string_view bytes) {
    spoken_ = true;
    asio::error_code error;
    const std::size_t n = socket_.write_some(asio::buffer(bytes), error);
    if (error) {
      writable_ = is_to_be_tried_again(error);
      return false;
    }
    watch_('<', bytes.substr(0, n));
    wrote_ = n == bytes.size() ? Wrote::all : Wrote::part;
    machine_.sent(n);
    return true;
  }

  void end(Ending::Kind kind, std::string error = {}) {
    const Ending ending{kind, std::move(error)};
    watch_('!', to_string(ending));
    machine_.end(ending);
  }

  bool writable() const { return writable_; }                // no write has failed
  bool spoken() const { return spoken_; }                    // a write was tried
  bool short_of_memory() const { return short_of_memory_; }  // in this turn

 private:
  bool is_to_be_tried_again(const asio::error_code& error) {
    const bool no_memory = error == asio::error::no_buffer_space || error == asio::error::no_memory;
    short_of_memory_ = short_of_memory_ || no_memory;
    return no_memory || error == asio::error::would_block || error == asio::error::try_again;
  }

  Socket& socket_;
  Machine& machine_;
  Watch& watch_;
  bool writable_ = true;
  bool spoken_ = false;
  bool short_of_memory_ = false;
  enum class Wrote { nothing, all, part } wrote_ = Wrote::nothing;  // in the last turn
};

// Returns when the machine is Done; a wait may still be pending on the socket then. `watch(direction, bytes)` sees what crosses
// the wire ('>' towards us, '<' from us), for a recorder; for an ending it gets '!' and to_string(ending).
template <class Socket, Conversation Machine, class Watch>
asio::awaitable<void> converse(Socket& socket, Machine& machine, Watch watch) {
  const auto executor = co_await asio::this_coro::executor;
  const auto wake = std::make_shared<Wake>(Wake{asio::steady_timer(executor)});
  Transfer<Socket, Machine, Watch> transfer(socket, machine, watch);
  bool late = false;
  for (unsigned turn = 1;; ++turn) {
    if (turn % turns_at_once == 0) co_await asio::post(executor, asio::use_awaitable);
    const TimePoint now = Clock::now();
    const Step step = machine.next(now);
    if (std::holds_alternative<Done>(step)) co_return;
    const auto* send = std::get_if<Send>(&step);
    const TimePoint until = send ? send->until : std::get<Await>(step).until;
    const bool was_late = std::exchange(late, until <= now);
    if (was_late && late) {
      transfer.end(Ending::Kind::timed_out);
      continue;
    }
    transfer.begin_turn();
    const bool wait_first = transfer.must_wait_first(send != nullptr);
    const bool read_first = late || (!wait_first && (transfer.spoken() || !send));
    if (read_first && transfer.read()) continue;
    if (late) {
      transfer.end(Ending::Kind::timed_out);
      continue;
    }
    if (send && transfer.writable() && !wait_first && transfer.write(send->bytes)) continue;
    if (transfer.short_of_memory()) {
      wake->timer.expires_at(std::min(until, now + nap));
    } else {
      wake_when_ready(socket, asio::socket_base::wait_read, wake, &Wake::reading);
      if (send && transfer.writable()) wake_when_ready(socket, asio::socket_base::wait_write, wake, &Wake::writing);
      wake->timer.expires_at(until);
    }
    co_await wake->timer.async_wait(as_tuple(asio::use_awaitable));
  }
}

template <class Socket, Conversation Machine>
asio::awaitable<void> converse(Socket& socket, Machine& machine) {
  co_await converse(socket, machine, [](char, std::string_view) {});
}

}  // namespace mailbridge::net
