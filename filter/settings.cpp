#include "filter/settings.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include <asio/ip/address.hpp>

namespace mailbridge::filter {

namespace {

// True if the server's address has to be looked up.
bool is_named(const Endpoint& server) {
  const auto* tcp = std::get_if<TcpEndpoint>(&server);
  asio::error_code no_address;
  if (tcp) asio::ip::make_address(tcp->host, no_address);
  return static_cast<bool>(no_address);
}

}  // namespace

bool LmtpSettings::wants_tls() const {
  return (starttls && !servers.empty()) || std::any_of(servers.begin(), servers.end(), has_tls);
}

bool Settings::rspamd_wants_tls() const {
  return std::any_of(upstreams.begin(), upstreams.end(), [](const rspamd::Upstream& server) { return has_tls(server.endpoint); });
}

DescriptorNeeds descriptor_needs(const Settings& settings, std::size_t open) {
  const LmtpSettings& lmtp = settings.lmtp;
  DescriptorNeeds needs{.open = open};
  if (settings.upstreams.size() > 1) needs.rspamd_probes = settings.upstreams.size();
  needs.connections = lmtp.connections * ((lmtp.servers.empty() ? 0 : 1) + (settings.quota_status ? 1 : 0));
  for (const rspamd::Upstream& upstream : settings.upstreams) needs.names += is_named(upstream.endpoint) ? 1 : 0;
  for (const Endpoint& server : lmtp.servers) needs.names += is_named(server) ? 1 : 0;
  if (settings.quota_status && is_named(*settings.quota_status)) ++needs.names;
  return needs;
}

wires::RspamdClient::Settings rspamd_settings(const Settings& settings) {
  return {.connect_timeout = settings.connect_timeout,
          .compress = settings.compress,
          .tls = settings.tls,
          .tls_name = settings.tls_name};
}

wires::Mailboxes::Settings mailbox_settings(const Settings& settings) {
  const LmtpSettings& lmtp = settings.lmtp;
  wires::Mailboxes::Settings mailboxes{
      .lmtp = lmtp.servers, .quota_status = settings.quota_status, .limits = {.count = lmtp.connections}};
  mailboxes.connect.tls = lmtp.tls;
  mailboxes.connect.tls_name = lmtp.tls_name;
  mailboxes.connect.starttls = lmtp.starttls;
  if (!lmtp.source.empty()) mailboxes.connect.source = asio::ip::make_address(lmtp.source);
  return mailboxes;
}

}  // namespace mailbridge::filter
