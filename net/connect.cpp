#include "net/connect.hpp"

#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <asio/experimental/as_tuple.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

namespace mailbridge::net {
namespace {

using namespace asio::experimental::awaitable_operators;
using Address = asio::generic::stream_protocol::endpoint;

constexpr auto token = asio::experimental::as_tuple(asio::use_awaitable);

// A unix socket connects at once or not at all. While the listener's backlog is full connect(2) says EAGAIN, which Asio turns
// into ENOBUFS, and no readiness tells when that ends: it is tried again after a little while.
asio::awaitable<asio::error_code> connect_local(Socket& socket, const Address& address, asio::steady_timer& timer,
                                                TimePoint until) {
  constexpr auto pause = std::chrono::milliseconds(10);
  asio::error_code error;
  socket.open(address.protocol(), error);
  if (!error) socket.native_non_blocking(true, error);
  if (error) co_return error;
  for (;;) {
    socket.connect(address, error);
    if (error != asio::error::no_buffer_space) co_return error;
    if (Clock::now() + pause >= until) co_return asio::error::timed_out;
    timer.expires_after(pause);
    co_await timer.async_wait(token);
  }
}

ConnectError out_of_time() { return {true, 0, "no connection in time"}; }

asio::awaitable<tl::expected<std::vector<Address>, ConnectError>> resolve(const Endpoint& endpoint, TimePoint until) {
  std::vector<Address> addresses;
  if (const auto* local = std::get_if<UnixEndpoint>(&endpoint)) {
    addresses.emplace_back(asio::local::stream_protocol::endpoint(local->path));
    co_return addresses;
  }
  const auto& at = std::get<TcpEndpoint>(endpoint);
  asio::error_code no_number;
  if (const auto number = asio::ip::make_address(at.host, no_number); !no_number) {
    addresses.emplace_back(asio::ip::tcp::endpoint(number, at.port));
    co_return addresses;
  }
  // The look-up runs in Asio's resolver thread and cannot be called back from there, so it is left behind when time is up.
  struct Lookup {
    explicit Lookup(const asio::any_io_executor& executor) : resolver(executor), finished(executor) {}
    asio::ip::tcp::resolver resolver;
    asio::steady_timer finished;
    std::optional<std::pair<asio::error_code, asio::ip::tcp::resolver::results_type>> answer;
  };
  const auto lookup = std::make_shared<Lookup>(co_await asio::this_coro::executor);
  lookup->finished.expires_at(until);
  lookup->resolver.async_resolve(at.host, std::to_string(at.port), [lookup](const asio::error_code& error, auto found) {
    lookup->answer.emplace(error, std::move(found));
    lookup->finished.cancel();
  });
  co_await lookup->finished.async_wait(token);
  if (!lookup->answer) co_return tl::unexpected(out_of_time());
  const auto& [error, found] = *lookup->answer;
  if (error) co_return tl::unexpected(ConnectError{false, 0, error.message()});
  for (const auto& entry : found) addresses.emplace_back(entry.endpoint());
  co_return addresses;
}

}  // namespace

asio::awaitable<tl::expected<Socket, ConnectError>> connect(Endpoint endpoint, TimePoint until) {
  const auto executor = co_await asio::this_coro::executor;
  auto addresses = co_await resolve(endpoint, until);
  if (!addresses) co_return tl::unexpected(std::move(addresses.error()));
  asio::steady_timer timer(executor, until);
  ConnectError last{false, 0, "the name has no address"};
  for (const Address& address : *addresses) {
    Socket socket(executor);
    if (std::holds_alternative<UnixEndpoint>(endpoint)) {
      const asio::error_code error = co_await connect_local(socket, address, timer, until);
      if (error == asio::error::timed_out) co_return tl::unexpected(out_of_time());
      if (error) co_return tl::unexpected(ConnectError{false, error.value(), error.message()});
      co_return socket;
    }
    auto outcome = co_await (socket.async_connect(address, token) || timer.async_wait(token));
    if (outcome.index() == 1) co_return tl::unexpected(out_of_time());
    const auto [error] = std::get<0>(outcome);
    if (!error) {
      asio::error_code ignored;
      socket.set_option(asio::ip::tcp::no_delay(true), ignored);
      co_return socket;
    }
    last = ConnectError{false, error.value(), error.message()};
  }
  co_return tl::unexpected(std::move(last));
}

}  // namespace mailbridge::net
