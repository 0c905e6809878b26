// The driver of every Conversation: one small loop over readiness. It decides nothing (base/conversation.hpp).
//
// The peer is listened to before each write but the first, and a read is pending whenever we wait: a peer that refuses in
// mid-body is heard, and one that stops reading cannot hold us for longer than the step's patience. A failed write does not end
// the talk by itself, for the peer's last words may still be on their way: reading goes on until it ends. And when time is up,
// what has arrived by then is heard once more: a process that was not scheduled in time must not take a reply for silence.
//
// When the system is short of memory for a read or a write, that is tried again until the step's time is over: it says nothing
// about the peer, and no readiness tells when it ends.
//
// A peer that always has more to say, or always takes more, would never make us wait: after some turns the others have theirs.
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

// What wakes a waiting conversation: its timer, which ends early when the socket is ready. A wait for the socket that is
// overtaken stays for the next time, and may outlive the conversation.
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

// Returns when the machine is Done; a wait may still be pending on the socket then. `watch(direction, bytes)` sees what crosses
// the wire ('>' towards us, '<' from us), for a recorder; for an ending it gets '!' and to_string(ending).
template <class Socket, Conversation Machine, class Watch>
asio::awaitable<void> converse(Socket& socket, Machine& machine, Watch watch) {
  // Nothing is suspended between a read and its receive(), so all conversations of a thread read into one place.
  thread_local std::array<char, 64 * 1024> in;
  const auto executor = co_await asio::this_coro::executor;
  const auto wake = std::make_shared<Wake>(Wake{asio::steady_timer(executor)});
  bool writable = true;
  bool late = false;
  bool spoken = false;
  enum class Wrote { nothing, all, a_part } wrote = Wrote::nothing;  // in the last turn
  const auto end = [&](Ending::Kind kind, std::string error = {}) {
    const Ending ending{kind, std::move(error)};
    watch('!', to_string(ending));
    machine.end(ending);
  };
  bool lacking = false;  // in this turn
  const auto blocked = [&](const asio::error_code& error) {
    const bool no_room = error == asio::error::no_buffer_space || error == asio::error::no_memory;
    lacking = lacking || no_room;
    return no_room || error == asio::error::would_block || error == asio::error::try_again;
  };
  if (!socket.non_blocking()) socket.non_blocking(true);
  for (unsigned turn = 1;; ++turn) {
    if (turn % turns_at_once == 0) co_await asio::post(executor, asio::use_awaitable);
    const TimePoint now = Clock::now();
    const Step step = machine.next(now);
    if (std::holds_alternative<Done>(step)) co_return;
    const auto* send = std::get_if<Send>(&step);
    const TimePoint until = send ? send->until : std::get<Await>(step).until;
    const bool was_late = std::exchange(late, until <= now);
    if (was_late && late) {
      end(Ending::Kind::timed_out);
      continue;
    }
    // No answer is there in the moment after our last word, and no room after a write that had to stop.
    lacking = false;
    const bool wait_first = std::exchange(wrote, Wrote::nothing) == (send ? Wrote::a_part : Wrote::all);
    asio::error_code error;
    if (late || (!wait_first && (spoken || !send))) {
      const std::size_t n = socket.read_some(asio::buffer(in), error);
      if (!error) {
        watch('>', std::string_view(in.data(), n));
        machine.receive(std::string_view(in.data(), n));
        continue;
      }
      if (error == asio::error::eof) {
        end(Ending::Kind::closed);
        continue;
      }
      if (!blocked(error)) {
        end(Ending::Kind::failed, error.message());
        continue;
      }
    }
    if (late) {
      end(Ending::Kind::timed_out);
      continue;
    }
    if (send && writable && !wait_first) {
      spoken = true;
      const std::size_t n = socket.write_some(asio::buffer(send->bytes), error);
      if (!error) {
        watch('<', send->bytes.substr(0, n));
        wrote = n == send->bytes.size() ? Wrote::all : Wrote::a_part;
        machine.sent(n);
        continue;
      }
      writable = blocked(error);
    }
    if (!lacking) wake_when_ready(socket, asio::socket_base::wait_read, wake, &Wake::reading);
    if (send && writable && !lacking) wake_when_ready(socket, asio::socket_base::wait_write, wake, &Wake::writing);
    wake->timer.expires_at(lacking ? std::min(until, now + nap) : until);
    co_await wake->timer.async_wait(as_tuple(asio::use_awaitable));
  }
}

template <class Socket, Conversation Machine>
asio::awaitable<void> converse(Socket& socket, Machine& machine) {
  co_await converse(socket, machine, [](char, std::string_view) {});
}

}  // namespace mailbridge::net
