// The filter's scans: many at once, over one RspamdClient, whose servers are probed while they are down. Scans can be cancelled,
// and the servers replaced while scans are under way.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>

#include "base/conversation.hpp"
#include "rspamd/scan.hpp"
#include "rspamd/upstreams.hpp"
#include "rspamd/verdict.hpp"
#include "wires/rspamd.hpp"

namespace mailbridge::wires {

class Scanner {
 public:
  struct Hooks {
    std::function<TimePoint()> now;  // the time that the hooks below are given: in whole milliseconds, as recordings have it
    // What a recording holds of a scan, see RspamdClient::Watch.
    std::function<void(rspamd::ScanId, char direction, std::string_view bytes, TimePoint)> watch;
    // `server` is the last one that there was a connection to; empty when there is but one server, or no connection to any. The
    // time is that of the last watch(). A scan that was cancelled may end without this call.
    std::function<void(rspamd::ScanId, const rspamd::ScanResult&, std::string_view server, TimePoint)> finished;
  };

  // Must live as long as `io` runs.
  Scanner(asio::io_context& io, const std::vector<rspamd::Upstream>& upstreams, RspamdClient::Settings settings, Hooks hooks);

  // For scans from now on; those under way go on with their servers. What is known of the servers stays if they are the same.
  void use(const std::vector<rspamd::Upstream>& upstreams, RspamdClient::Settings settings);

  void start(rspamd::StartScan job);
  void cancel(rspamd::ScanId id);

 private:
  struct Upstreams;  // one configuration: its client and its timers
  using UpstreamsPtr = std::shared_ptr<Upstreams>;

  asio::awaitable<void> scan(rspamd::StartScan job);
  void await_probe(const UpstreamsPtr& upstreams);
  void await_names(const UpstreamsPtr& upstreams);

  asio::io_context& io_;
  UpstreamsPtr upstreams_;
  const Hooks hooks_;
  std::minstd_rand random_{std::random_device{}()};
  std::unordered_map<rspamd::ScanId, std::shared_ptr<asio::cancellation_signal>> scans_;
};

}  // namespace mailbridge::wires
