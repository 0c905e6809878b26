#include "agent/scan.hpp"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#include <asio/this_coro.hpp>

#include "base/text.hpp"
#include "wires/rspamd.hpp"

namespace mailbridge::agent {
namespace {

bool wants_tls(const rspamd::Upstream& server) { return has_tls(server.endpoint); }

// OpenSSL is loaded only when a server wants TLS: its start takes longer than that of all else.
Result<wires::RspamdClient::Settings> client_settings(const ScanSettings& settings) {
  wires::RspamdClient::Settings client{.connect_timeout = std::chrono::seconds(3), .ping_timeout = std::chrono::seconds(3)};
  client.late_is_unreachable = true;
  client.tls_name = settings.tls_name;
  if (std::none_of(settings.upstreams.begin(), settings.upstreams.end(), wants_tls)) return client;
  auto context = net::TlsContext::load(settings.tls_files);
  if (!context) return tl::unexpected(std::move(context.error()));
  client.tls = std::move(*context);
  return client;
}

std::string two_digits(double score) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.2f", score);
  return digits;
}

Scanned judged(const ScanSettings& settings, const mail::Message& message, const rspamd::ScanResult& result,
               const policy::OwnNames& names, std::string server, Duration took) {
  Scanned scanned{std::move(server)};
  append_field(scanned.log, "rspamd", scanned.server);
  if (result) {
    append_field(scanned.log, "action", result->action);
    append_field(scanned.log, "score", two_digits(result->score));
  } else {
    append_field(scanned.log, "error", rspamd::to_string(result.error().kind));
    append_field(scanned.log, "why", result.error().what);
  }
  policy::Decision decision = policy::decide(message.head(), result, settings.policy, settings.enforcement, names, took);
  scanned.head = std::move(decision.header_bytes);
  scanned.from = decision.body_from;
  if (decision.refusal.empty()) return scanned;
  if (result) scanned.refusal = std::move(decision.refusal);
  else scanned.failure = "the mail could not be scanned: " + printable(result.error().what, 120);
  return scanned;
}

}  // namespace

asio::awaitable<Scanned> scan(const ScanSettings& settings, std::shared_ptr<const mail::Message> message, mail::Envelope envelope,
                              const std::string& host_name, TimePoint until) {
  const policy::OwnNames names{host_name, envelope.mta_name};
  const std::string server = to_string(settings.upstreams.front().endpoint);
  if (message->size() > settings.max_size) {
    const rspamd::ScanFailure failure{rspamd::ScanFailure::Kind::too_large, "larger than --max-size"};
    co_return judged(settings, *message, tl::unexpected(failure), names, server, {});
  }
  auto client_settings = agent::client_settings(settings);
  if (!client_settings) co_return Scanned{.server = server, .failure = client_settings.error().what};
  const auto executor = co_await asio::this_coro::executor;
  wires::RspamdClient client(executor, settings.upstreams, std::move(*client_settings), {});
  const TimePoint begun = Clock::now();
  rspamd::StartScan job{.id = 1,
                        .headers = rspamd::scan_request(envelope, settings.request).headers,
                        .message = message,
                        .until = std::min(until, begun + settings.timeout)};
  const auto scanned = co_await client.scan(std::move(job));
  // There is always a first attempt, and nobody cancels a scan.
  co_return judged(settings, *message, scanned->result, names, scanned->tried, Clock::now() - begun);
}

asio::awaitable<std::string> ping(const ScanSettings& settings, const rspamd::Upstream& server) {
  auto client_settings = agent::client_settings(settings);
  if (!client_settings) co_return client_settings.error().what;
  const auto executor = co_await asio::this_coro::executor;
  wires::RspamdClient client(executor, {server}, std::move(*client_settings), {});
  co_return co_await client.fault_of(0);
}

}  // namespace mailbridge::agent
