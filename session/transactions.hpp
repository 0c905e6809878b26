// The life of each transaction: its lines, whether it is scanned, what the verdict leads to, what smtpd is told, and its line of
// the log. The phases, and what leads from one to the next, are in session/transaction.hpp.
//
// The desks are asked for what takes time: ScanDesk, RecipientDesk and DeliveryDesk. What they find out comes back here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/conversation.hpp"
#include "lmtp/client.hpp"
#include "recipients/mailbox.hpp"
#include "rspamd/verdict.hpp"
#include "session/delivery_desk.hpp"
#include "session/recipient_desk.hpp"
#include "session/scan_desk.hpp"
#include "session/shared.hpp"
#include "smtpd/events.hpp"

namespace mailbridge::session {

class Transactions {
 public:
  // All four must outlive this.
  Transactions(Shared& shared, ScanDesk& scans, RecipientDesk& recipients, DeliveryDesk& deliveries)
      : shared_(shared), scans_(scans), recipients_(recipients), deliveries_(deliveries) {}
  Transactions(const Transactions&) = delete;
  Transactions& operator=(const Transactions&) = delete;

  // ---- what smtpd says
  void data_line(Session& session, const smtpd::DataLine& event, bool cut, TimePoint now);
  // What smtpd is to tell the client: a refusal, or nothing when it may proceed.
  std::string_view commit(Session& session);
  // `became`: "committed", "rolled-back", "reset", …, for the log. Writes the line of the log, and begins an empty transaction.
  void end(Session& session, std::string_view became);

  // ---- what the driver says: see Engine
  void scan_finished(ScanId id, const rspamd::ScanResult& result, std::string_view server, TimePoint now);
  void delivery_finished(recipients::DeliveryId id, const std::vector<lmtp::Outcome>& outcomes, std::string_view server,
                         TimePoint now);

  // Takes what RecipientDesk knows, and begins scans that may begin. To be called after each line of smtpd, each look-up and each
  // scan that has ended.
  void go_on(TimePoint now);
  // Gives up what is past its deadline.
  void tick(TimePoint now);

  // A message on its way back could not be read to its end.
  void lost(std::uint64_t session_key, const mail::Message& message);

  // There is no memory for the session, so nothing is known of it from now on. Lines that wait to be written to smtpd stay.
  void forget(std::uint64_t session_key);

 private:
  // ---- data
  void end_of_data(Session& session, TimePoint now);
  void begin_log(Session& session) const;
  void give_up(Transaction& tx, std::string_view refusal) const;
  void note_lost(const Session& session, const mail::Message& message);
  // ---- scan
  void examine(Session& session, TimePoint now);
  void complete(Session& session) const;
  std::optional<std::string> as_submitted(const Session& session, std::string_view head) const;
  void want_scan(Session& session, TimePoint now);
  void start_scans(TimePoint now);
  void start_scan(Session& session, const ScanDesk::Turn& turn, TimePoint now);
  bool wait_again(Session& session, ScanId id, std::string_view why);
  void give_up_scan(const ScanDesk::Owned& scan, rspamd::ScanFailure::Kind kind, std::string_view why, TimePoint now);
  void cancel_scan(Transaction& tx);
  // ---- verdict
  void decide(Session& session, const rspamd::ScanResult& result, TimePoint now);
  void log_verdict(Transaction& tx, const rspamd::Verdict& verdict, bool applied);
  void log_failure(Transaction& tx, const rspamd::ScanResult& result);
  void pass_unscanned(Session& session, TimePoint now);
  void pass(Session& session, policy::Decision decision, TimePoint now);
  // ---- room and delivery
  void take_room(TimePoint now);
  void room_known(Session& session, const std::string& address, recipients::Mailbox mailbox, TimePoint now);
  void deliver_or_queue(Session& session, TimePoint now);
  // ---- answer
  void emit(Session& session, std::string mark = {});
  void refuse(Session& session, std::string_view refusal);
  void abandon(Session& session);
  void log_end(Transaction& tx, std::string_view became);

  Shared& shared_;
  ScanDesk& scans_;
  RecipientDesk& recipients_;
  DeliveryDesk& deliveries_;
};

// The refusal of a message of which there is no verdict, and never will be.
inline constexpr std::string_view no_verdict = "451 4.3.0 Message could not be scanned, try again later";

}  // namespace mailbridge::session
