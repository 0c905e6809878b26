// The wires of scans: from a StartScan to its result, over as many connections to rspamd's servers as that takes, and the probes
// of those servers. Which server, and whether there is a next try, is decided in rspamd/upstreams.hpp.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <asio/awaitable.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include "base/conversation.hpp"
#include "net/connect.hpp"
#include "net/tls.hpp"
#include "rspamd/exchange.hpp"
#include "rspamd/httpcrypt.hpp"
#include "rspamd/outgoing.hpp"
#include "rspamd/upstreams.hpp"
#include "rspamd/verdict.hpp"
#include "session/engine.hpp"

namespace mailbridge::wires {

class Scanner {
 public:
  struct Hooks {
    std::function<TimePoint()> now;  // of what follows, so that a recording leads to the same figures
    // What a recording holds of a scan (docs/transcripts.md): '>' '<' '!' '@'.
    std::function<void(session::ScanId, char direction, std::string_view bytes, TimePoint)> watch;
    // `server` is empty when there is but one, and when none was reached. A cancelled scan may not get here.
    std::function<void(session::ScanId, const rspamd::ScanResult&, std::string_view server, TimePoint)> finished;
  };

  // The same for all servers.
  struct Ways {
    Duration connect_timeout;
    bool compress;
    std::shared_ptr<const net::TlsContext> tls;  // null when no server wants it
    std::string tls_name;                        // empty: the server's host
  };

  Scanner(asio::io_context& io, const std::vector<rspamd::Upstream>& upstreams, Ways ways, Hooks hooks);

  // For scans from now on; those under way go on as they began. What is known of the servers stays if they do.
  void use(const std::vector<rspamd::Upstream>& upstreams, Ways ways);

  void start(session::StartScan command);
  void cancel(session::ScanId id);

  // Why no mail should be sent to a server (a number of `upstreams`); empty when there is no reason. For --check.
  asio::awaitable<std::string> fault_of(std::size_t server);

 private:
  struct Server {
    rspamd::Upstream upstream;
    std::string name;  // for people and recordings
    std::string host;  // rspamd::host_of()
    net::Target target;
    std::shared_ptr<const rspamd::httpcrypt::Secret> secret = nullptr;  // with a server that has a key
  };
  // The servers of one configuration, and the ways to them. Scans and probes hold it.
  struct Pool {
    Pool(asio::io_context& io, const std::vector<rspamd::Upstream>& from);
    Ways ways;
    std::vector<Server> servers;
    rspamd::Upstreams upstreams;
    asio::steady_timer probe_due;
    asio::steady_timer names_due;
  };
  using PoolPtr = std::shared_ptr<Pool>;

  // ---- one server: what is spoken with it, and how it is reached
  static rspamd::Wire wire_to(const Server& server, const Ways& ways);
  template <class Machine, class Watch>
  static asio::awaitable<std::optional<net::ConnectError>> talk(Server& server, const Ways& ways, Machine& machine,
                                                                TimePoint connect_by, Watch watch);

  asio::awaitable<void> scan(session::StartScan command);
  asio::awaitable<void> probe(PoolPtr pool, std::size_t server);
  void report(Pool& pool, std::size_t server, const rspamd::ScanResult& result, TimePoint begun);
  void await_probe(const PoolPtr& pool);
  void await_names(const PoolPtr& pool);
  double random() { return std::uniform_real_distribution<double>(0, 1)(random_); }

  asio::io_context& io_;
  PoolPtr pool_;
  std::optional<rspamd::httpcrypt::Key> our_key_;  // secret; made when a server has a key
  const Hooks hooks_;
  std::minstd_rand random_{std::random_device{}()};
  std::unordered_map<session::ScanId, std::shared_ptr<asio::cancellation_signal>> scans_;
};

}  // namespace mailbridge::wires
