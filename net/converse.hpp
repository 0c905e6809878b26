// The driver of every Conversation: one small loop over readiness. It decides nothing (base/conversation.hpp).
//
// A read is always pending, also while we write: a peer that refuses in mid-body is heard, and one that stops reading cannot
// hold us for longer than the step's patience. A failed write does not end the talk by itself, for the peer's last words may
// still be on their way: reading goes on until it ends. And when time is up, what has arrived by then is heard once more: a
// process that was not scheduled in time must not take a reply for silence.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/socket_base.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include "base/conversation.hpp"

namespace mailbridge::net {

// Returns when the machine is Done. `watch(direction, bytes)` sees what crosses the wire ('>' towards us, '<' from us), for a
// recorder; for an ending it gets '!' and to_string(ending).
template <class Socket, Conversation Machine, class Watch>
asio::awaitable<void> converse(Socket& socket, Machine& machine, Watch watch) {
  using namespace asio::experimental::awaitable_operators;
  constexpr auto token = asio::experimental::as_tuple(asio::use_awaitable);
  asio::steady_timer timer(co_await asio::this_coro::executor);
  std::array<char, 16384> in;
  bool writable = true;
  bool late = false;
  const auto end = [&](Ending::Kind kind, std::string error = {}) {
    const Ending ending{kind, std::move(error)};
    watch('!', to_string(ending));
    machine.end(ending);
  };
  socket.non_blocking(true);
  for (;;) {
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
    asio::error_code error;
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
    if (error != asio::error::would_block && error != asio::error::try_again) {
      end(Ending::Kind::failed, error.message());
      continue;
    }
    if (late) {
      end(Ending::Kind::timed_out);
      continue;
    }
    if (send && writable) {
      const std::size_t sent = socket.write_some(asio::buffer(send->bytes), error);
      if (!error) {
        watch('<', send->bytes.substr(0, sent));
        machine.sent(sent);
        continue;
      }
      writable = error == asio::error::would_block || error == asio::error::try_again;
    }
    timer.expires_at(until);
    if (send && writable) {
      co_await (socket.async_wait(asio::socket_base::wait_read, token) ||
                socket.async_wait(asio::socket_base::wait_write, token) || timer.async_wait(token));
    } else {
      co_await (socket.async_wait(asio::socket_base::wait_read, token) || timer.async_wait(token));
    }
  }
}

template <class Socket, Conversation Machine>
asio::awaitable<void> converse(Socket& socket, Machine& machine) {
  co_await converse(socket, machine, [](char, std::string_view) {});
}

}  // namespace mailbridge::net
