#include "base/endpoint.hpp"

#include <charconv>
#include <optional>

#include "base/text.hpp"

namespace mailbridge {
namespace {

constexpr std::size_t max_unix_path = 107;  // sun_path less its final NUL, unix(7)
constexpr std::size_t max_host = 255;       // RFC 1035 2.3.4
constexpr std::uint16_t rspamd_port = 11333;

Result<Endpoint> unix_endpoint(std::string_view path) {
  if (!path.starts_with('/')) return fail(Errc::malformed, "the path of a unix socket must begin with '/'");
  if (path.size() > max_unix_path) return fail(Errc::too_large, "the path of a unix socket is at most 107 bytes long");
  if (path.find('\0') != std::string_view::npos) return fail(Errc::malformed, "the path of a unix socket holds a NUL byte");
  return UnixEndpoint{std::string(path)};
}

bool is_host_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

bool is_v6_byte(char c) {
  return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || (c >= '0' && c <= '9') || c == ':' || c == '.' || c == '%';
}

// host[:port], with an IPv6 address between brackets.
Result<Endpoint> tcp_endpoint(std::string_view text, std::optional<std::uint16_t> default_port) {
  std::string_view host;
  std::string_view rest;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return fail(Errc::malformed, "'[' without ']'");
    host = text.substr(1, close - 1);
    rest = text.substr(close + 1);
    if (host.find(':') == std::string_view::npos) return fail(Errc::malformed, "what stands between brackets is no IPv6 address");
    for (const char c : host) {
      if (!is_v6_byte(c)) return fail(Errc::malformed, "what stands between brackets is no IPv6 address");
    }
  } else {
    const std::size_t colon = text.find(':');
    host = text.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view{} : text.substr(colon);
    if (rest.find(':', 1) != std::string_view::npos) return fail(Errc::malformed, "an IPv6 address stands between brackets");
    for (const char c : host) {
      if (!is_host_byte(c)) return fail(Errc::malformed, "a host name holds letters, digits, '.', '-' and '_' only");
    }
  }
  if (host.empty()) return fail(Errc::malformed, "the host is missing");
  if (host.size() > max_host) return fail(Errc::too_large, "a host name is at most 255 bytes long");
  if (rest.empty()) {
    if (!default_port) return fail(Errc::malformed, "the port is missing");
    return TcpEndpoint{std::string(host), *default_port};
  }
  if (!rest.starts_with(':')) return fail(Errc::malformed, "':' and a port must follow ']'");
  rest.remove_prefix(1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), port);
  if (error != std::errc{} || end != rest.data() + rest.size() || port == 0) {
    return fail(Errc::malformed, "the port is a number from 1 to 65535");
  }
  return TcpEndpoint{std::string(host), port};
}

}  // namespace

Result<Endpoint> parse_http_endpoint(std::string_view text) {
  if (istarts_with(text, "unix:")) return unix_endpoint(text.substr(5));
  const bool tls = istarts_with(text, "https://");
  if (!tls && !istarts_with(text, "http://")) {
    return fail(Errc::malformed, "an rspamd endpoint begins with 'http://', 'https://' or 'unix:/'");
  }
  text.remove_prefix(tls ? 8 : 7);
  if (text.ends_with('/')) text.remove_suffix(1);
  if (text.find_first_of("/?#@") != std::string_view::npos) {
    return fail(Errc::malformed, "an rspamd endpoint has no user, path or query: the command is added by us");
  }
  // rspamd has no port of its own for TLS.
  auto endpoint = tcp_endpoint(text, tls ? std::nullopt : std::optional(rspamd_port));
  if (endpoint) std::get<TcpEndpoint>(*endpoint).tls = tls;
  return endpoint;
}

Result<Endpoint> parse_lmtp_endpoint(std::string_view text) {
  if (istarts_with(text, "unix:")) return unix_endpoint(text.substr(5));
  if (text.starts_with('/')) return unix_endpoint(text);
  const bool tls = istarts_with(text, "lmtps://");
  if (tls || istarts_with(text, "lmtp://")) text.remove_prefix(text.find('/') + 2);
  auto endpoint = tcp_endpoint(text, std::nullopt);
  if (endpoint && tls) std::get<TcpEndpoint>(*endpoint).tls = true;
  return endpoint;
}

std::string to_string(const Endpoint& endpoint) {
  struct Writer {
    std::string operator()(const UnixEndpoint& at) const { return "unix:" + at.path; }
    std::string operator()(const TcpEndpoint& at) const {
      const bool v6 = at.host.find(':') != std::string::npos;
      return (v6 ? "[" + at.host + "]" : at.host) + ":" + std::to_string(at.port);
    }
  };
  return std::visit(Writer{}, endpoint);
}

}  // namespace mailbridge
