// A connected, non-blocking stream socket to an Endpoint.
#pragma once

#include <string>

#include <asio/awaitable.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <tl/expected.hpp>

#include "base/conversation.hpp"
#include "base/endpoint.hpp"

namespace mailbridge::net {

using Socket = asio::generic::stream_protocol::socket;

struct ConnectError {
  bool timed_out;
  int number;        // errno of the last address tried; 0 for a failed look-up and for a timeout
  std::string what;  // "Connection refused", "Host not found (authoritative)", "no connection in time"
};

// Resolves the name (Asio's resolver thread; never blocks the caller) and tries each address in turn until `until`. TCP sockets
// get TCP_NODELAY. Destroying the awaiting coroutine's context ends the attempt.
asio::awaitable<tl::expected<Socket, ConnectError>> connect(Endpoint endpoint, TimePoint until);

}  // namespace mailbridge::net
