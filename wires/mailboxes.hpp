// The wires to the mail store: from a StartLookup or a StartDelivery to its result, over connections that are kept.
//
// Look-ups that wait together for an LMTP connection share one probe. Where Dovecot's quota-status is known, it is asked instead.
// Which connection serves whom is decided in lmtp/pool.hpp, and what is said in lmtp/client.hpp and recipients/quota_status.hpp.
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
#include "lmtp/pool.hpp"
#include "recipients/mailbox.hpp"
#include "wires/lmtp.hpp"

namespace mailbridge::wires {

class Mailboxes {
 public:
  struct Hooks {
    std::function<TimePoint()> now;  // of what follows, so that a recording leads to the same figures
    std::function<void(recipients::LookupId, const recipients::Found&, TimePoint)> found;
    std::function<void(recipients::DeliveryId, const std::vector<lmtp::Outcome>&, std::string_view server, TimePoint)> delivered;
  };

  struct Ways {
    std::vector<Endpoint> lmtp = {};            // in the order in which they are tried; none: nothing is delivered
    wires::Ways lmtp_ways = {};                 // to them
    std::optional<Endpoint> quota_status = {};  // asked instead of them
    lmtp::PoolLimits limits = {};               // of connections to either
    bool operator==(const Ways&) const = default;
  };

  Mailboxes(asio::io_context& io, Ways ways, Hooks hooks);

  // From now on. What is under way, and what waits, stays with the old ways when these are others.
  void use(Ways ways);

  // Each is answered by a hook, a look-up perhaps later than it wants.
  void start(recipients::StartLookup command);
  void start(recipients::StartDelivery command);
  void cancel(recipients::DeliveryId id);

 private:
  class LmtpLane;
  class PolicyLane;

  asio::io_context& io_;
  const Hooks hooks_;
  Ways ways_;
  std::shared_ptr<LmtpLane> lmtp_;                     // when there is a server
  std::shared_ptr<PolicyLane> policy_;                 // likewise
  std::map<recipients::DeliveryId, bool> deliveries_;  // that are not answered; true: cancelled
};

}  // namespace mailbridge::wires
