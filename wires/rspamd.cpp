#include "wires/rspamd.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include <asio/cancellation_type.hpp>
#include <asio/post.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include "net/converse.hpp"
#include "net/stream.hpp"
#include "platform/random.hpp"
#include "rspamd/exchange.hpp"
#include "rspamd/scan_request.hpp"

namespace mailbridge::wires {

RspamdClient::RspamdClient(const asio::any_io_executor& executor, const std::vector<rspamd::Upstream>& upstreams,
                           Settings settings, Hooks hooks)
    : settings_(std::move(settings)), hooks_(std::move(hooks)), upstreams_(upstreams) {
  servers_.reserve(upstreams.size());
  for (const rspamd::Upstream& upstream : upstreams) {
    servers_.push_back(
        {upstream, to_string(upstream.endpoint), rspamd::host_of(upstream.endpoint), net::Target(executor, upstream.endpoint)});
  }
}

bool RspamdClient::serves(const std::vector<rspamd::Upstream>& upstreams) const {
  return std::equal(servers_.begin(), servers_.end(), upstreams.begin(), upstreams.end(),
                    [](const Server& server, const rspamd::Upstream& upstream) { return server.upstream == upstream; });
}

bool RspamdClient::look_up_names() {
  for (Server& server : servers_) server.target.look_up();
  return std::any_of(servers_.begin(), servers_.end(), [](const Server& server) { return server.target.is_name(); });
}

rspamd::Wire RspamdClient::wire_to(Server& server) {
  namespace httpcrypt = rspamd::httpcrypt;
  rspamd::Wire wire{server.host, std::nullopt, settings_.compress};
  if (!server.upstream.key) return wire;
  if (!our_key_) our_key_ = platform::random_bytes<httpcrypt::Key>();
  if (!server.secret) {
    server.secret = std::make_shared<const httpcrypt::Secret>(httpcrypt::agree(*server.upstream.key, *our_key_).value());
  }
  wire.sealing = rspamd::Sealing{server.secret, platform::random_bytes<httpcrypt::Nonce>()};
  return wire;
}

// Connects, with TLS where the server wants it, and carries what `machine` says.
template <class Machine, class WatchBytes>
asio::awaitable<std::optional<net::ConnectError>> RspamdClient::talk(Server& server, Machine& machine, TimePoint connect_by,
                                                                     WatchBytes watch) {
  const std::shared_ptr<const net::TlsContext> tls = settings_.tls;
  auto socket = co_await net::connect(server.target, connect_by);
  if (!socket) co_return std::move(socket.error());
  net::Stream stream(std::move(*socket));
  const auto* tcp = std::get_if<TcpEndpoint>(&server.upstream.endpoint);
  if (tcp && tcp->tls) {
    auto error = co_await stream.start_tls(*tls, settings_.tls_name.empty() ? tcp->host : settings_.tls_name, connect_by);
    if (error) co_return error;
  }
  co_await net::converse(stream, machine, watch);
  co_return std::nullopt;
}

void RspamdClient::tell(const Server& server, const std::optional<rspamd::ScanAttempts::Change>& change) const {
  if (change && hooks_.changed) hooks_.changed(server.name, *change);
}

asio::awaitable<std::optional<RspamdClient::Scanned>> RspamdClient::scan(rspamd::StartScan job, Watch watch) {
  const auto watched = [&watch](char direction, std::string_view bytes) {
    if (watch) watch(direction, bytes);
  };
  const auto executor = co_await asio::this_coro::executor;
  rspamd::ScanAttempts attempts(upstreams_, {job.until, settings_.connect_timeout, settings_.late_is_unreachable});
  while (const auto chosen = attempts.next()) {
    Server& server = servers_[*chosen];
    if (servers_.size() > 1) watched('@', server.name);
    rspamd::Outgoing request(rspamd::scan_command, job.headers, job.message, wire_to(server));
    rspamd::Exchange exchange(std::move(request), job.until, rspamd::default_reply_cap, job.rewritten_bounds);
    while (!exchange.prepare()) co_await asio::post(executor, asio::use_awaitable);  // a large mail lets the others have a turn
    const TimePoint connect_by = attempts.begin(Clock::now());
    const auto error = co_await talk(server, exchange, connect_by, watched);
    if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return std::nullopt;
    if (error) {
      const rspamd::ScanAttempts::NoConnection why{error->timed_out, error->ours, error->what};
      watched('!', attempts.recorded(why));
      tell(server, attempts.not_connected(why, Clock::now(), random()));
    } else {
      tell(server, attempts.finished(std::move(exchange).result(), Clock::now(), random()));
    }
    if (hooks_.attempted) hooks_.attempted();
  }
  const auto name_of = [this](std::optional<std::size_t> server) { return server ? servers_[*server].name : std::string(); };
  co_return Scanned{attempts.result(), name_of(attempts.tried()), name_of(attempts.connected())};
}

asio::awaitable<RspamdClient::Answer> RspamdClient::ask(Server& server, rspamd::Ping::Question question) {
  const TimePoint begun = Clock::now();
  const auto unwatched = [](char, std::string_view) {};
  rspamd::Ping ping(wire_to(server), begun + settings_.ping_timeout, question);
  const TimePoint connect_by = begun + std::min(settings_.connect_timeout, settings_.ping_timeout);
  const auto error = co_await talk(server, ping, connect_by, unwatched);
  if (error) co_return Answer{error->what, error->ours};
  co_return Answer{ping.result() ? std::string() : ping.result().error().what};
}

asio::awaitable<std::string> RspamdClient::fault_of(std::size_t server) {
  std::string fault;
  for (const auto question : {rspamd::Ping::Question::is_up, rspamd::Ping::Question::is_no_controller}) {
    if (fault.empty()) fault = (co_await ask(servers_.at(server), question)).fault;
  }
  co_return fault;
}

asio::awaitable<void> RspamdClient::probe(std::size_t number) {
  Server& server = servers_[number];
  const Answer answer = co_await ask(server, rspamd::Ping::Question::is_up);
  if (answer.ours) co_return upstreams_.not_pinged(number, Clock::now());
  const bool answers = answer.fault.empty();
  if (upstreams_.pinged(number, answers, Clock::now(), random())) {
    tell(server, rspamd::ScanAttempts::Change{answers, answer.fault});
  }
}

}  // namespace mailbridge::wires
