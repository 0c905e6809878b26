#include "agent/scan.hpp"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>
#include <variant>

#include "base/text.hpp"
#include "net/connect.hpp"
#include "net/converse.hpp"
#include "net/stream.hpp"
#include "platform/random.hpp"
#include "rspamd/exchange.hpp"
#include "rspamd/outgoing.hpp"
#include "rspamd/ping.hpp"

namespace mailbridge::agent {
namespace {

constexpr Duration connect_timeout = std::chrono::seconds(3);  // for each server

rspamd::Wire wire_to(const rspamd::Upstream& server) {
  rspamd::Wire wire{rspamd::host_of(server.endpoint), std::nullopt, false};
  if (server.key) {
    const auto ours = platform::random_bytes<rspamd::httpcrypt::Key>();
    wire.sealing =
        rspamd::Sealing{std::make_shared<const rspamd::httpcrypt::Secret>(rspamd::httpcrypt::agree(*server.key, ours).value()),
                        platform::random_bytes<rspamd::httpcrypt::Nonce>()};
  }
  return wire;
}

const TcpEndpoint* with_tls(const rspamd::Upstream& server) {
  const auto* tcp = std::get_if<TcpEndpoint>(&server.endpoint);
  return tcp && tcp->tls ? tcp : nullptr;
}

template <class Machine>
asio::awaitable<std::optional<net::ConnectError>> ask(const ScanSettings& settings, const rspamd::Upstream& server,
                                                      const net::TlsContext* tls, Machine& machine, TimePoint until) {
  const TimePoint connect_by = std::min(until, Clock::now() + connect_timeout);
  auto socket = co_await net::connect(server.endpoint, connect_by);
  if (!socket) co_return std::move(socket.error());
  net::Stream stream(std::move(*socket));
  if (const TcpEndpoint* tcp = with_tls(server)) {
    auto error = co_await stream.start_tls(*tls, settings.tls_name.empty() ? tcp->host : settings.tls_name, connect_by);
    if (error) co_return error;
  }
  co_await net::converse(stream, machine);
  co_return std::nullopt;
}

// Null when no server wants it.
Result<std::shared_ptr<const net::TlsContext>> tls_for(const ScanSettings& settings) {
  const std::vector<rspamd::Upstream>& servers = settings.upstreams;
  if (std::none_of(servers.begin(), servers.end(), with_tls)) return std::shared_ptr<const net::TlsContext>();
  return net::TlsContext::load(settings.tls_files);
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
  std::string server = to_string(settings.upstreams.front().endpoint);
  if (message->size() > settings.max_size) {
    const rspamd::ScanFailure failure{rspamd::ScanFailure::Kind::too_large, "larger than --max-size"};
    co_return judged(settings, *message, tl::unexpected(failure), names, server, {});
  }
  const auto tls = tls_for(settings);
  if (!tls) co_return Scanned{.server = server, .failure = tls.error().what};
  const std::string headers = rspamd::scan_request(envelope, settings.request).headers;
  rspamd::Upstreams upstreams(settings.upstreams);
  rspamd::Attempts attempts;
  const TimePoint begun = Clock::now();
  until = std::min(until, begun + settings.timeout);
  while (const auto chosen = attempts.next(upstreams)) {
    const rspamd::Upstream& upstream = settings.upstreams[*chosen];
    server = to_string(upstream.endpoint);
    rspamd::Exchange exchange(rspamd::Outgoing(rspamd::scan_command, headers, message, wire_to(upstream)), until);
    const auto error = co_await ask(settings, upstream, tls->get(), exchange, until);
    if (!error) attempts.finished(*chosen, std::move(exchange).result());
    else if (error->ours) attempts.not_tried(*chosen, error->what);
    else attempts.not_connected(*chosen, error->what);
  }
  co_return judged(settings, *message, attempts.result(), names, std::move(server), Clock::now() - begun);
}

asio::awaitable<std::string> ping(const ScanSettings& settings, const rspamd::Upstream& server) {
  const auto tls = tls_for(settings);
  if (!tls) co_return tls.error().what;
  for (const auto question : {rspamd::Ping::Question::is_up, rspamd::Ping::Question::is_no_controller}) {
    const TimePoint until = Clock::now() + connect_timeout;
    rspamd::Ping machine(wire_to(server), until, question);
    const auto error = co_await ask(settings, server, tls->get(), machine, until);
    if (error) co_return error->what;
    if (!machine.result()) co_return machine.result().error().what;
  }
  co_return "";
}

}  // namespace mailbridge::agent
