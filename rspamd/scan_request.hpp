// The headers of one scan: what rspamd wants to know of the envelope, for whichever server is asked. Those of HTTP itself are
// Outgoing's.
// https://rspamd.com/doc/developers/protocol.html; what a header does in rspamd: its src/libserver/protocol.c.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "mail/envelope.hpp"

namespace mailbridge::rspamd {

struct ScanSettings {
  std::string settings_id = {};  // empty: rspamd chooses
  std::string log_tag = {};      // marks rspamd's log lines of this scan; rspamd cuts it. May be empty
  std::string more = {};         // of parse_request_header(), one after the other
};

// "Name: value" as a header line of the request. Refused are names that are none, and those of headers that are ours to write or
// would make rspamd read something else than the message.
Result<std::string> parse_request_header(std::string_view text);

struct ScanRequest {
  std::string headers;                  // with the empty line; the message follows as it is
  std::size_t recipients_left_out = 0;  // those beyond the head's bound, and those that rspamd would read as something else
};

// rspamd's HTTP parser resets the connection beyond this (HTTP_MAX_HEADER_SIZE).
inline constexpr std::size_t max_request_head = std::size_t{80} * 1024;
// What Outgoing adds: a host name has 255 bytes at most, and there may be headers that only some servers get.
inline constexpr std::size_t max_request_start = 1024;
inline constexpr std::size_t max_headers = max_request_head - max_request_start;

inline constexpr std::string_view scan_command = "POST /checkv2";

// Values are single printable lines and never empty: rspamd's worker aborts on some empty ones.
ScanRequest scan_request(const mail::Envelope& envelope, const ScanSettings& settings);

}  // namespace mailbridge::rspamd
