#include "net/tls.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <asio/error.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/ip/address.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include "net/as_tuple.hpp"

namespace mailbridge::net {
namespace {

// What OpenSSL takes at a time: the plain text of one record. An unfinished record must be offered again, so no more is begun.
constexpr std::size_t max_record = 16384;

std::string reason_of(unsigned long code) {
  const char* reason = ERR_reason_error_string(code);
  if (!reason && ERR_GET_LIB(code) == ERR_LIB_SYS) return asio::error::get_system_category().message(ERR_GET_REASON(code));
  return reason ? reason : "unknown error";
}

class TlsErrors : public std::error_category {
 public:
  const char* name() const noexcept override { return "TLS"; }
  std::string message(int value) const override { return "TLS: " + reason_of(static_cast<unsigned>(value)); }
};

asio::error_code last_error() {
  static const TlsErrors category;
  return {static_cast<int>(ERR_peek_last_error()), category};
}

Fault about_file(const std::string& file) {
  // The first error is the system's or the parser's, those after it say which step failed.
  return {Errc::malformed, file + ": " + reason_of(ERR_peek_error())};
}

// OpenSSL would wait for who writes to a FIFO.
bool is_no_regular_file(const std::string& file) {
  struct stat status {};
  return !file.empty() && stat(file.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
}

// OpenSSL would ask for it on the terminal, and where there is none on standard input, which is smtpd's.
int no_pass_phrase(char*, int, int, void* asked) {
  if (asked) *static_cast<bool*>(asked) = true;
  return -1;
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::load(const TlsSettings& settings) {
  for (const std::string* file : {&settings.ca_file, &settings.certificate_file, &settings.key_file}) {
    if (is_no_regular_file(*file)) return fail(Errc::malformed, *file + ": not a regular file");
  }
  ERR_clear_error();
  auto loaded = std::make_shared<TlsContext>();
  SSL_CTX* const context = loaded->get();
  if (!context) return fail(Errc::unsupported, "OpenSSL cannot be used on this machine");
  SSL_CTX_set_default_passwd_cb(context, no_pass_phrase);
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  if (settings.ca_file.empty()) SSL_CTX_set_default_verify_paths(context);
  else if (SSL_CTX_load_verify_locations(context, settings.ca_file.c_str(), nullptr) != 1)
    return tl::unexpected(about_file(settings.ca_file));
  if (!settings.certificate_file.empty()) {
    if (SSL_CTX_use_certificate_chain_file(context, settings.certificate_file.c_str()) != 1) {
      return tl::unexpected(about_file(settings.certificate_file));
    }
    bool asked = false;
    SSL_CTX_set_default_passwd_cb_userdata(context, &asked);
    const int used = SSL_CTX_use_PrivateKey_file(context, settings.key_file.c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(context, nullptr);
    if (asked) return fail(Errc::malformed, settings.key_file + ": it has a pass phrase, and nobody is there to be asked");
    if (used != 1) return tl::unexpected(about_file(settings.key_file));
  }
  return loaded;
}

TlsStream::TlsStream(Socket socket, const TlsContext& context, const std::string& name)
    : socket_(std::move(socket)), ssl_(SSL_new(context.get())) {
  if (!ssl_) throw std::bad_alloc();
  socket_.native_non_blocking(true);
  SSL_set_fd(ssl_.get(), socket_.native_handle());
  SSL_set_connect_state(ssl_.get());
  asio::error_code no_address;
  asio::ip::make_address(name, no_address);
  if (no_address) {
    SSL_set_tlsext_host_name(ssl_.get(), name.c_str());
    SSL_set1_host(ssl_.get(), name.c_str());
  } else {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), name.c_str());
  }
}

asio::awaitable<std::optional<ConnectError>> TlsStream::handshake(TimePoint until) {
  using namespace asio::experimental::awaitable_operators;
  constexpr auto token = as_tuple(asio::use_awaitable);
  asio::steady_timer timer(co_await asio::this_coro::executor, until);
  for (;;) {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    if (result == 1) co_return std::nullopt;
    asio::error_code error;
    const auto direction = wanted(result, error);
    if (!direction) {
      const long verified = SSL_get_verify_result(ssl_.get());
      std::string what = error.message();
      if (verified != X509_V_OK) what = std::string("TLS: the server's certificate: ") + X509_verify_cert_error_string(verified);
      std::optional<ConnectError> wrong({false, 0, std::move(what)});
      co_return wrong;
    }
    const auto outcome = co_await (socket_.async_wait(*direction, token) || timer.async_wait(token));
    if (outcome.index() == 0) continue;
    std::optional<ConnectError> late({true, 0, "no TLS handshake in time"});
    co_return late;
  }
}

std::optional<asio::socket_base::wait_type> TlsStream::wanted(int result, asio::error_code& error) {
  const int system_error = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return asio::socket_base::wait_read;
    case SSL_ERROR_WANT_WRITE:
      return asio::socket_base::wait_write;
    case SSL_ERROR_ZERO_RETURN:
      error = asio::error::eof;
      return std::nullopt;
    case SSL_ERROR_SYSCALL:
      error = {system_error, asio::error::get_system_category()};
      return std::nullopt;
    default:
      error = last_error();
      return std::nullopt;
  }
}

std::size_t TlsStream::read_some(asio::mutable_buffer buffer, asio::error_code& error) {
  ERR_clear_error();
  error = {};
  std::size_t n = 0;
  const int result = SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &n);
  if (result == 1) return n;
  if (const auto direction = wanted(result, error)) {
    to_read_ = *direction;
    error = asio::error::would_block;
  }
  return 0;
}

std::size_t TlsStream::write_some(asio::const_buffer buffer, asio::error_code& error) {
  ERR_clear_error();
  error = {};
  std::size_t n = 0;
  const int result = SSL_write_ex(ssl_.get(), buffer.data(), std::min(buffer.size(), max_record), &n);
  if (result == 1) return n;
  if (const auto direction = wanted(result, error)) {
    to_write_ = *direction;
    error = asio::error::would_block;
  }
  return 0;
}

}  // namespace mailbridge::net
