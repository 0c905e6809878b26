// TLS over a connected socket (OpenSSL), with the little that net::converse asks of a socket: reads and writes that never wait,
// and waiting for the next one. Asio's own TLS stream cannot be driven so: what a full socket does not take of it is lost.
//
// The server's certificate is always verified. Nothing of OpenSSL is loaded or initialised before the first TlsContext.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <openssl/ssl.h>
#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/socket_base.hpp>

#include "base/conversation.hpp"
#include "base/result.hpp"
#include "net/connect.hpp"
#include "net/tls_settings.hpp"

namespace mailbridge::net {

class TlsContext {
 public:
  // The files are read now. The fault names the file.
  static Result<std::shared_ptr<const TlsContext>> load(const TlsSettings& settings);

  SSL_CTX* get() const { return context_.get(); }

 private:
  struct Free {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  std::unique_ptr<SSL_CTX, Free> context_{SSL_CTX_new(TLS_client_method())};
};

class TlsStream {
 public:
  // `name` is what the server's certificate must be for: a host name or an address.
  TlsStream(Socket socket, const TlsContext& context, const std::string& name);

  // To be finished before anything else; what went wrong is in words.
  asio::awaitable<std::optional<ConnectError>> handshake(TimePoint until);

  // As a socket that is set so; always on.
  bool non_blocking() const { return true; }
  void non_blocking(bool) {}

  std::size_t read_some(asio::mutable_buffer buffer, asio::error_code& error);
  std::size_t write_some(asio::const_buffer buffer, asio::error_code& error);

  // Until read_some() or write_some() is worth another try: TLS may have to write in order to read.
  template <class Token>
  auto async_wait(asio::socket_base::wait_type direction, Token&& token) {
    return socket_.async_wait(direction == asio::socket_base::wait_write ? to_write_ : to_read_, std::forward<Token>(token));
  }

  // Without a farewell: one request, one connection, and rspamd's reply says itself where it ends.
  void close() { socket_.close(); }

 private:
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  // What a call of OpenSSL that returned `result` wants to wait for; none when that failed for good: then `error` is set.
  std::optional<asio::socket_base::wait_type> wanted(int result, asio::error_code& error);

  Socket socket_;
  std::unique_ptr<SSL, Free> ssl_;
  asio::socket_base::wait_type to_read_ = asio::socket_base::wait_read;
  asio::socket_base::wait_type to_write_ = asio::socket_base::wait_write;
};

}  // namespace mailbridge::net
