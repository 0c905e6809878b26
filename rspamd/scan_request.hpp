// The head of one scan: POST /checkv2 and what rspamd wants to know of the envelope.
// https://rspamd.com/doc/developers/protocol.html; what a header does in rspamd: its src/libserver/protocol.c.
#pragma once

#include <cstddef>
#include <string>

#include "base/endpoint.hpp"
#include "mail/envelope.hpp"

namespace mailbridge::rspamd {

struct ScanSettings {
  Endpoint endpoint;             // for the Host header alone
  std::string settings_id = {};  // empty: rspamd chooses
  std::string log_tag = {};      // marks rspamd's log lines of this scan; rspamd cuts it. May be empty
};

struct ScanRequest {
  std::string head;                     // request line and headers with the empty line; the message follows as it is
  std::size_t recipients_left_out = 0;  // those beyond the head's bound, and those that rspamd would read as something else
};

// rspamd's HTTP parser resets the connection beyond this (HTTP_MAX_HEADER_SIZE).
inline constexpr std::size_t max_request_head = std::size_t{80} * 1024;

// Values are single printable lines and never empty: rspamd's worker aborts on some empty ones.
ScanRequest scan_request(const mail::Envelope& envelope, const ScanSettings& settings, std::size_t message_size);

}  // namespace mailbridge::rspamd
