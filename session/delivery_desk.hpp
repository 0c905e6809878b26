// Deliveries while the client waits: which are under way, until when, and what each comes to.
//
//   start ──► under way ──► take ──► conclude                  its transaction waits for it
//                 │
//                 └── cancel, orphan ──► take ──► tell_of_orphan   its transaction is gone: a line of the log is written
//
// A mail store that did not answer gets nothing for 5 s (recipients::pause_when_silent), and then one message at a time until it
// answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/conversation.hpp"
#include "lmtp/client.hpp"
#include "lmtp/mark.hpp"
#include "recipients/mailbox.hpp"
#include "session/shared.hpp"

namespace mailbridge::session {

class DeliveryDesk {
 public:
  // `shared` must outlive it.
  explicit DeliveryDesk(Shared& shared) : shared_(shared) {}
  DeliveryDesk(const DeliveryDesk&) = delete;
  DeliveryDesk& operator=(const DeliveryDesk&) = delete;

  // True if nothing should be delivered now: the pause of a mail store that did not answer is not over, or another delivery tries
  // it.
  bool store_is_silent(TimePoint now) const;

  // Queues a StartDelivery of the session's message, with Decision::header_bytes as its header section. Throws std::bad_alloc
  // without having done anything.
  void start(Session& session, std::vector<std::string> recipients, TimePoint now);

  struct Delivery {
    std::optional<std::uint64_t> session_key;  // none: its transaction is gone
    std::string about;                         // its session and msgid, for the log
    std::vector<std::string> recipients;
    lmtp::MarkKeys keys;
    TimePoint started;
    TimePoint until;
  };
  // A delivery has ended, and is under way no more. None when it was not under way.
  std::optional<Delivery> take(recipients::DeliveryId id);

  struct Result {
    std::string refusal = {};  // for the client; empty: smtpd is to have the message
    std::string mark = {};     // for the copy that smtpd queues; empty: nobody has the message
    std::size_t delivered = 0;
  };
  // Turns the outcomes, one for each recipient, by index, into a refusal or a mark, and logs them in the transaction's line.
  // `server` is for the log.
  Result conclude(Session& session, const Delivery& delivery, const std::vector<lmtp::Outcome>& outcomes, std::string_view server,
                  TimePoint now);
  // The same when its transaction is gone.
  void tell_of_orphan(const Delivery& delivery, const std::vector<lmtp::Outcome>& outcomes, std::string_view server);

  // A delivery past its deadline, which the driver should have ended. None when there is none.
  std::optional<recipients::DeliveryId> late(TimePoint now) const;
  std::optional<TimePoint> next_deadline() const;

  // The transaction's delivery goes on without it. The id when there was one: the caller is to send CancelDelivery.
  std::optional<recipients::DeliveryId> orphan(Transaction& tx);
  // The same, and CancelDelivery is sent.
  void cancel(Transaction& tx);
  // smtpd is gone, and all transactions with it.
  void end_of_input();

 private:
  Shared& shared_;
  std::map<recipients::DeliveryId, Delivery> deliveries_;  // none is due before an earlier one
  recipients::DeliveryId next_id_ = 1;
  std::optional<TimePoint> rests_until_;  // the mail store is silent, and at rest until then
};

}  // namespace mailbridge::session
