#include "filter/settings.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include <asio/ip/address.hpp>

namespace mailbridge::filter {

bool LmtpSettings::wants_tls() const {
  const auto whole = [](const Endpoint& server) {
    const auto* tcp = std::get_if<TcpEndpoint>(&server);
    return tcp && tcp->tls;
  };
  return (starttls && !servers.empty()) || std::any_of(servers.begin(), servers.end(), whole);
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
