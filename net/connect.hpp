// A connected, non-blocking stream socket to an Endpoint.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/ip/address.hpp>
#include <tl/expected.hpp>

#include "base/conversation.hpp"
#include "base/endpoint.hpp"

namespace mailbridge::net {

// After this long the names of servers are looked up again: a name can get another address at any time.
inline constexpr Duration names_are_kept = std::chrono::minutes(1);

using Socket = asio::generic::stream_protocol::socket;
using Address = asio::generic::stream_protocol::endpoint;
using Addresses = std::vector<Address>;

struct ConnectError {
  bool timed_out;
  int number;         // errno of the last address tried; 0 for a failed look-up and for a timeout
  std::string what;   // "Connection refused", "Host not found (authoritative)", "no connection in time"
  bool ours = false;  // it says nothing about the server: this process or this host was short of something
};

// Descriptors, memory, local ports or threads.
bool is_own_lack(int error_number);

// Where an Endpoint is. A name is looked up in a thread that ends with the answer, for getaddrinfo(3) can take as long as it
// likes and knows no way back: one look-up of a name at a time, and none behind that of another name. What it answered is kept
// until a later look-up answers something.
class Target {
 public:
  // TCP connections come from `source` when one is given: addresses of the other family are then out of reach.
  Target(asio::any_io_executor executor, const Endpoint& endpoint, std::optional<asio::ip::address> source = {});

  bool is_name() const { return name_ != nullptr; }
  // Looks the name up, unless that is under way; nothing for what is no name.
  void look_up();

 private:
  friend asio::awaitable<tl::expected<Socket, ConnectError>> connect(Target& target, TimePoint until);
  struct Name;

  std::shared_ptr<const Addresses> addresses() const;

  std::shared_ptr<const Addresses> known_;  // of what is no name
  std::shared_ptr<Name> name_;
  std::optional<asio::ip::address> source_;
};

// Tries each address in turn, each with its share of the time until `until`, and that which worked last first; the first address
// of a name with one that leads nowhere costs that share once. When none works, the name is looked up again. TCP sockets get
// TCP_NODELAY. The target must outlive the attempt; destroying the awaiting coroutine's context ends it.
asio::awaitable<tl::expected<Socket, ConnectError>> connect(Target& target, TimePoint until);

// Once.
asio::awaitable<tl::expected<Socket, ConnectError>> connect(Endpoint endpoint, TimePoint until);

}  // namespace mailbridge::net
