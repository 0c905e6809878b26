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

wires::Mailboxes::Ways mailbox_ways(const Settings& settings) {
  const LmtpSettings& lmtp = settings.lmtp;
  wires::Mailboxes::Ways ways{.lmtp = lmtp.servers, .quota_status = settings.quota_status, .limits = {.count = lmtp.connections}};
  ways.lmtp_ways.tls = lmtp.tls;
  ways.lmtp_ways.tls_name = lmtp.tls_name;
  ways.lmtp_ways.starttls = lmtp.starttls;
  if (!lmtp.source.empty()) ways.lmtp_ways.source = asio::ip::make_address(lmtp.source);
  return ways;
}

}  // namespace mailbridge::filter
