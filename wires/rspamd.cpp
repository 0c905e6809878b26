#include "wires/rspamd.hpp"

#include <algorithm>
#include <cerrno>
#include <exception>
#include <utility>
#include <variant>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/co_spawn.hpp>
#include <asio/post.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include "base/text.hpp"
#include "net/converse.hpp"
#include "net/log.hpp"
#include "platform/random.hpp"
#include "rspamd/ping.hpp"
#include "rspamd/scan_request.hpp"

namespace mailbridge::wires {
namespace {

// rspamd's workers answer /ping between two scans; busy ones need a while.
constexpr Duration ping_patience = std::chrono::seconds(5);
// A name can get another address at any time.
constexpr Duration names_are_kept = std::chrono::minutes(1);

void log_change(std::string_view server, bool up, std::string_view reason = {}) {
  std::string line;
  append_field(line, "rspamd", server);
  append_field(line, "state", up ? "up" : "down");
  if (!reason.empty()) append_field(line, "reason", reason);
  net::log(up ? Level::info : Level::warn, line);
}

}  // namespace

Scanner::Pool::Pool(asio::io_context& io, const std::vector<rspamd::Upstream>& from)
    : upstreams(from), probe_due(io, TimePoint::max()), names_due(io) {
  servers.reserve(from.size());
  for (const rspamd::Upstream& upstream : from) {
    servers.push_back({upstream, to_string(upstream.endpoint), rspamd::host_of(upstream.endpoint),
                       net::Target(io.get_executor(), upstream.endpoint)});
  }
}

Scanner::Scanner(asio::io_context& io, const std::vector<rspamd::Upstream>& upstreams, Ways ways, Hooks hooks)
    : io_(io), hooks_(std::move(hooks)) {
  use(upstreams, std::move(ways));
}

void Scanner::use(const std::vector<rspamd::Upstream>& upstreams, Ways ways) {
  const auto same = [](const Server& server, const rspamd::Upstream& upstream) { return server.upstream == upstream; };
  if (pool_ && std::equal(pool_->servers.begin(), pool_->servers.end(), upstreams.begin(), upstreams.end(), same)) {
    pool_->ways = std::move(ways);
    return;
  }
  const auto fresh = std::make_shared<Pool>(io_, upstreams);
  fresh->ways = std::move(ways);
  for (Server& server : fresh->servers) {
    if (!server.upstream.key) continue;
    if (!our_key_) our_key_ = platform::random_bytes<rspamd::httpcrypt::Key>();
    server.secret =
        std::make_shared<const rspamd::httpcrypt::Secret>(rspamd::httpcrypt::agree(*server.upstream.key, *our_key_).value());
  }
  pool_ = fresh;  // whole or not at all: a server without its secret would be asked in plain words
  await_names(pool_);
}

void Scanner::start(session::StartScan command) {
  const session::ScanId id = command.id;
  const auto signal = std::make_shared<asio::cancellation_signal>();
  scans_.emplace(id, signal);
  asio::co_spawn(
      io_, scan(std::move(command)),
      asio::bind_cancellation_slot(signal->slot(), [this, id, signal](const std::exception_ptr& thrown) {
        scans_.erase(id);
        if (!thrown) return;
        // A cancelled scan can end with an exception, too, but then its result falls on no one.
        using rspamd::ScanFailure;
        hooks_.finished(id, tl::unexpected(ScanFailure{ScanFailure::Kind::overload, "out of resources"}), {}, hooks_.now());
      }));
}

void Scanner::cancel(session::ScanId id) {
  if (const auto scan = scans_.find(id); scan != scans_.end()) scan->second->emit(asio::cancellation_type::terminal);
}

rspamd::Wire Scanner::wire_to(const Server& server, const Ways& ways) {
  rspamd::Wire wire{server.host, std::nullopt, ways.compress};
  if (server.secret) wire.sealing = rspamd::Sealing{server.secret, platform::random_bytes<rspamd::httpcrypt::Nonce>()};
  return wire;
}

template <class Machine, class Watch>
asio::awaitable<std::optional<net::ConnectError>> Scanner::talk(Server& server, const Ways& ways, Machine& machine,
                                                                TimePoint connect_by, Watch watch) {
  auto socket = co_await net::connect(server.target, connect_by);
  if (!socket) co_return std::move(socket.error());
  const auto* tcp = std::get_if<TcpEndpoint>(&server.upstream.endpoint);
  if (tcp && tcp->tls) {
    const auto context = ways.tls;
    net::TlsStream stream(std::move(*socket), *context, ways.tls_name.empty() ? tcp->host : ways.tls_name);
    auto error = co_await stream.handshake(connect_by);
    if (error) co_return error;
    co_await net::converse(stream, machine, watch);
    stream.close();
    co_return std::nullopt;
  }
  co_await net::converse(*socket, machine, watch);
  socket->close();
  co_return std::nullopt;
}

asio::awaitable<void> Scanner::scan(session::StartScan command) {
  const PoolPtr pool = pool_;
  const bool several = pool->servers.size() > 1;
  rspamd::Attempts attempts;
  std::string_view reached;
  TimePoint at = hooks_.now();
  const auto watch = [&](char direction, std::string_view bytes) {
    at = hooks_.now();
    hooks_.watch(command.id, direction, bytes, at);
  };
  while (const auto chosen = attempts.next(pool->upstreams)) {
    Server& server = pool->servers[*chosen];
    if (several) watch('@', server.name);
    rspamd::Outgoing request(rspamd::scan_command, command.headers, command.message, wire_to(server, pool->ways));
    rspamd::Exchange exchange(std::move(request), command.until, rspamd::default_reply_cap, command.rewritten_bounds);
    while (!exchange.prepare()) co_await asio::post(io_, asio::use_awaitable);  // a large mail leaves the others their turn
    const TimePoint begun = Clock::now();
    const TimePoint connect_by = std::min(command.until, begun + pool->ways.connect_timeout);
    const auto error = co_await talk(server, pool->ways, exchange, connect_by, watch);
    if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
    if (error && !(error->timed_out && connect_by == command.until)) {
      watch('!', (error->ours ? "lacking " : "refused ") + error->what);
      if (error->ours) {
        attempts.not_tried(*chosen, error->what);
        continue;
      }
      attempts.not_connected(*chosen, error->what);
      if (pool->upstreams.not_connected(*chosen, Clock::now(), random())) log_change(server.name, false, error->what);
      await_probe(pool);
      continue;
    }
    if (error) {  // the scan's own deadline
      const Ending late{Ending::Kind::timed_out};
      watch('!', to_string(late));
      exchange.end(late);
    } else if (several) {
      reached = server.name;
    }
    report(*pool, *chosen, exchange.result(), begun);
    await_probe(pool);
    attempts.finished(*chosen, std::move(exchange).result());
  }
  hooks_.finished(command.id, attempts.result(), reached, at);
}

void Scanner::report(Pool& pool, std::size_t server, const rspamd::ScanResult& result, TimePoint begun) {
  using Kind = rspamd::ScanFailure::Kind;
  const std::string& name = pool.servers[server].name;
  if (result || result.error().kind == Kind::http) {
    if (pool.upstreams.answered(server, begun)) log_change(name, true);
  } else if (result.error().kind == Kind::timed_out) {
    if (pool.upstreams.timed_out(server, Clock::now(), random())) log_change(name, false, "several scans in a row timed out");
  } else if (result.error().kind == Kind::unreachable) {
    pool.upstreams.lost(server, Clock::now());
  }
}

void Scanner::await_probe(const PoolPtr& pool) {
  const auto due = pool->upstreams.next_probe();
  if (!due || pool->probe_due.expiry() == *due || pool != pool_) return;
  pool->probe_due.expires_at(*due);
  pool->probe_due.async_wait([this, pool](const asio::error_code& error) {
    if (error || pool != pool_) return;
    pool->probe_due.expires_at(TimePoint::max());
    while (const auto server = pool->upstreams.take_probe(Clock::now())) {
      const auto ended = [this, pool, server](const std::exception_ptr& thrown) {
        if (thrown) pool->upstreams.not_pinged(*server, Clock::now());
        await_probe(pool);
      };
      try {
        asio::co_spawn(io_, probe(pool, *server), ended);
      } catch (const std::exception&) {
        ended(std::current_exception());
      }
    }
    await_probe(pool);
  });
}

asio::awaitable<void> Scanner::probe(PoolPtr pool, std::size_t number) {
  Server& server = pool->servers[number];
  const TimePoint begun = Clock::now();
  rspamd::Ping ping(wire_to(server, pool->ways), begun + ping_patience);
  const auto watch = [](char, std::string_view) {};
  const TimePoint connect_by = begun + std::min(pool->ways.connect_timeout, ping_patience);
  const auto error = co_await talk(server, pool->ways, ping, connect_by, watch);
  if (error && error->ours) co_return pool->upstreams.not_pinged(number, Clock::now());
  const bool answers = !error && ping.result();
  const bool changed = pool->upstreams.pinged(number, answers, Clock::now(), random());
  if (changed) log_change(server.name, answers, answers ? "" : error ? error->what : ping.result().error().what);
}

asio::awaitable<std::string> Scanner::fault_of(std::size_t number) {
  const PoolPtr pool = pool_;
  Server& server = pool->servers.at(number);
  for (const auto question : {rspamd::Ping::Question::is_up, rspamd::Ping::Question::is_no_controller}) {
    const TimePoint begun = Clock::now();
    rspamd::Ping ping(wire_to(server, pool->ways), begun + ping_patience, question);
    const auto watch = [](char, std::string_view) {};
    const auto error =
        co_await talk(server, pool->ways, ping, begun + std::min(pool->ways.connect_timeout, ping_patience), watch);
    if (error) co_return error->what;
    if (!ping.result()) co_return ping.result().error().what;
  }
  co_return "";
}

void Scanner::await_names(const PoolPtr& pool) {
  if (std::none_of(pool->servers.begin(), pool->servers.end(), [](const Server& server) { return server.target.is_name(); }))
    return;
  for (Server& server : pool->servers) server.target.look_up();
  pool->names_due.expires_after(names_are_kept);
  pool->names_due.async_wait([this, pool](const asio::error_code& error) {
    if (!error && pool == pool_) await_names(pool);
  });
}

}  // namespace mailbridge::wires
