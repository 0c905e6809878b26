// The filter as a pure machine: bytes of smtpd and scan results in, bytes for smtpd and scan requests out.
//
// Who speaks: smtpd configures, we register; then smtpd reports what happens in each session and asks. We ask to be asked for two
// things:
//   data-line   every line of a message, "." last. Answered by lines of ours at any time, exactly one "." at the end. All lines
//   of a message
//               are held until its verdict, for headers go on top.
//   commit      after our "."; answered at once, for the verdict is known by then.
// and with --verify for a third:
//   rcpt-to     a recipient, before smtpd looks at it; answered when it is known whether Dovecot has a mailbox for it
//               (recipients/verifier.hpp), and later than that in a session, or for a client, that guesses (recipients/tarpit.hpp).
// With --deliver a message that is to pass goes to the mail store first (recipients/delivery.hpp): what smtpd gets depends on what
// came of that.
//
// A transaction lives from tx-begin (or its first data-line, which can overtake reports) to tx-reset or link-disconnect, which
// also drop its scan. Scans are named by an id that is never used twice: a result whose transaction is gone is no error. Only so
// many run at once; the others wait, and what they wait counts in their deadline.
//
// When memory runs out over a session's line or verdict, the session is forgotten: its message is refused like that of a session
// whose beginning we never saw. So the members below throw only when there is not even memory for that.
//
// Invariants, asserted by tests and fuzzers: each request is answered once, within the scan's deadline as long as tick() is
// called; nothing of a message follows its "."; no data-line is longer than max_dataline; nothing but ids and tokens that smtpd
// sent is echoed.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "base/conversation.hpp"
#include "base/line_buffer.hpp"
#include "base/note.hpp"
#include "mail/budget.hpp"
#include "mail/envelope.hpp"
#include "mail/message.hpp"
#include "policy/classes.hpp"
#include "policy/client_part.hpp"
#include "policy/decision.hpp"
#include "recipients/delivery.hpp"
#include "recipients/mailbox.hpp"
#include "recipients/tarpit.hpp"
#include "recipients/verifier.hpp"
#include "rspamd/rewritten_body.hpp"
#include "rspamd/verdict.hpp"
#include "session/counters.hpp"
#include "session/scan_queue.hpp"
#include "smtpd/line.hpp"

namespace mailbridge::session {

// What becomes of a recipient that Dovecot does not take.
struct RecipientPolicy {
  bool refuse_unknown = false;     // or it is left to smtpd, which knows aliases
  bool refuse_full = false;        // for good
  bool refuse_unverified = false;  // for now, when nobody can tell
  // Beyond it a session is answered slower, and beyond twice that not at all; a client is slowed beyond twice that. 0: no end.
  std::size_t max_unknown = 0;
};

struct Settings {
  policy::ClassSettings classes;
  std::string request_headers;                       // rspamd::ScanSettings::more
  Duration scan_timeout{};                           // the whole scan, connect included
  policy::Policy policy;
  std::size_t max_size = 0;                            // what is larger is not scanned
  bool monitor = false;                                // nothing is refused because of a verdict or a failed scan
  std::size_t memory = 0;                              // for the bodies of all messages
  std::string spool;                                   // the directory they go to beyond it
  std::size_t max_files = std::size_t(-1);             // there, at once: each is a descriptor
  std::size_t max_scans = 0;                           // at once
  std::size_t max_queue = 0;                           // of those that wait for their turn
  bool allow_rewritten_body = false;
  bool submission = false;  // do what smtpd would do to a submitted header section before the scan (mail/submission.hpp)
  recipients::VerifierSettings verify;
  RecipientPolicy recipients;
  std::optional<recipients::DeliverySettings> delivery;  // while the client waits; none: it is left to smtpd's queue
  std::string out_of_order;  // what is wrong with the configuration: register, and answer every message with a temporary failure
};

struct StartScan {
  ScanId id;
  std::string headers;  // rspamd::ScanRequest's
  std::shared_ptr<const mail::Message> message;
  TimePoint until;
  std::optional<rspamd::BodyBounds> rewritten_bounds;  // a rewritten body is wanted
};
struct CancelScan {
  ScanId id;
};
// What only an answer of smtpd's to EHLO tells is wanted: SIZE. See smtpd/size_question.hpp.
struct AskForSize {
  std::string listener;  // as link-connect names it
};
using Command = std::variant<StartScan, CancelScan, AskForSize, recipients::StartLookup, recipients::StartDelivery,
                             recipients::CancelDelivery, Note>;

class Engine {
 public:
  // `random`: see Verifier.
  explicit Engine(Settings settings, std::uint64_t random = 0);

  // From now on; what waits or is with rspamd keeps its deadline, unless a new one would be earlier.
  void use(Settings settings);

