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

// The client as a Conversation that also calls the hooks.
class Hooked {
 public:
  Hooked(lmtp::Client& client, const LmtpClient::Hooks& hooks) : client_(client), hooks_(hooks) {}

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
  const LmtpClient::Hooks& hooks_;
};

std::string owner_and_mode(const struct stat& status) {
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(status.st_mode & 07777U));
  return "owner " + std::to_string(status.st_uid) + ":" + std::to_string(status.st_gid) + " mode " + mode;
}

// smtpd runs an agent with the uid of the recipient or of the action, and with that user's primary group alone. So the socket's
// permissions are the usual trouble, and the sentence names both sides.
std::string permission_denied(const std::string& path) {
  std::string what = "no permission for uid=" + std::to_string(geteuid()) + " gid=" + std::to_string(getegid()) + ": ";
  struct stat status {};
  if (stat(path.c_str(), &status) == 0) return what + "socket " + owner_and_mode(status);
  for (std::filesystem::path up = std::filesystem::path(path).parent_path(); up.has_relative_path(); up = up.parent_path()) {
    if (stat(up.c_str(), &status) == 0) return what + "directory " + up.string() + " " + owner_and_mode(status);
  }
  return what + std::strerror(EACCES);
}

// What LHLO says. Dovecot accepts any name there.
std::string host_name() {
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) != 0) return "localhost";
  const std::string_view host = name;
  const bool sane = !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
  });
  return sane ? name : "localhost";
}

// True if the server has sent bytes, or has closed the connection, since the last transaction.
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

LmtpClient::LmtpClient(const asio::any_io_executor& executor, const std::vector<Endpoint>& endpoints, Settings settings)
    : settings_(std::move(settings)), states_(endpoints.size()) {
  servers_.reserve(endpoints.size());
  for (const Endpoint& endpoint : endpoints) {
    const auto* tcp = std::get_if<TcpEndpoint>(&endpoint);
    servers_.push_back({endpoint, to_string(endpoint), settings_.tls_name.empty() && tcp ? tcp->host : settings_.tls_name,
                        has_tls(endpoint), net::Target(executor, endpoint, settings_.source)});
  }
}

bool LmtpClient::look_up_names() {
  for (Server& server : servers_) server.target.look_up();
  return std::any_of(servers_.begin(), servers_.end(), [](const Server& server) { return server.target.is_name(); });
}

asio::awaitable<tl::expected<std::unique_ptr<LmtpClient::Connection>, net::ConnectError>> LmtpClient::open(
    lmtp::Attempts::Connect to) {
  Server& server = servers_[to.server];
  auto socket = co_await net::connect(server.target, to.until);
  if (!socket) co_return tl::unexpected(std::move(socket.error()));
  auto connection = std::make_unique<Connection>(Connection{to.server, net::Stream(std::move(*socket)), std::nullopt});
  if (server.tls) {
    auto error = co_await connection->stream.start_tls(*settings_.tls, server.tls_name, to.until);
    if (error) co_return tl::unexpected(std::move(*error));
  }
  co_return connection;
}

asio::awaitable<void> LmtpClient::converse(Connection& connection, lmtp::Client& client, const lmtp::Attempts& attempts,
                                           const Hooks& hooks) {
  Hooked machine(client, hooks);
  co_await net::converse(connection.stream, machine);
  if (!client.wants_tls()) co_return;
  const std::string& name = servers_[connection.server].tls_name;
  const auto error = co_await connection.stream.start_tls(*settings_.tls, name, attempts.handshake_by(Clock::now()));
  if (error) machine.end({Ending::Kind::failed, error->what});
  else client.tls_started();
  co_await net::converse(connection.stream, machine);
}

void LmtpClient::tell(const std::optional<lmtp::Attempts::Change>& change, const Hooks& hooks) const {
  if (change && hooks.changed) hooks.changed(servers_[change->server].name, change->why);
}

asio::awaitable<LmtpClient::Result> LmtpClient::transact(lmtp::Transaction transaction, lmtp::Patience patience,
                                                         const Hooks& hooks, std::unique_ptr<Connection> kept) {
  if (transaction.helo.empty()) transaction.helo = host_name();
  lmtp::Attempts attempts(states_, transaction.recipients.size(), patience, settings_.connect_timeout,
                          kept ? std::optional(kept->server) : std::nullopt);
  std::unique_ptr<Connection> reusable;
  for (;;) {
    const lmtp::Attempts::Next next = attempts.next(Clock::now());
    if (std::holds_alternative<Done>(next)) break;
    std::unique_ptr<Connection> connection;
    if (const auto* connect = std::get_if<lmtp::Attempts::Connect>(&next)) {
      auto opened = co_await open(*connect);
      if (!opened) {
        const net::ConnectError& error = opened.error();
        tell(attempts.not_connected(connect_failure(servers_[connect->server].endpoint, error), error.ours, Clock::now()), hooks);
        continue;
      }
      attempts.connected(Clock::now());
      connection = std::move(*opened);
    } else {
      connection = std::move(kept);
      if (has_spoken(connection->stream)) {
        attempts.kept_is_gone();
        continue;
      }
    }
    lmtp::Transaction here = transaction;
    here.starttls = settings_.starttls && !servers_[connection->server].tls;
    lmtp::Client client(std::move(here), attempts.patience(), std::exchange(connection->lhlo, std::nullopt));
    co_await converse(*connection, client, attempts, hooks);
    if ((connection->lhlo = client.reusable())) reusable = std::move(connection);
    tell(attempts.ended(lmtp::Attempts::ended_with(client), Clock::now()), hooks);
  }
  const lmtp::Attempts::Result& result = attempts.result();
  co_return Result{result.outcomes, servers_[result.server].name, result.spent, std::move(reusable), result.fresh};
}

void LmtpClient::quit(Connection& connection) {
  constexpr std::string_view command = "QUIT\r\n";
  asio::error_code ignored;
  connection.stream.write_some(asio::buffer(command), ignored);
}

}  // namespace mailbridge::wires
