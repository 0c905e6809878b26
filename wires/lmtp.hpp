// The wires of LMTP, for both programs: one transaction with the first of several servers that answers.
//
// Before the first byte of the dot another server may be tried, when what ended the attempt says nothing about the recipients or
// the mail; from then on never. That connect(2) succeeds proves little: with its process limit reached, Dovecot's master accepts
// and stays silent, and later closes without a word. So a server has spoken only when its reply to LHLO is there.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/ip/address.hpp>
#include <tl/expected.hpp>

#include "base/conversation.hpp"
#include "base/endpoint.hpp"
#include "lmtp/client.hpp"
#include "net/connect.hpp"
#include "net/stream.hpp"

namespace mailbridge::wires {

// How servers are reached, the same for all of them.
struct Ways {
  Duration connect_timeout = std::chrono::seconds(5);  // for each server
  std::optional<asio::ip::address> source = {};        // of TCP connections
  std::shared_ptr<const net::TlsContext> tls = {};     // null when no server wants it
  std::string tls_name = {};                           // in their certificates; empty: the server's host
  bool starttls = false;                               // wanted of those without TLS from the first byte; never done without
  bool operator==(const Ways&) const = default;
};

class Servers {
  struct Server;

 public:
  struct Hooks {
    // Asked when the whole mail has left: why the dot must not follow. None: it may.
    std::function<std::string()> refusal = {};
    // The client has heard something, or the end of it.
    std::function<void(const lmtp::Client&)> heard = {};
    // A server that answered does so no longer, or does so again (`why` is empty).
    std::function<void(const std::string& server, std::string_view why)> changed = {};
  };

  // One that may serve again, as long as this lives.
  struct Connection {
    Server* server;
    net::Stream stream;
    std::optional<lmtp::Greeted> greeted;
  };

  // What came of a transaction.
  struct Talk {
    std::vector<lmtp::Outcome> outcomes = {};  // one for each recipient
    std::string server = {};                   // the last one that was tried
    std::array<Duration, lmtp::stages> spent = {};
    std::unique_ptr<Connection> kept = {};  // when the transaction said so, and all went well
    bool fresh = false;                     // it is not the connection that was given, which is of no use any more
  };

  // At least one server. `ways.tls` is set when an endpoint or `ways.starttls` wants it.
  Servers(const asio::any_io_executor& executor, const std::vector<Endpoint>& endpoints, Ways ways);

  // Over `kept`, and when that turns out to be stale or there is none, over a fresh connection. Transaction::starttls is set
  // here, and helo when it is empty. Destroying the awaiting coroutine's context ends it; `hooks` and this must outlive it.
  asio::awaitable<Talk> talk(lmtp::Transaction transaction, lmtp::Patience patience, const Hooks& hooks,
                             std::unique_ptr<Connection> kept = {});

  // Says QUIT on a connection that is closed next.
  static void leave(Connection& connection);

  // Names can get other addresses at any time. Whether a server has one.
  bool look_up_names();

 private:
  struct Server {
    Endpoint endpoint;
    std::string name;  // for people
    net::Target target;
    bool up = true;
    TimePoint rests_until{};  // tried after the others until then
  };

  std::vector<Server*> in_order(TimePoint now);
  // The server answers, or what is wrong with it.
  void heard_of(Server& server, std::string_view trouble, const Hooks& hooks);
  const std::string& tls_name(const Server& server) const;
  asio::awaitable<tl::expected<net::Stream, net::ConnectError>> open(Server& server, TimePoint until) const;
  asio::awaitable<void> converse(Connection& connection, lmtp::Client& client, TimePoint until, const Hooks& hooks);
  asio::awaitable<bool> serve(std::unique_ptr<Connection> connection, const lmtp::Transaction& wanted, lmtp::Patience patience,
                              const Hooks& hooks, Talk& talk);

  const Ways ways_;
  std::vector<Server> servers_;
};

// Why a server could not be reached, for who runs it.
std::string connect_failure(const Endpoint& endpoint, const net::ConnectError& error);

}  // namespace mailbridge::wires
