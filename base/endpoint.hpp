// Where a peer listens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.hpp"

namespace mailbridge {

struct TcpEndpoint {
  std::string host;  // name, IPv4 address, or IPv6 address without brackets
  std::uint16_t port;
  bool tls = false;
  bool operator==(const TcpEndpoint&) const = default;
};
struct UnixEndpoint {
  std::string path;  // absolute, shorter than sun_path's 108 bytes (unix(7))
  bool operator==(const UnixEndpoint&) const = default;
};
using Endpoint = std::variant<TcpEndpoint, UnixEndpoint>;

// True if the peer speaks TLS from the first byte.
inline bool has_tls(const Endpoint& endpoint) {
  const auto* tcp = std::get_if<TcpEndpoint>(&endpoint);
  return tcp && tcp->tls;
}

// "http://host:port" (port 11333, rspamd's normal worker, when left out), "http://[2001:db8::1]:11333", "https://host:port" (the
// port must be given), "unix:/path". A path after the authority is refused, because the path is that of the command we send.
Result<Endpoint> parse_http_endpoint(std::string_view text);

// "/path", "unix:/path", "host:port", "[2001:db8::1]:24", "lmtp://host:port", and "lmtps://host:port" for TLS from the first
// byte. The port must be given: RFC 2033 forbids port 25 and names no other.
Result<Endpoint> parse_lmtp_endpoint(std::string_view text);

// As a person writes it: "unix:/run/x", "host:24", "[::1]:24".
std::string to_string(const Endpoint& endpoint);

}  // namespace mailbridge
