// What the addresses of link-connect tell: who the client is, and what smtpd does on this listener.
#pragma once

#include <string>
#include <string_view>

#include "base/endpoint.hpp"
#include "base/result.hpp"

namespace mailbridge::smtpd {

// True if `src` is the local socket, through which this host's own users send.
bool is_local(std::string_view src);

// The client's IP address, from "192.0.2.1:25", "[2001:db8::1]:25" or "unix:/var/run/smtpd.sock": the local socket is this host.
std::string client_ip(std::string_view src);

// True if smtpd adds a missing Date and Message-ID to what comes in on this listener (smtp_session.c, RFC5322_END_OF_HEADERS):
// the local socket, a loopback address, and port 587, where versions before 7.4 fail to, by a bug. `dest` is the address
// that the listener was given: 0.0.0.0 takes local connections, too, but is no loopback address.
bool completes(std::string_view dest);

// Where the listener `dest` can be reached from this host: "192.0.2.1:25", "[::]:25".
Result<Endpoint> listener_at(std::string_view dest);

}  // namespace mailbridge::smtpd
