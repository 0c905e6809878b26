// The rspamd client of both programs: it connects to rspamd's servers and carries the bytes of scans and pings. What is said is
// decided in rspamd/exchange.hpp and rspamd/ping.hpp; which server is connected to, until when, and what is tried again in
// rspamd/scan_attempts.hpp; which servers are down and when they are probed in rspamd/upstreams.hpp.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>

#include "base/conversation.hpp"
#include "net/connect.hpp"
#include "net/tls.hpp"
#include "rspamd/httpcrypt.hpp"
#include "rspamd/outgoing.hpp"
#include "rspamd/ping.hpp"
#include "rspamd/scan.hpp"
#include "rspamd/scan_attempts.hpp"
#include "rspamd/upstreams.hpp"
#include "rspamd/verdict.hpp"

namespace mailbridge::wires {

class RspamdClient {
 public:
  // The same for all servers.
  struct Settings {
    Duration connect_timeout{};
    Duration ping_timeout = std::chrono::seconds(5);  // connecting included: a worker answers /ping between two scans
    bool compress = false;                            // what is scanned
    std::shared_ptr<const net::TlsContext> tls = {};  // null when no server wants TLS
    std::string tls_name = {};                        // in the servers' certificates; empty: the server's host
    bool late_is_unreachable = false;                 // see rspamd::ScanAttempts::Limits
  };

  // Each may be empty.
  struct Hooks {
    // A server has gone down, or has come up again.
    std::function<void(const std::string& server, const rspamd::ScanAttempts::Change&)> changed = {};
    // An attempt has ended: upstreams().next_probe() may have changed.
    std::function<void()> attempted = {};
    std::function<double()> random = {};  // from 0 up to 1, for the length of pauses; empty: they are not varied
  };

  // What crosses the wire during a scan, for a recording (docs/transcripts.md): '>' received, '<' sent, '!' the ending,
  // '@' the server that is tried.
  using Watch = std::function<void(char direction, std::string_view bytes)>;

  struct Scanned {
    rspamd::ScanResult result;
    std::string tried;      // the server of the last attempt; empty: there was no attempt
    std::string connected;  // the last server that there was a connection to; empty: there was none to any
  };

  // From one server up to Upstreams::max_count.
  RspamdClient(const asio::any_io_executor& executor, const std::vector<rspamd::Upstream>& upstreams, Settings settings,
               Hooks hooks);

  bool serves(const std::vector<rspamd::Upstream>& upstreams) const;
  // Settings of scans and pings that begin later.
  void use(Settings settings) { settings_ = std::move(settings); }

  // The coroutines below need this until they end. Destroying the io_context destroys
  // them.

  // None when it was cancelled. `watch` may be empty.
  asio::awaitable<std::optional<Scanned>> scan(rspamd::StartScan job, Watch watch = {});

  // Why no mail should be sent to a server, an index of `upstreams`; empty when nothing speaks against it. For --check.
  asio::awaitable<std::string> fault_of(std::size_t server);

  // Asks a server that Upstreams::take_probe() named, and tells Upstreams what came of it.
  asio::awaitable<void> probe(std::size_t server);

  std::size_t size() const { return servers_.size(); }
  rspamd::Upstreams& upstreams() { return upstreams_; }

  // Looks up the servers' names again, which can get other addresses at any time. True if a server is given by name.
  bool look_up_names();

 private:
  struct Server {
    rspamd::Upstream upstream;
    std::string name;  // for people and recordings
    std::string host;  // for the Host header
    net::Target target;
    std::shared_ptr<const rspamd::httpcrypt::Secret> secret = nullptr;  // when it has a key, from its first use on
  };
  struct Answer {
    std::string fault;  // empty: none
    bool ours = false;  // the server was not asked, for the lack of something of ours
  };

  rspamd::Wire wire_to(Server& server);
  template <class Machine, class WatchBytes>
  asio::awaitable<std::optional<net::ConnectError>> talk(Server& server, Machine& machine, TimePoint connect_by,
                                                         WatchBytes watch);
  asio::awaitable<Answer> ask(Server& server, rspamd::Ping::Question question);
  double random() const { return hooks_.random ? hooks_.random() : 0.5; }
  void tell(const Server& server, const std::optional<rspamd::ScanAttempts::Change>& change) const;

  Settings settings_;
  const Hooks hooks_;
  std::vector<Server> servers_;
  rspamd::Upstreams upstreams_;
  std::optional<rspamd::httpcrypt::Key> our_key_;  // secret; from the first use of a server with a key on
};

}  // namespace mailbridge::wires
