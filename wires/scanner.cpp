#include "wires/scanner.hpp"

#include <exception>
#include <string>
#include <utility>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/co_spawn.hpp>
#include <asio/steady_timer.hpp>

#include "wires/log_change.hpp"

namespace mailbridge::wires {
namespace {

void changed(const std::string& server, const rspamd::ScanAttempts::Change& change) {
  log_change("rspamd", server, change.up, change.why);
}

}  // namespace

// The servers of one configuration. Scans, probes and timers that began with it share it.
struct Scanner::Upstreams {
  Upstreams(asio::io_context& io, const std::vector<rspamd::Upstream>& upstreams, RspamdClient::Settings settings,
            RspamdClient::Hooks hooks)
      : client(io.get_executor(), upstreams, std::move(settings), std::move(hooks)),
        probe_due(io, TimePoint::max()),
        names_due(io) {}

  RspamdClient client;
  asio::steady_timer probe_due;
  asio::steady_timer names_due;
};

Scanner::Scanner(asio::io_context& io, const std::vector<rspamd::Upstream>& upstreams, RspamdClient::Settings settings,
                 Hooks hooks)
    : io_(io), hooks_(std::move(hooks)) {
  use(upstreams, std::move(settings));
}

void Scanner::use(const std::vector<rspamd::Upstream>& upstreams, RspamdClient::Settings settings) {
  if (upstreams_ && upstreams_->client.serves(upstreams)) return upstreams_->client.use(std::move(settings));
  const auto random = [this] { return std::uniform_real_distribution<double>(0, 1)(random_); };
  // A scan of an earlier configuration calls this as well, which does no harm.
  const auto attempted = [this] { await_probe(upstreams_); };
  upstreams_ = std::make_shared<Upstreams>(io_, upstreams, std::move(settings), RspamdClient::Hooks{changed, attempted, random});
  await_names(upstreams_);
}

void Scanner::start(rspamd::StartScan job) {
  const rspamd::ScanId id = job.id;
  const auto signal = std::make_shared<asio::cancellation_signal>();
  scans_.emplace(id, signal);
  asio::co_spawn(
      io_, scan(std::move(job)),
      asio::bind_cancellation_slot(signal->slot(), [this, id, signal](const std::exception_ptr& thrown) {
        scans_.erase(id);
        if (!thrown) return;
        // A cancelled scan can end with an exception, too. Nobody waits for its result.
        using rspamd::ScanFailure;
        hooks_.finished(id, tl::unexpected(ScanFailure{ScanFailure::Kind::overload, "out of resources"}), {}, hooks_.now());
      }));
}

void Scanner::cancel(rspamd::ScanId id) {
  if (const auto scan = scans_.find(id); scan != scans_.end()) scan->second->emit(asio::cancellation_type::terminal);
}

asio::awaitable<void> Scanner::scan(rspamd::StartScan job) {
  const UpstreamsPtr upstreams = upstreams_;
  const rspamd::ScanId id = job.id;
  TimePoint at = hooks_.now();
  RspamdClient::Watch watch = [this, id, &at](char direction, std::string_view bytes) {
    at = hooks_.now();
    hooks_.watch(id, direction, bytes, at);
  };
  const auto scanned = co_await upstreams->client.scan(std::move(job), std::move(watch));
  if (!scanned) co_return;
  hooks_.finished(id, scanned->result, upstreams->client.size() > 1 ? scanned->connected : std::string(), at);
}

void Scanner::await_probe(const UpstreamsPtr& upstreams) {
  const auto due = upstreams->client.upstreams().next_probe();
  if (!due || upstreams->probe_due.expiry() == *due || upstreams != upstreams_) return;
  upstreams->probe_due.expires_at(*due);
  upstreams->probe_due.async_wait([this, upstreams](const asio::error_code& error) {
    if (error || upstreams != upstreams_) return;
    upstreams->probe_due.expires_at(TimePoint::max());
    while (const auto server = upstreams->client.upstreams().take_probe(Clock::now())) {
      const auto ended = [this, upstreams, server](const std::exception_ptr& thrown) {
        if (thrown) upstreams->client.upstreams().not_pinged(*server, Clock::now());
        await_probe(upstreams);
      };
      try {
        asio::co_spawn(io_, upstreams->client.probe(*server), ended);
      } catch (const std::exception&) {
        ended(std::current_exception());
      }
    }
    await_probe(upstreams);
  });
}

void Scanner::await_names(const UpstreamsPtr& upstreams) {
  if (!upstreams->client.look_up_names()) return;
  upstreams->names_due.expires_after(net::names_are_kept);
  upstreams->names_due.async_wait([this, upstreams](const asio::error_code& error) {
    if (!error && upstreams == upstreams_) await_names(upstreams);
  });
}

}  // namespace mailbridge::wires
