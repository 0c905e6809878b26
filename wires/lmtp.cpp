#include "wires/lmtp.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <utility>
#include <variant>

#include "net/converse.hpp"

namespace mailbridge::wires {
namespace {

// As long as it takes Dovecot to restart; connecting in vain meanwhile is cheap, waiting for a banner is not.
constexpr Duration rest = std::chrono::seconds(10);

// The client, its dot guarded and watched.
class Watched {
 public:
  Watched(lmtp::Client& client, const Servers::Hooks& hooks) : client_(client), hooks_(hooks) {}

  Step next(TimePoint now) {
    Step step = client_.next(now);
    if (!client_.before_dot()) return step;
    client_.permit_dot(hooks_.refusal ? hooks_.refusal() : std::string());
    return client_.next(now);
  }
  void sent(std::size_t n) { client_.sent(n); }
  void receive(std::string_view bytes) {
    client_.receive(bytes);
    if (hooks_.heard) hooks_.heard(client_);
  }
  void end(const Ending& ending) {
    client_.end(ending);
    if (hooks_.heard) hooks_.heard(client_);
  }

 private:
  lmtp::Client& client_;
  const Servers::Hooks& hooks_;
};

std::string owner_and_mode(const struct stat& status) {
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(status.st_mode & 07777U));
  return "owner " + std::to_string(status.st_uid) + ":" + std::to_string(status.st_gid) + " mode " + mode;
}

// smtpd runs agents with the recipient's or the action's uid and that user's primary group only, so who may use the socket is the
// usual trouble: name both sides.
std::string permission_denied(const std::string& path) {
  std::string what = "no permission for uid=" + std::to_string(geteuid()) + " gid=" + std::to_string(getegid()) + ": ";
  struct stat status {};
  if (stat(path.c_str(), &status) == 0) return what + "socket " + owner_and_mode(status);
  for (std::filesystem::path up = std::filesystem::path(path).parent_path(); up.has_relative_path(); up = up.parent_path()) {
    if (stat(up.c_str(), &status) == 0) return what + "directory " + up.string() + " " + owner_and_mode(status);
  }
  return what + std::strerror(EACCES);
}

// For LHLO, which Dovecot takes any name in.
std::string host_name() {
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) != 0) return "localhost";
  const std::string_view host = name;
  const bool sane = !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
  });
  return sane ? name : "localhost";
}

bool has_tls(const Endpoint& endpoint) {
  const auto* tcp = std::get_if<TcpEndpoint>(&endpoint);
  return tcp && tcp->tls;
}

// What has come since the last reply, mostly a farewell, is no answer to what we are going to say, and would be taken for one.
bool has_spoken(net::Stream& stream) {
  char byte;
  asio::error_code error;
  stream.read_some(asio::buffer(&byte, 1), error);
  return error != asio::error::would_block && error != asio::error::try_again;
}

}  // namespace

std::string connect_failure(const Endpoint& endpoint, const net::ConnectError& error) {
  const auto* local = std::get_if<UnixEndpoint>(&endpoint);
  if (local && error.number == EACCES) return permission_denied(local->path);
  if (local && error.number == ENOENT) return "no such socket: is Dovecot running, and does it listen for LMTP there?";
  if (error.number == ECONNREFUSED) return "nobody listens there: is Dovecot running?";
  if (error.ours) return "cannot connect, by this host's own fault: " + error.what;
  return "cannot connect: " + error.what;
}

Servers::Servers(const asio::any_io_executor& executor, const std::vector<Endpoint>& endpoints, Ways ways)
    : ways_(std::move(ways)) {
  servers_.reserve(endpoints.size());
  for (const Endpoint& endpoint : endpoints) {
    servers_.push_back({endpoint, to_string(endpoint), net::Target(executor, endpoint, ways_.source)});
  }
}

bool Servers::look_up_names() {
  for (Server& server : servers_) server.target.look_up();
  return std::any_of(servers_.begin(), servers_.end(), [](const Server& server) { return server.target.is_name(); });
}

std::vector<Servers::Server*> Servers::in_order(TimePoint now) {
  std::vector<Server*> order;
  for (Server& server : servers_) order.push_back(&server);
  std::stable_partition(order.begin(), order.end(), [&](const Server* server) { return server->rests_until <= now; });
  return order;
}

void Servers::heard_of(Server& server, std::string_view trouble, const Hooks& hooks) {
  const bool up = trouble.empty();
  if (!up) server.rests_until = Clock::now() + rest;
  if (std::exchange(server.up, up) != up && hooks.changed) hooks.changed(server.name, trouble);
}

const std::string& Servers::tls_name(const Server& server) const {
  const auto* tcp = std::get_if<TcpEndpoint>(&server.endpoint);
  return ways_.tls_name.empty() && tcp ? tcp->host : ways_.tls_name;
}