  void receive(std::string_view bytes, TimePoint now);
  // `server` is for the log; empty when there is but one, or none was reached. What has failed as overload was short of something
  // here: it waits again while other scans are under way, and is then started once more.
  void scan_finished(ScanId id, const rspamd::ScanResult& result, TimePoint now, std::string_view server = {});
  // `why` is for the log, when it is unsure. `ours`: see Found.
  void lookup_finished(recipients::LookupId id, recipients::Mailbox mailbox, std::string_view why, TimePoint now,
                       bool ours = false);
  // One outcome for each recipient, by index. `server` is for the log.
  void delivery_finished(recipients::DeliveryId id, const std::vector<lmtp::Outcome>& outcomes, std::string_view server,
                         TimePoint now);

  // What is past its deadline is given up, what is due is answered. To be called at next_deadline() or soon after.
  void tick(TimePoint now);
  std::optional<TimePoint> next_deadline() const;

  // What happened since the start, in figures.
  std::string counters() const { return counters_.line(); }

  // smtpd is gone: all sessions end, scans are cancelled.
  void end_of_input();

  // What is to be written to smtpd next; empty when there is nothing. Valid until the next call of any other member.
  std::string_view output();
  void written(std::size_t n);

  std::vector<Command> take_commands();

  std::size_t sessions() const { return sessions_.size(); }

 private:
  struct Transaction {
    std::string msgid;
    std::string sender;
    std::vector<std::string> recipients;
    std::size_t announced = 0;                 // its size, by the client; 0 when it did not say
    std::size_t envelopes = 0;                 // that smtpd has made of the next recipient
    bool expanded = false;                     // it has made several of one
    std::unordered_set<std::string> verified;  // who has a mailbox that takes it, accepted by smtpd or not
    std::size_t unverified = 0;                // recipients of the verified domains of which nobody could tell
    std::unordered_set<std::string> full;      // recipients whose mailbox has no room for what has come
    bool full_for_now = false;                 // one of these at least
    std::size_t asked_for_room = 0;            // recipients of which that is not known yet
    std::optional<policy::Decision> decision;  // to let it pass, which waits for that
    std::string data_token;
    std::shared_ptr<mail::Message> message;  // while lines come and until the verdict
    std::size_t size = 0;
    policy::ClientPart client_part;
    std::size_t longest = 0;  // of the lines, as they leave
    std::string_view unfit;   // the refusal of a message that is not even scanned; empty: it is
    bool ended = false;       // smtpd's "." came
    bool answered = false;    // our "." is on its way
    std::optional<ScanId> scan;
    std::optional<recipients::DeliveryId> delivery;
    std::size_t delivered = 0;  // recipients that have it already
    policy::Enforcement enforcement = policy::Enforcement::all;
    std::string settings_id;  // rspamd's, by class; empty: rspamd chooses
    std::optional<TimePoint> scan_wanted;
    std::string refusal;  // once answered; empty: proceed
    std::string log;      // what is known for the log line; written when the transaction ends
    Level log_level = Level::info;
  };
  struct Session {
    std::uint64_t key = 0;
    std::string id;
    smtpd::Version version;
    mail::Envelope client;  // the client's part only
    std::string listener;
    bool completed = false;  // smtpd adds Date and Message-ID
    std::size_t announced = 0;
    std::size_t unknown = 0;    // recipients
    std::size_t refused = 0;    // recipients
    std::string left_to_smtpd;  // the last unknown one that was
    Transaction tx;
  };
  // A message on its way to smtpd: `head`, then `message` from `offset` on, then ".".
  struct Emission {
    std::uint64_t session_key;
    std::string prefix;
    std::string head;
    std::size_t head_offset;
    std::shared_ptr<const mail::Message> message;  // none: `head` is all
    std::size_t offset;
    std::size_t turn = 0;  // bytes since others had theirs
  };
  struct Scan {
    std::uint64_t session_key;
    TimePoint until;
    bool begun = false;   // it may wait again after that
    bool lacked = false;  // it did
  };

  // A recipient about which smtpd waits for an answer. It is answered even when its session is gone, which smtpd minds not.
  struct RcptQuestion {
    std::uint64_t session_key;
    std::string session;
    smtpd::Version version;
    std::string token;
    std::string address;
    TimePoint not_before;
    std::optional<recipients::Mailbox> mailbox = {};  // none: it is none of Dovecot's
    recipients::Tarpit::Turn::Answer turn = recipients::Tarpit::Turn::Answer::true_one;
  };
  struct RoomQuestion {
    std::uint64_t session_key;
    std::string address;
  };

  struct Delivery {
    std::optional<std::uint64_t> session_key;  // none: its transaction is gone, and all that is left is to tell what became of it
    std::string about;                         // for the log
    std::vector<std::string> recipients;
    lmtp::MarkKeys keys;
    TimePoint started;
    TimePoint until;
  };

  // What a driver may need longer than it was given, before it is taken for stuck.
  static constexpr Duration grace = std::chrono::seconds(1);

