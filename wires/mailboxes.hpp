// The filter's connections to the mail store, over which recipients are looked up and mail is delivered. They are kept and used
// again.
//
// Look-ups that wait together for an LMTP connection share one transaction. Where Dovecot's quota-status is configured, it is
// asked instead. Who is served when, and over which connection, is decided in recipients/store_queue.hpp; what is said in
// lmtp/client.hpp and recipients/quota_status.hpp.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include <asio/io_context.hpp>

#include "base/conversation.hpp"
#include "base/endpoint.hpp"
#include "lmtp/pool.hpp"
#include "recipients/mailbox.hpp"
#include "recipients/store_queue.hpp"
#include "wires/lmtp.hpp"

namespace mailbridge::wires {

class Mailboxes {
 public:
  struct Hooks {
    std::function<TimePoint()> now;  // the time that the hooks below are given: in whole milliseconds, as recordings have it
    std::function<void(recipients::LookupId, const recipients::Found&, TimePoint)> found;
    // One outcome for each recipient, in their order. `server` gave them; empty when none was tried.
    std::function<void(recipients::DeliveryId, const std::vector<lmtp::Outcome>&, std::string_view server, TimePoint)> delivered;
  };

  struct Settings {
    std::vector<Endpoint> lmtp = {};            // in the order in which they are tried; none: nothing is delivered
    LmtpClient::Settings connect = {};          // to them
    std::optional<Endpoint> quota_status = {};  // where recipients are looked up; none: at the LMTP servers
    lmtp::PoolLimits limits = {};               // of connections to the LMTP servers, and of those to quota-status
    bool operator==(const Settings&) const = default;
  };

  // Must live as long as `io` runs.
  Mailboxes(asio::io_context& io, Settings settings, Hooks hooks);

  // From now on. When the settings differ, what is under way or waits is still served by the old ones.
  void use(Settings settings);

  // Each is answered once, by a hook: perhaps before start() returns, and a look-up perhaps after its deadline.
  void start(recipients::StartLookup lookup);
  void start(recipients::StartDelivery delivery);
  // Keeps the delivery's dot back, unless it has left already.
  void cancel(recipients::DeliveryId id) { open_.cancel(id); }

 private:
  template <class T>
  class Backend;
  class LmtpBackend;
  class QuotaStatusBackend;

  asio::io_context& io_;
  const Hooks hooks_;
  Settings settings_;
  std::shared_ptr<LmtpBackend> lmtp_;                 // null: no server is configured
  std::shared_ptr<QuotaStatusBackend> quota_status_;  // likewise
  recipients::OpenDeliveries open_;
};

}  // namespace mailbridge::wires
