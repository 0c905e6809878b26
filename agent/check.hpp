// --check: tells what would happen to a delivery to one recipient at each server, and what is wrong if it would fail.
#pragma once

#include <string>

#include <asio/awaitable.hpp>

#include "agent/options.hpp"
#include "wires/lmtp.hpp"

namespace mailbridge::agent {

struct Checked {
  bool good = true;
  std::string text;  // lines for people, at least one for each server
};

// Sends MAIL, RCPT and RSET to each LMTP server for the recipient of the settings, and /ping to each rspamd server. `settings`
// must outlive the coroutine.
asio::awaitable<Checked> check(const Settings& settings, wires::LmtpClient::Settings client_settings, std::string host_name);

}  // namespace mailbridge::agent
