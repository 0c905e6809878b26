// A connection that begins in plain words and may go on in TLS. What net::converse asks of a socket is passed on to either.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/socket_base.hpp>

#include "net/connect.hpp"
#include "net/tls.hpp"

namespace mailbridge::net {

class Stream {
 public:
  explicit Stream(Socket socket) : stream_(std::move(socket)) {}

  // Everything from here on is in TLS; when that fails there is nothing more to say. Once only.
  asio::awaitable<std::optional<ConnectError>> start_tls(const TlsContext& context, const std::string& name, TimePoint until) {
    if (name.empty()) co_return ConnectError{false, 0, "TLS: there is no name to verify the server's certificate by"};
    Socket plain = std::move(std::get<Socket>(stream_));
    auto& stream = stream_.emplace<TlsStream>(std::move(plain), context, name);
    co_return co_await stream.handshake(until);
  }

  bool non_blocking() const {
    return std::visit([](const auto& stream) { return stream.non_blocking(); }, stream_);
  }
  void non_blocking(bool mode) {
    std::visit([mode](auto& stream) { stream.non_blocking(mode); }, stream_);
  }
  std::size_t read_some(asio::mutable_buffer buffer, asio::error_code& error) {
    return std::visit([&](auto& stream) { return stream.read_some(buffer, error); }, stream_);
  }
  std::size_t write_some(asio::const_buffer buffer, asio::error_code& error) {
    return std::visit([&](auto& stream) { return stream.write_some(buffer, error); }, stream_);
  }
  template <class Token>
  auto async_wait(asio::socket_base::wait_type direction, Token&& token) {
    return std::visit([&](auto& stream) { return stream.async_wait(direction, std::forward<Token>(token)); }, stream_);
  }

 private:
  std::variant<Socket, TlsStream> stream_;
};

}  // namespace mailbridge::net