  void on_line(std::string_view line, bool cut, TimePoint now);
  void forget(std::uint64_t session_key);
  void abandon(Session& session);
  void answer(std::string_view kind, smtpd::Version version, std::string_view session, std::string_view token,
              std::string_view what, std::string_view text = {});
  void on_config(const smtpd::Config& config);
  void on_reply(std::string_view reply);
  void on_identify(Session& session, const smtpd::LinkIdentify& event, TimePoint now);
  void on_data_line(Session& session, const smtpd::DataLine& event, bool cut, TimePoint now);
  std::string_view on_commit(Session& session);
  void end_of_data(Session& session, TimePoint now);
  void complete(Session& session);
  std::optional<std::string> as_submitted(const Session& session, std::string_view head) const;
  mail::Envelope envelope_of(const Session& session) const;
  void queue_scan(Session& session, TimePoint now);
  void give_up_scan(ScanId id, rspamd::ScanFailure::Kind kind, std::string_view why, TimePoint now);
  void start_scans(TimePoint now);
  void start_scan(Session& session, Scan& scan, ScanId id, TimePoint now);
  bool drop_scan(ScanId id);
  bool put_back(ScanId id, std::string_view why);
  void refuse(Session& session, std::string_view refusal);
  void give_up(Transaction& tx, std::string_view refusal);
  void note_lost(const Session& session, const mail::Message& message);
  void examine(Session& session, TimePoint now);
  void decide(Session& session, const rspamd::ScanResult& result, TimePoint now);
  void pass_unscanned(Session& session, TimePoint now);
  void on_rcpt_to(Session& session, const smtpd::RcptTo& event, TimePoint now);
  void on_tx_rcpt(Session& session, const smtpd::TxRcpt& event, TimePoint now);
  void tick_verifier(TimePoint now);
  void take_from_verifier(TimePoint now);
  void rcpt_verified(recipients::QuestionId id, std::optional<recipients::Mailbox> mailbox, TimePoint now);
  void answer_rcpt(recipients::QuestionId id);
  void count_refused(Session& session, const RcptQuestion& question, std::string_view refusal);
  bool is_counted(const Session& session) const;
  void count_unknown(Session& session, TimePoint now);
  Duration slowness(const Session& session) const;
  void ask_for_room(Session& session, TimePoint now);
  void room_known(recipients::QuestionId id, recipients::Mailbox mailbox, TimePoint now);
  void take_room(Session& session, const std::string& address, recipients::Mailbox mailbox, TimePoint now);
  void forget_room_questions(Session& session);
  void end_session(Session& session, std::string_view became);
  void proceed(Session& session, policy::Decision decision, TimePoint now);
  void pass_on(Session& session, TimePoint now);
  std::unordered_set<std::string> coming_back(const Transaction& tx, std::string_view head) const;
  std::vector<std::string> deliverable(const Transaction& tx, const std::unordered_set<std::string>& loops) const;
  void start_delivery(Session& session, std::vector<std::string> recipients, TimePoint now);
  void take_outcomes(Session& session, const Delivery& delivery, const std::vector<lmtp::Outcome>& outcomes,
                     std::string_view server, TimePoint now);
  void tell_of_orphan(const Delivery& delivery, const std::vector<lmtp::Outcome>& outcomes, std::string_view server);
  void give_up_deliveries(TimePoint now);
  bool orphan_delivery(Transaction& tx);
  void cancel_delivery(Transaction& tx);
  void emit(Session& session, std::string mark = {});
  void cancel_scan(Transaction& tx);
  void end_transaction(Session& session, std::string_view became);
  void refill();
  void note(Level level, std::string text);

  Settings settings_;
  std::shared_ptr<mail::Budget> budget_ = std::make_shared<mail::Budget>();
  LineBuffer lines_;
  smtpd::RepeatedDataLine repeated_;
  std::string admd_;
  std::string smtpd_version_;
  bool smtpd_escapes_in_quotes_ = false;
  std::optional<std::size_t> smtpd_max_size_;
  std::optional<TimePoint> asked_for_size_;
  bool registered_ = false;
  bool asked_about_recipients_ = false;
  std::unordered_map<std::uint64_t, Session> sessions_;
  // None has more patience than a later one, so the first of either is the one due first.
  std::map<ScanId, Scan> waiting_;
  std::map<ScanId, Scan> scans_;
  ScanQueue queue_{0, 0};
  ScanId next_scan_ = 1;
  recipients::Verifier verifier_;
  recipients::QuestionId next_question_ = 1;
  std::map<recipients::QuestionId, RcptQuestion> rcpts_;
  std::set<std::pair<TimePoint, recipients::QuestionId>> slowed_;  // those of rcpts_ that are only to be answered
  recipients::Tarpit tarpit_;
  std::map<recipients::QuestionId, RoomQuestion> rooms_;
  std::map<recipients::DeliveryId, Delivery> deliveries_;  // none is due before an earlier one
  recipients::DeliveryId next_delivery_ = 1;
  std::optional<TimePoint> store_rests_until_;  // since then it is silent
  std::list<Emission> emissions_;
  std::string out_;
  std::size_t out_from_ = 0;
  std::vector<Command> commands_;
  Counters counters_;
};

}  // namespace mailbridge::session
