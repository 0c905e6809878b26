// --check: what would become of a delivery to one recipient, at each server, and what is wrong where it would fail.
#pragma once

#include <string>

#include <asio/awaitable.hpp>

#include "agent/options.hpp"
#include "wires/lmtp.hpp"

namespace mailbridge::agent {

struct Checked {
  bool good = true;
  std::string text;  // a line for each server, and what there is to know about them
};

// MAIL, RCPT and RSET at each LMTP server for the recipient of the settings, /ping at each server of rspamd's. `settings` must
// outlive it.
asio::awaitable<Checked> check(const Settings& settings, wires::LmtpClient::Settings client_settings, std::string host_name);

}  // namespace mailbridge::agent