asio::awaitable<tl::expected<net::Stream, net::ConnectError>> Servers::open(Server& server, TimePoint until) const {
  auto socket = co_await net::connect(server.target, until);
  if (!socket) co_return tl::unexpected(std::move(socket.error()));
  net::Stream stream(std::move(*socket));
  if (has_tls(server.endpoint)) {
    auto error = co_await stream.start_tls(*ways_.tls, tls_name(server), until);
    if (error) co_return tl::unexpected(std::move(*error));
  }
  co_return stream;
}

asio::awaitable<void> Servers::converse(Connection& connection, lmtp::Client& client, TimePoint until, const Hooks& hooks) {
  Watched machine(client, hooks);
  co_await net::converse(connection.stream, machine);
  if (!client.wants_tls()) co_return;
  const TimePoint tls_by = std::min(until, Clock::now() + ways_.connect_timeout);
  const auto error = co_await connection.stream.start_tls(*ways_.tls, tls_name(*connection.server), tls_by);
  if (error) machine.end({Ending::Kind::failed, error->what});
  else client.tls_started();
  co_await net::converse(connection.stream, machine);
}

// Whether that was all there is to try: `talk` has what came of it.
asio::awaitable<bool> Servers::serve(std::unique_ptr<Connection> connection, const lmtp::Transaction& wanted,
                                     lmtp::Patience patience, const Hooks& hooks, Talk& talk) {
  Server& server = *connection->server;
  lmtp::Transaction transaction = wanted;
  transaction.starttls = ways_.starttls && !has_tls(server.endpoint);
  lmtp::Client client(std::move(transaction), patience, std::exchange(connection->greeted, std::nullopt));
  co_await converse(*connection, client, patience.dot_by, hooks);
  for (std::size_t stage = 0; stage < lmtp::stages; ++stage) talk.spent[stage] += client.spent()[stage];
  if (client.stale()) co_return false;
  talk.server = server.name;
  talk.outcomes = client.outcomes();
  const lmtp::Outcome& first = talk.outcomes.front();
  heard_of(server, first.stage > lmtp::Stage::lhlo ? "" : first.reply ? first.reply->last() : first.failure, hooks);
  if ((connection->greeted = client.reusable())) talk.kept = std::move(connection);
  co_return !std::all_of(talk.outcomes.begin(), talk.outcomes.end(), std::mem_fn(&lmtp::Outcome::may_try_elsewhere));
}

asio::awaitable<Servers::Talk> Servers::talk(lmtp::Transaction transaction, lmtp::Patience patience, const Hooks& hooks,
                                             std::unique_ptr<Connection> kept) {
  Talk talk;
  if (kept && has_spoken(kept->stream)) kept.reset();
  if (transaction.helo.empty()) transaction.helo = host_name();
  if (kept && co_await serve(std::move(kept), transaction, patience, hooks, talk)) co_return talk;
  talk.fresh = true;
  std::optional<Talk> lacking;  // had one not been tried for the lack of something of ours, the others cannot stand for all
  const std::vector<Server*> order = in_order(Clock::now());
  for (std::size_t i = 0; i < order.size(); ++i) {
    Server& server = *order[i];
    const TimePoint begun = Clock::now();
    if (begun >= patience.dot_by && !talk.outcomes.empty()) break;  // who took the time is the reason
    // Each has its share of the time to show that it is there.
    const Duration share = std::max(patience.dot_by - begun, Duration::zero()) / static_cast<Duration::rep>(order.size() - i);
    auto stream = co_await open(server, begun + std::min(share, ways_.connect_timeout));
    talk.spent[static_cast<std::size_t>(lmtp::Stage::connect)] += Clock::now() - begun;
    if (!stream) {
      lmtp::Outcome failed{lmtp::Stage::connect, std::nullopt, connect_failure(server.endpoint, stream.error())};
      failed.ours = stream.error().ours;
      talk.server = server.name;
      talk.outcomes.assign(transaction.recipients.size(), failed);
      if (failed.ours) lacking = {.outcomes = talk.outcomes, .server = talk.server};
      else heard_of(server, failed.failure, hooks);
      continue;
    }
    lmtp::Patience here = patience;
    here.banner = std::min(patience.banner, share);
    here.lhlo = std::min(patience.lhlo, share);
    auto connection = std::make_unique<Connection>(Connection{&server, std::move(*stream), std::nullopt});
    if (co_await serve(std::move(connection), transaction, here, hooks, talk)) co_return talk;
  }
  if (lacking) talk.outcomes = std::move(lacking->outcomes), talk.server = std::move(lacking->server);
  co_return talk;
}

void Servers::leave(Connection& connection) {
  constexpr std::string_view quit = "QUIT\r\n";
  asio::error_code ignored;
  connection.stream.write_some(asio::buffer(quit), ignored);
}

}  // namespace mailbridge::wires
