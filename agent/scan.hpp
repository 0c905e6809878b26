// A scan at delivery time, for sites where no filter scans, and for settings of rspamd's that belong to one recipient: it takes a
// mail and says what of it is to be delivered. A verdict becomes headers as with filter-mailbridge (policy/decision.hpp).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <asio/awaitable.hpp>

#include "agent/agent.hpp"
#include "base/conversation.hpp"
#include "mail/envelope.hpp"
#include "mail/message.hpp"
#include "net/tls_settings.hpp"
#include "policy/decision.hpp"
#include "rspamd/scan_request.hpp"
#include "rspamd/upstreams.hpp"

namespace mailbridge::agent {

// A mail that is refused now bounces to whoever is named as its sender, so by default spam is marked instead.
struct ScanSettings {
  std::vector<rspamd::Upstream> upstreams;  // at least one
  net::TlsSettings tls_files = {};
  std::string tls_name = {};  // in their certificates; empty: the server's host
  Duration timeout{};
  std::size_t max_size = 0;  // of what is scanned
  rspamd::ScanSettings request = {};
  policy::Policy policy = {};
  policy::Enforcement enforcement{};
};

// Tries as many servers as it takes, and ends by `until`. `settings` must outlive it.
asio::awaitable<Scanned> scan(const ScanSettings& settings, std::shared_ptr<const mail::Message> message, mail::Envelope envelope,
                              const std::string& host_name, TimePoint until);

// Why no mail should be sent to one of the servers; empty when nothing speaks against it. For --check.
asio::awaitable<std::string> ping(const ScanSettings& settings, const rspamd::Upstream& server);

}  // namespace mailbridge::agent
