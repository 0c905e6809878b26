// The filter as a pure machine: bytes of smtpd and results of the driver in, bytes for smtpd and commands for the driver out.
//
// Who speaks: smtpd configures, we register; then smtpd reports what happens in each session, and asks. We register for two
// requests:
//   data-line   every line of a message, "." last. We answer with our own lines whenever we like, ending with exactly one ".".
//               The message is held back until its verdict, because headers may be added on top.
//   commit      comes after our "."; answered at once, because the verdict is known by then.
// and with --verify for a third:
//   rcpt-to     a recipient, before smtpd looks at it; answered when it is known whether Dovecot has a mailbox for it
//               (recipients/verifier.hpp). A session or client that guesses is answered with a delay (recipients/tarpit.hpp).
// With --deliver a message that is to pass goes to the mail store first (recipients/delivery.hpp): what smtpd gets depends on
// what came of that.
//
// The engine reads smtpd's lines, keeps the sessions, and tells the desks:
//   Transactions    the life of a transaction, phase by phase (session/transaction.hpp)
//   ScanDesk        which scans wait, which are under way, until when
//   RecipientDesk   what is said about each recipient, and whether there is room for the message
//   DeliveryDesk    which deliveries are under way, until when, what they come to
//   Output          what is to be written to smtpd
//
// Scans, look-ups and deliveries are named by ids that are never used twice: a result whose transaction is gone is no error. What
// happens when memory runs out is told in session/memory.hpp. The members below throw std::bad_alloc only if even forgetting the
// session fails.
//
// Invariants, asserted by tests and fuzzers: each request is answered once, and by its deadline as long as tick() is called: that
// of the scan and of the delivery for a message, that of the look-up for a recipient; nothing of a message follows its "."; no
// data-line is longer than smtpd::max_dataline; nothing but ids and tokens that smtpd sent is echoed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/conversation.hpp"
#include "base/line_buffer.hpp"
#include "lmtp/client.hpp"
#include "recipients/mailbox.hpp"
#include "rspamd/verdict.hpp"
#include "session/commands.hpp"
#include "session/delivery_desk.hpp"
#include "session/recipient_desk.hpp"
#include "session/scan_desk.hpp"
#include "session/settings.hpp"
#include "session/shared.hpp"
#include "session/transactions.hpp"
#include "smtpd/line.hpp"

namespace mailbridge::session {

class Engine {
 public:
  // `random` is the seed of the local parts that Verifier invents.
  explicit Engine(Settings settings, std::uint64_t random = 0);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Replaces the settings. A scan that waits or is under way keeps its deadline, unless the new one is earlier.
  void use(Settings settings);

  void receive(std::string_view bytes, TimePoint now);
  // `server` is for the log; empty when there is but one, or none was reached. A failure of kind overload means that this host
  // lacked something: the scan is queued again if another one is under way, and started again when that ends.
  void scan_finished(ScanId id, const rspamd::ScanResult& result, TimePoint now, std::string_view server = {});
  // `why` is for the log, if `mailbox` is unsure. `ours`: see recipients::Found.
  void lookup_finished(recipients::LookupId id, recipients::Mailbox mailbox, std::string_view why, TimePoint now,
                       bool ours = false);
  // One outcome for each recipient, by index. `server` is for the log.
  void delivery_finished(recipients::DeliveryId id, const std::vector<lmtp::Outcome>& outcomes, std::string_view server,
                         TimePoint now);

  // Gives up what is past its deadline, and sends the answers whose delay is over. To be called at next_deadline() or soon after.
  void tick(TimePoint now);
  std::optional<TimePoint> next_deadline() const;

  // What happened since the start, in figures.
  std::string counters() const { return shared_.counters.line(); }

  // smtpd is gone: all sessions end, scans are cancelled.
  void end_of_input();

  // What is to be written to smtpd next; empty when there is nothing. Valid until the next call of any other member.
  std::string_view output();
  void written(std::size_t n) { shared_.output.written(n); }

  std::vector<Command> take_commands();

  std::size_t sessions() const { return shared_.sessions.size(); }

 private:
  // A line of smtpd, and the session that it is about.
  struct Said {
    const smtpd::SmtpdLine& line;
    Session* session;  // null when it is gone, or its beginning was never seen
    bool cut;          // the line is longer than we read
    TimePoint now;
  };

  void on_line(std::string_view line, bool cut, TimePoint now);
  void on(const smtpd::Config& event, const Said& said);
  void on(const smtpd::LinkConnect& event, const Said& said);
  void on(const smtpd::LinkGreeting& event, const Said& said);
  void on(const smtpd::LinkIdentify& event, const Said& said);
  void on(const smtpd::LinkTls& event, const Said& said);
  void on(const smtpd::LinkAuth& event, const Said& said);
  void on(const smtpd::LinkDisconnect& event, const Said& said);
  void on(const smtpd::TxBegin& event, const Said& said);
  void on(const smtpd::TxMail& event, const Said& said);
  void on(const smtpd::TxEnvelope& event, const Said& said);
  void on(const smtpd::TxRcpt& event, const Said& said);
  void on(const smtpd::TxCommit& event, const Said& said);
  void on(const smtpd::TxRollback& event, const Said& said);
  void on(const smtpd::TxReset& event, const Said& said);
  void on(const smtpd::ProtocolClient& event, const Said& said);
  void on(const smtpd::OtherReport& event, const Said& said);
  void on(const smtpd::DataLine& event, const Said& said);
  void on(const smtpd::Commit& event, const Said& said);
  void on(const smtpd::RcptTo& event, const Said& said);
  void on(const smtpd::OtherRequest& event, const Said& said);
  void answer(const Said& said, std::string_view token, std::string_view what, std::string_view text = {});
  void end_transaction(const Said& said, std::string_view became);
  void end_session(Session& session, std::string_view became);

  Shared shared_;
  ScanDesk scans_;
  RecipientDesk recipients_;
  DeliveryDesk deliveries_{shared_};
  Transactions transactions_{shared_, scans_, recipients_, deliveries_};
  LineBuffer lines_;
  smtpd::RepeatedDataLine repeated_;
  bool registered_ = false;
  std::optional<TimePoint> asked_for_size_;
};

}  // namespace mailbridge::session
