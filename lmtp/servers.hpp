// Several LMTP servers: which one gets a transaction, and when another one is tried. Pure: the driver in wires/lmtp.cpp connects
// and converses, and tells what came of it.
//
// Servers are tried in the order in which they are configured. One that failed comes after the others for `Servers::rest`.
//
// A transaction is tried at one server after the other until one of them says something about the recipients or the mail, or
// until the dot has begun to leave: from then on another server could deliver the mail a second time. A connect(2) that succeeds
// proves little. When Dovecot has reached its process limit, its master accepts, stays silent, and later closes without a word.
// So a server counts as up only once it has answered LHLO.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/conversation.hpp"
#include "lmtp/client.hpp"

namespace mailbridge::lmtp {

// What is known of the servers, for all transactions. A server is named by its index.
class Servers {
 public:
  // How long a server that failed comes after the others: about the time of a restart of Dovecot. A connection that is refused
  // costs little, but a server that accepts and stays silent costs the whole wait for its banner.
  static constexpr Duration rest = std::chrono::seconds(10);

  // At least one.
  explicit Servers(std::size_t count) : servers_(count) {}

  // All of them, in the order in which they are to be tried now.
  std::vector<std::size_t> order(TimePoint now) const;

  // True if the state of the server has changed by that: it was down, or was up.
  bool answered(std::size_t server);
  bool failed(std::size_t server, TimePoint now);

 private:
  struct Server {
    bool up = true;
    TimePoint rests_until{};
  };
  std::vector<Server> servers_;
};

// One transaction's attempts.
//
//   next(now) ──► UseKept                     kept_is_gone(), or the conversation and ended()
//             ──► Connect{server, until}      connected(), the conversation and ended(); or not_connected()
//             ──► Done                        result() is final
//
// The driver does what next() says, reports one of the things on the right, and asks again.
class Attempts {
 public:
  struct UseKept {};  // over the connection that was kept from an earlier transaction
  struct Connect {
    std::size_t server;
    TimePoint until;
  };
  using Next = std::variant<UseKept, Connect, Done>;

  // A server that was up is down from now on, or the other way round.
  struct Change {
    std::size_t server;
    std::string why;  // empty: it answers again
  };

  // What a conversation left.
  struct Ended {
    bool stale;                     // Client::stale(): a kept connection was dead, and the outcomes mean nothing
    std::vector<Outcome> outcomes;  // by recipient
    std::array<Duration, stages> spent;
  };
  static Ended ended_with(const Client& client) { return {client.stale(), client.outcomes(), client.spent()}; }

  struct Result {
    std::vector<Outcome> outcomes = {};    // by recipient
    std::size_t server = 0;                // that gave the outcomes
    std::array<Duration, stages> spent{};  // in all attempts together
    bool fresh = false;                    // the kept connection was not used, was dead, or there was none
  };

  // `kept`: the server that a kept connection leads to; none when there is no such connection. `servers` must outlive this.
  Attempts(Servers& servers, std::size_t recipients, Patience patience, Duration connect_timeout,
           std::optional<std::size_t> kept = std::nullopt)
      : servers_(servers), recipients_(recipients), patience_(patience), connect_timeout_(connect_timeout), kept_(kept) {}

  // Asking again without a report in between answers the same.
  Next next(TimePoint now);

  // The server has spoken, or closed, since the last transaction on the kept connection: what it said is no answer to the next
  // command, and would be taken for one.
  void kept_is_gone() { kept_.reset(); }
  void connected(TimePoint now);
  // `why` is one sentence. `ours`: it says nothing about the server, for this host was short of something.
  std::optional<Change> not_connected(std::string why, bool ours, TimePoint now);
  std::optional<Change> ended(Ended conversation, TimePoint now);

  // For the conversation over the kept connection, or over the one that is connected().
  Patience patience() const;
  // When the handshake after STARTTLS must be done.
  TimePoint handshake_by(TimePoint now) const;

  const Result& result() const { return result_; }

 private:
  struct Failed {
    std::vector<Outcome> outcomes;
    std::size_t server;
  };

  void begin_next(TimePoint now);

  Servers& servers_;
  const std::size_t recipients_;
  const Patience patience_;
  const Duration connect_timeout_;
  std::optional<std::size_t> kept_;
  std::vector<std::size_t> order_;  // once the first connect is due
  std::size_t tried_ = 0;           // how many of order_
  std::optional<Connect> connect_;  // the attempt under way
  TimePoint connect_begun_{};
  Duration share_ = Duration::max();  // of the time until dot_by, for the attempt under way
  std::optional<Failed> lacking_;     // the last attempt that could not be made because this host lacked something
  bool done_ = false;
  Result result_;
};

}  // namespace mailbridge::lmtp
