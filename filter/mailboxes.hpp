// The wires to the mail store: from a StartLookup or a StartDelivery to its result, over connections that are kept.
//
// Look-ups that wait together for an LMTP connection share one probe. Where Dovecot's quota-status is known, it is asked instead.
// Which connection serves whom is decided in net/pool.hpp, and what is said in lmtp/client.hpp and filter/quota_status.hpp.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include <asio/io_context.hpp>

#include "base/conversation.hpp"
#include "base/endpoint.hpp"
#include "filter/mailbox.hpp"
#include "lmtp/wire.hpp"
#include "net/pool.hpp"

namespace mailbridge::filter {

struct AppSettings;

class Mailboxes {
 public:
  struct Hooks {
    std::function<TimePoint()> now;  // of what follows, so that a recording leads to the same figures
    std::function<void(LookupId, const Found&, TimePoint)> found;
    std::function<void(DeliveryId, const std::vector<lmtp::Outcome>&, std::string_view server, TimePoint)> delivered;
  };

  struct Ways {
    std::vector<Endpoint> lmtp = {};            // in the order in which they are tried; none: nothing is delivered
    lmtp::Ways lmtp_ways = {};                  // to them
    std::optional<Endpoint> quota_status = {};  // asked instead of them
    net::PoolLimits limits = {};                // of connections to either
    bool operator==(const Ways&) const = default;
  };

  Mailboxes(asio::io_context& io, Ways ways, Hooks hooks);

  // From now on. What is under way, and what waits, stays with the old ways when these are others.
  void use(Ways ways);

  // Each is answered by a hook, a look-up perhaps later than it wants.
  void start(StartLookup command);
  void start(StartDelivery command);
  void cancel(DeliveryId id);

 private:
  class LmtpLane;
  class PolicyLane;

  asio::io_context& io_;
  const Hooks hooks_;
  Ways ways_;
  std::shared_ptr<LmtpLane> lmtp_;         // when there is a server
  std::shared_ptr<PolicyLane> policy_;     // likewise
  std::map<DeliveryId, bool> deliveries_;  // that are not answered; true: cancelled
};

Mailboxes::Ways mailbox_ways(const AppSettings& settings);

}  // namespace mailbridge::filter
