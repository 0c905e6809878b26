// The LMTP client of both programs: it connects to the servers, makes the TLS handshake, and carries the bytes of a transaction.
// What is said is decided in lmtp/client.hpp; which server is connected to, until when, and what is tried again in
// lmtp/servers.hpp.
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
#include "lmtp/servers.hpp"
#include "net/connect.hpp"
#include "net/stream.hpp"

namespace mailbridge::wires {

class LmtpClient {
 public:
  // The same for all servers.
  struct Settings {
    Duration connect_timeout = std::chrono::seconds(5);
    std::optional<asio::ip::address> source = {};     // of TCP connections; none: any
    std::shared_ptr<const net::TlsContext> tls = {};  // null when no server wants TLS
    std::string tls_name = {};                        // in the servers' certificates; empty: the server's host
    bool starttls = false;                            // servers without TLS from the first byte must do STARTTLS
    bool operator==(const Settings&) const = default;
  };

  // Each may be empty.
  struct Hooks {
    // Asked when the whole mail has left: why the dot must not follow. An empty answer lets it follow.
    std::function<std::string()> refusal = {};
    // The client has received bytes, or the conversation has ended.
    std::function<void(const lmtp::Client&)> heard = {};
    // A server that was up is down from now on; or it is up again, and `why` is empty.
    std::function<void(const std::string& server, std::string_view why)> changed = {};
  };

  // A connection that can serve again. It must not outlive its LmtpClient.
  struct Connection {
    std::size_t server;
    net::Stream stream;
    std::optional<lmtp::LhloState> lhlo;
  };

  struct Result {
    std::vector<lmtp::Outcome> outcomes = {};       // by recipient
    std::string server = {};                        // that gave the outcomes
    std::array<Duration, lmtp::stages> spent = {};  // in all attempts together
    std::unique_ptr<Connection> kept = {};          // null: no connection can serve again
    bool fresh = false;                             // the connection that was passed in was not used, or it was dead
  };

  // At least one endpoint. `settings.tls` must be set when an endpoint or `settings.starttls` wants it.
  LmtpClient(const asio::any_io_executor& executor, const std::vector<Endpoint>& endpoints, Settings settings);

  // One transaction: over `kept`, and over a new connection when that is dead or null. Transaction::starttls is set here, and
  // Transaction::helo when it is empty. This and `hooks` must outlive it; destroying the io_context destroys the coroutine.
  asio::awaitable<Result> transact(lmtp::Transaction transaction, lmtp::Patience patience, const Hooks& hooks,
                                   std::unique_ptr<Connection> kept = {});

  // Sends QUIT, before the caller closes the connection.
  static void quit(Connection& connection);

  // Looks up the servers' names again, which can get other addresses at any time. True if a server is given by name.
  bool look_up_names();

 private:
  struct Server {
    Endpoint endpoint;
    std::string name;      // for people
    std::string tls_name;  // in its certificate
    bool tls;              // from the first byte
    net::Target target;
  };

  asio::awaitable<tl::expected<std::unique_ptr<Connection>, net::ConnectError>> open(lmtp::Attempts::Connect to);
  asio::awaitable<void> converse(Connection& connection, lmtp::Client& client, const lmtp::Attempts& attempts,
                                 const Hooks& hooks);
  void tell(const std::optional<lmtp::Attempts::Change>& change, const Hooks& hooks) const;

  const Settings settings_;
  std::vector<Server> servers_;
  lmtp::Servers states_;
};

// Why a server could not be connected to, in a sentence for its administrator.
std::string connect_failure(const Endpoint& endpoint, const net::ConnectError& error);

}  // namespace mailbridge::wires
