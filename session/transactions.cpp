#include "session/transactions.hpp"

#include <algorithm>
#include <utility>

#include "base/dot_stuffing.hpp"
#include "base/text.hpp"
#include "mail/submission.hpp"
#include "rspamd/scan_request.hpp"
#include "session/delivery_plan.hpp"
#include "session/log_text.hpp"
#include "session/memory.hpp"
#include "smtpd/line.hpp"

namespace mailbridge::session {
namespace {

// No real header section is that large; smtpd itself limits a field, not the section.
constexpr std::size_t max_head = std::size_t{4} * 1024 * 1024;
// A body that rspamd rewrites may get another encoding or a footer: it may have twice the size of the message plus this.
constexpr std::size_t rewriting_slack = std::size_t{1024} * 1024;

constexpr auto overload = rspamd::ScanFailure::Kind::overload;

constexpr std::string_view out_of_order = "451 4.3.0 Mail scanning is out of order, try again later";
constexpr std::string_view cut_off = "552 5.3.4 Message is larger than this server takes";
constexpr std::string_view line_too_long = "554 5.6.0 Message holds a line that is too long";
constexpr std::string_view head_too_large = "554 5.6.0 Message has a header section that is too large";
// smtpd's words for it (smtp_session.c, smtp_message_end).
constexpr std::string_view malformed = "550 5.7.1 Delivery not authorized, message refused: Message is not RFC 2822 compliant";
constexpr std::string_view no_storage = "451 4.3.1 Not enough storage for the message, try again later";
constexpr std::string_view mail_loop = "554 5.4.6 Mail loop: the message was delivered to this mailbox before";

std::string joined(const std::unordered_set<std::string>& recipients) {
  std::string list;
  for (const std::string& recipient : recipients) list.append(list.empty() ? "" : ",").append(recipient);
  return list;
}

policy::OwnNames own_names(const Shared& shared, const Session& session) { return {shared.smtpd.admd, session.client.mta_name}; }

}  // namespace

// ---- data

void Transactions::data_line(Session& session, const smtpd::DataLine& event, bool cut, TimePoint now) {
  Transaction& tx = session.tx;
  if (tx.is_complete()) return;
  tx.data_token = event.token;
  if (!cut && is_end_of_data(event.line)) {
    tx.enter(Phase::scan);
    return end_of_data(session, now);
  }
  if (tx.phase == Phase::envelope) tx.enter(Phase::data);
  tx.size += unstuffed(event.line).size() + 2;
  tx.client_part.line(event.line);
  if (!tx.unfit.empty()) return;
  if (!shared_.settings.out_of_order.empty()) return give_up(tx, out_of_order);
  if (cut || event.line.size() > smtpd::max_dataline) return give_up(tx, line_too_long);
  if (tx.client_part.continues_trace()) return give_up(tx, malformed);
  tx.longest = std::max(tx.longest, event.line.size());
  if (!tx.message) tx.message = std::make_shared<mail::Message>(shared_.budget);
  tx.message->append_line(unstuffed(event.line));
  if (tx.message->head().size() > max_head) return give_up(tx, head_too_large);
  if (!tx.message->failed()) return;
  note_lost(session, *tx.message);
  give_up(tx, no_storage);
}

// The message will be refused at its ".". Its memory and its file are free at once, and the lines that still come are ignored.
void Transactions::give_up(Transaction& tx, std::string_view refusal) const {
  tx.unfit = refusal;
  tx.message.reset();
}

void Transactions::note_lost(const Session& session, const mail::Message& message) {
  shared_.note(Level::error, "session=" + session.id + " msgid=" + printable(session.tx.msgid, 16) +
                                 " the message is deferred: " + printable(shared_.settings.spool, 200) + ": " +
                                 message.failure().message());
}

void Transactions::end_of_data(Session& session, TimePoint now) {
  Transaction& tx = session.tx;
  if (shared_.settings.submission) complete(session);
  begin_log(session);
  if (!shared_.settings.out_of_order.empty()) {
    tx.log_level = Level::error;
    append_field(tx.log, "out_of_order", shared_.settings.out_of_order);
    return refuse(session, out_of_order);
  }
  if (!tx.unfit.empty()) return refuse(session, tx.unfit);
  if (smtpd::dialect_of(session.version).cuts_long_lines && tx.longest > smtpd::cut_dataline) {
    shared_.note(Level::warn, "session=" + session.id + " msgid=" + printable(tx.msgid, 16) + " a line of " +
                                  std::to_string(tx.longest) + " bytes will be cut to 1997 by this version of smtpd");
  }
  recipients_.ask_for_room(session, now);
  examine(session, now);
}

void Transactions::begin_log(Session& session) const {
  Transaction& tx = session.tx;
  append_field(tx.log, "session", session.id);
  append_field(tx.log, "msgid", tx.msgid);
  append_field(tx.log, "ip", session.client.ip);
  append_field(tx.log, "from", tx.sender);
  append_field(tx.log, "rcpts", std::to_string(tx.recipients.size()));
  if (shared_.asked_about_recipients) {
    const auto verified = std::count_if(tx.recipients.begin(), tx.recipients.end(),
                                        [&](const std::string& address) { return tx.verified.contains(address); });
    append_field(tx.log, "verified", std::to_string(verified));
  }
  if (tx.unverified > 0) append_field(tx.log, "unverified", std::to_string(tx.unverified));
  append_field(tx.log, "size", std::to_string(tx.size));
}

// ---- scan

// Decides whether the message is scanned, and how.
void Transactions::examine(Session& session, TimePoint now) {
  Transaction& tx = session.tx;
  const Settings& settings = shared_.settings;
  const std::optional<std::size_t> max_size = shared_.smtpd.max_size;
  const auto without_scan = [&](std::string_view why) {
    append_field(tx.log, "scan", why);
    shared_.counters.add("scan", why);
  };
  if (!tx.message) tx.message = std::make_shared<mail::Message>(shared_.budget);
  const policy::ClassSet holds = settings.classes.of(envelope_of(session));
  if (const auto skipped = settings.classes.skip.first_of(holds)) {
    without_scan("skipped");
    append_field(tx.log, "class", to_string(*skipped));
    return pass_unscanned(session, now);
  }
  if (tx.client_part.empty()) {  // rspamd judges no empty message
    without_scan("empty");
    return pass_unscanned(session, now);
  }
  // smtpd has probably kept lines to itself, and is about to refuse it. So do we: if that is wrong, it would pass unscanned.
  if (max_size && tx.client_part.may_be_cut(*max_size)) {
    without_scan("cut-off");
    return refuse(session, cut_off);
  }
  if (settings.monitor) tx.enforcement = policy::Enforcement::none;
  else if (settings.classes.soften.first_of(holds)) tx.enforcement = policy::Enforcement::softened;
  tx.settings_id = settings.classes.settings_id_for(holds);
  if (tx.size > settings.max_size) {
    const std::string what = std::to_string(tx.size) + " bytes are more than " + std::to_string(settings.max_size);
    return decide(session, tl::unexpected(rspamd::ScanFailure{rspamd::ScanFailure::Kind::too_large, what}), now);
  }
  want_scan(session, now);
}

// Makes those changes to the header section that smtpd makes after its filters: rspamd then scans, and signs, what really leaves.
void Transactions::complete(Session& session) const {
  Transaction& tx = session.tx;
  if (!tx.message || (!session.completed && session.client.user.empty())) return;
  auto completed = as_submitted(session, tx.message->head());
  if (!completed) return;
  tx.message->replace_head(std::move(*completed));
  tx.size = tx.message->size();
}

// The header section as smtpd will make it; none if smtpd changes nothing.
std::optional<std::string> Transactions::as_submitted(const Session& session, std::string_view head) const {
  const mail::Envelope& client = session.client;
  const std::string& msgid = session.tx.msgid;
  if (client.mta_name.empty()) return std::nullopt;
  const std::string_view date = session.completed ? mail::received_date(head, msgid) : std::string_view();
  const std::string message_id =
      session.completed && !msgid.empty() ? "<" + msgid + "." + session.id + "@" + client.mta_name + ">" : "";
  return mail::as_submitted(head, {client.mta_name, date, message_id, shared_.smtpd.escapes_in_quotes, smtpd::max_dataline});
}

void Transactions::want_scan(Session& session, TimePoint now) {
  const ScanDesk::Added added = scans_.add(session.key, session.client.ip, now);
  session.tx.scan = added.id;
  session.tx.scan_wanted = now;
  if (added.displaced) give_up_scan(*added.displaced, overload, "too many scans are under way: no room to wait", now);
}

void Transactions::give_up_scan(const ScanDesk::Owned& scan, rspamd::ScanFailure::Kind kind, std::string_view why,
                                TimePoint now) {
  Session& session = shared_.sessions.at(scan.session_key);
  session.tx.scan.reset();
  const bool rspamd_has_it = scans_.drop(scan.id);
  within_memory(
      [&] {
        if (rspamd_has_it) shared_.commands.emplace_back(CancelScan{scan.id});
        decide(session, tl::unexpected(rspamd::ScanFailure{kind, std::string(why)}), now);
      },
      [&] { abandon(session); });
}

void Transactions::start_scans(TimePoint now) {
  while (const auto late = scans_.late_waiting(now)) {
    give_up_scan(*late, overload, "too many scans are under way: no turn in time", now);
  }
  while (const auto turn = scans_.begin()) {
    Session& session = shared_.sessions.at(turn->session_key);
    within_memory([&] { start_scan(session, *turn, now); }, [&] { abandon(session); });
  }
}

void Transactions::start_scan(Session& session, const ScanDesk::Turn& turn, TimePoint now) {
  Transaction& tx = session.tx;
  rspamd::ScanRequest request =
      rspamd::scan_request(envelope_of(session), {tx.settings_id, session.id, shared_.settings.request_headers});
  if (turn.first) {
    if (request.recipients_left_out > 0) append_field(tx.log, "rcpts_not_scanned", std::to_string(request.recipients_left_out));
    if (now > *tx.scan_wanted) append_field(tx.log, "queue_ms", milliseconds(now - *tx.scan_wanted));
  }
  std::optional<rspamd::BodyBounds> rewritten_bounds;
  if (shared_.settings.allow_rewritten_body && tx.enforcement != policy::Enforcement::none) {
    rewritten_bounds = {shared_.budget, 2 * tx.message->size() + rewriting_slack, smtpd::max_dataline};
  }
  shared_.commands.emplace_back(
      StartScan{turn.id, std::move(request.headers), tx.message, turn.until, std::move(rewritten_bounds)});
}

// Puts a scan that could not begin back into the queue. False if no other scan is under way whose end could be waited for.
bool Transactions::wait_again(Session& session, ScanId id, std::string_view why) {
  ScanDesk::PutBack put_back = ScanDesk::PutBack::refused;
  if_memory_allows([&] { put_back = scans_.put_back(id, session.client.ip); });
  if (put_back == ScanDesk::PutBack::first_time) if_memory_allows([&] { append_field(session.tx.log, "lacking", why); });
  return put_back != ScanDesk::PutBack::refused;
}

void Transactions::scan_finished(ScanId id, const rspamd::ScanResult& result, std::string_view server, TimePoint now) {
  const auto session_key = scans_.under_way(id);
  if (!session_key) return;
  Session& session = shared_.sessions.at(*session_key);
  const bool lacked_something = !result && result.error().kind == overload;
  if (lacked_something && !session.tx.message->failed() && wait_again(session, id, result.error().what)) return;
  scans_.drop(id);
  session.tx.scan.reset();
  within_memory(
      [&] {
        if (!server.empty()) append_field(session.tx.log, "server", server);
        decide(session, result, now);
      },
      [&] { abandon(session); });
}

void Transactions::cancel_scan(Transaction& tx) {
  if (!tx.scan) return;
  const ScanId id = *std::exchange(tx.scan, std::nullopt);
  if (scans_.drop(id)) shared_.commands.emplace_back(CancelScan{id});
}

// ---- verdict

void Transactions::decide(Session& session, const rspamd::ScanResult& result, TimePoint now) {
  Transaction& tx = session.tx;
  if (tx.message->failed()) {  // rspamd did not see all of it
    note_lost(session, *tx.message);
    return refuse(session, no_storage);
  }
  const Duration took = tx.scan_wanted ? now - *tx.scan_wanted : Duration();
  policy::Decision decision =
      policy::decide(tx.message->head(), result, shared_.settings.policy, tx.enforcement, own_names(shared_, session), took);
  const bool applied = result && result->rewritten_body && *result->rewritten_body && decision.refusal.empty();
  if (result) log_verdict(tx, *result, applied);
  if (!result || decision.body_unusable) log_failure(tx, result);
  for (const std::string& name : decision.dropped_headers) append_field(tx.log, "header_dropped", name);
  if (tx.scan_wanted) append_field(tx.log, "scan_ms", milliseconds(took));
  if (!decision.refusal.empty()) return refuse(session, decision.refusal);
  if (applied) {
    tx.message = *result->rewritten_body;
    decision.body_from = 0;
  }
  pass(session, std::move(decision), now);
}

void Transactions::log_verdict(Transaction& tx, const rspamd::Verdict& verdict, bool applied) {
  append_field(tx.log, "action", verdict.action);
  shared_.counters.add("action", verdict.action);
  append_field(tx.log, "score", decimal(verdict.score) + "/" + decimal(verdict.required_score));
  append_field(tx.log, "symbols", top_symbols(verdict.symbols));
  if (verdict.has_rewritten_body) {
    append_field(tx.log, applied ? "applied" : "not_applied", "rewritten body");
    if (!applied) shared_.counters.add("not_applied", "rewritten body");
  }
  for (const std::string& name : verdict.unsupported) {
    append_field(tx.log, "not_applied", name);
    shared_.counters.add("not_applied", name);
  }
}

// There is no verdict, or one with a rewritten body that cannot be used.
void Transactions::log_failure(Transaction& tx, const rspamd::ScanResult& result) {
  const std::string_view error = to_string(result ? rspamd::ScanFailure::Kind::unreadable : result.error().kind);
  tx.log_level = Level::warn;
  append_field(tx.log, "error", error);
  shared_.counters.add("error", error);
  append_field(tx.log, "reason", result ? result->rewritten_body.error().what : result.error().what);
}

void Transactions::pass_unscanned(Session& session, TimePoint now) {
  pass(session, policy::pass_unscanned(session.tx.message->head(), own_names(shared_, session)), now);
}

// The message is accepted, as far as its verdict goes: room in the mailboxes and delivery are still open.
void Transactions::pass(Session& session, policy::Decision decision, TimePoint now) {
  Transaction& tx = session.tx;
  if (!decision.not_said.empty()) append_field(tx.log, "instead_of", decision.not_said);
  tx.decision = std::move(decision);
  tx.enter(Phase::room);
  if (tx.asked_for_room == 0) deliver_or_queue(session, now);
}

// ---- room and delivery

void Transactions::room_known(Session& session, const std::string& address, recipients::Mailbox mailbox, TimePoint now) {
  using recipients::Mailbox;
  Transaction& tx = session.tx;
  --tx.asked_for_room;
  shared_.counters.add("room", to_string(mailbox));
  if (mailbox == Mailbox::full || mailbox == Mailbox::full_for_now || mailbox == Mailbox::too_large) tx.full.insert(address);
  if (mailbox == Mailbox::full_for_now) tx.full_for_now = true;
  if (mailbox != Mailbox::known && mailbox != Mailbox::unsure) tx.verified.erase(address);
  if (tx.asked_for_room > 0) return;
  if (!tx.full.empty()) append_field(tx.log, "full", std::to_string(tx.full.size()));
  const bool for_nobody = std::all_of(tx.recipients.begin(), tx.recipients.end(),
                                      [&](const std::string& recipient) { return tx.full.contains(recipient); });
  if (for_nobody) {
    cancel_scan(tx);
    refuse(session, no_room(shared_.settings.recipients.refuse_full && !tx.full_for_now));
  } else if (tx.phase == Phase::room) {
    deliver_or_queue(session, now);
  }
}

void Transactions::deliver_or_queue(Session& session, TimePoint now) {
  Transaction& tx = session.tx;
  const auto& delivery = shared_.settings.delivery;
  DeliveryPlan plan = plan_delivery(tx, {delivery.has_value(), shared_.smtpd.max_size, deliveries_.store_is_silent(now)});
  if (!plan.came_back.empty()) append_field(tx.log, "loops", joined(plan.came_back));
  switch (plan.kind) {
    case DeliveryPlan::Kind::refuse:
      return refuse(session, mail_loop);
    case DeliveryPlan::Kind::discard:
      append_field(tx.log, "discarded", std::to_string(plan.recipients.size()));
      shared_.counters.add("discarded");
      return emit(session, lmtp::seal(delivery->keys, tx.msgid, plan.recipients));
    case DeliveryPlan::Kind::deliver:
      // What goes to the mail store is what smtpd would have queued.
      if (auto completed = as_submitted(session, tx.decision->header_bytes)) tx.decision->header_bytes = std::move(*completed);
      deliveries_.start(session, std::move(plan.recipients), now);
      return tx.enter(Phase::delivery);
    case DeliveryPlan::Kind::queue:
      break;
  }
  if (!plan.objection.empty()) {
    append_field(tx.log, "left_to_smtpd", plan.objection);
    shared_.counters.add("left_to_smtpd", plan.objection);
  }
  emit(session);
}

void Transactions::delivery_finished(recipients::DeliveryId id, const std::vector<lmtp::Outcome>& outcomes,
                                     std::string_view server, TimePoint now) {
  const auto delivery = deliveries_.take(id);
  if (!delivery) return;
  if (!delivery->session_key) return deliveries_.tell_of_orphan(*delivery, outcomes, server);
  Session& session = shared_.sessions.at(*delivery->session_key);
  session.tx.delivery.reset();
  within_memory(
      [&] {
        DeliveryDesk::Result result = deliveries_.conclude(session, *delivery, outcomes, server, now);
        if (!result.refusal.empty()) return refuse(session, result.refusal);
        emit(session, std::move(result.mark));
        session.tx.delivered = result.delivered;
      },
      [&] {
        abandon(session);
        deliveries_.tell_of_orphan(*delivery, outcomes, server);
      });
}

// ---- answer

// The message goes back to smtpd, with `mark` on top.
void Transactions::emit(Session& session, std::string mark) {
  Transaction& tx = session.tx;
  policy::Decision decision = *std::exchange(tx.decision, std::nullopt);
  shared_.output.message(session.key, session.version, session.id, tx.data_token, std::move(mark.append(decision.header_bytes)),
                         std::move(tx.message), decision.body_from);
  tx.enter(Phase::answered);
}

// Nothing of a refused message goes back: smtpd would only throw it away.
void Transactions::refuse(Session& session, std::string_view refusal) {
  Transaction& tx = session.tx;
  tx.refusal = refusal;
  tx.message.reset();
  tx.decision.reset();
  recipients_.forget_room(session);
  if (tx.is_complete()) shared_.output.answer("filter-dataline", session.version, session.id, tx.data_token, ".");
  tx.enter(Phase::answered);
}

std::string_view Transactions::commit(Session& session) {
  Transaction& tx = session.tx;
  if (!tx.is_answered()) {
    cancel_scan(tx);
    deliveries_.cancel(tx);
    refuse(session, no_verdict);
  }
  return tx.refusal;
}

void Transactions::lost(std::uint64_t session_key, const mail::Message& message) {
  Session* session = shared_.find(session_key);
  if (!session) return;  // the commit of a forgotten one is refused anyway
  note_lost(*session, message);
  session->tx.refusal = no_storage;
}

void Transactions::end(Session& session, std::string_view became) {
  cancel_scan(session.tx);
  deliveries_.cancel(session.tx);
  recipients_.forget_room(session);
  shared_.output.drop(session.key);
  if (!session.tx.log.empty()) log_end(session.tx, became);
  session.tx = Transaction{};
}

void Transactions::log_end(Transaction& tx, std::string_view became) {
  const bool proceeds = tx.is_answered() && tx.refusal.empty();
  append_field(tx.log, "answer", !tx.is_answered() ? "none" : proceeds ? "proceed" : tx.refusal);
  shared_.counters.add("mails");
  shared_.counters.add("answer", !tx.is_answered()      ? "none"
                                 : proceeds             ? "proceed"
                                 : tx.refusal[0] == '4' ? "tempfail"
                                                        : "reject");
  shared_.counters.add("result", became);
  append_field(tx.log, "result", became);
  if (tx.delivered > 0 && became != "committed") {
    tx.log_level = Level::error;
    append_field(tx.log, "note", "delivered, but not taken by smtpd: the client may send it again");
  }
  shared_.note(tx.log_level, std::move(tx.log));
}

// The memory ran out after the end of the message: smtpd gets the "." that it waits for, and the session is forgotten.
void Transactions::abandon(Session& session) {
  session.tx.message.reset();
  shared_.output.answer("filter-dataline", session.version, session.id, session.tx.data_token, ".");
  forget(session.key);
}

void Transactions::forget(std::uint64_t session_key) {
  const auto session = shared_.sessions.find(session_key);
  if (session == shared_.sessions.end()) return;
  Transaction& tx = session->second.tx;
  const std::optional<ScanId> scan = tx.scan;
  const auto delivery = deliveries_.orphan(tx);
  recipients_.forget_room(session->second);
  const std::string id = std::move(session->second.id);
  shared_.sessions.erase(session);
  const bool rspamd_has_it = scan && scans_.drop(*scan);
  if_memory_allows([&] {  // without these commands scan and delivery end at their own deadlines
    if (rspamd_has_it) shared_.commands.emplace_back(CancelScan{*scan});
    if (delivery) shared_.commands.emplace_back(recipients::CancelDelivery{*delivery});
    shared_.note(Level::error, "session=" + id + " is given up: out of memory");
  });
}

// ---- time

void Transactions::go_on(TimePoint now) {
  take_room(now);
  start_scans(now);
}

void Transactions::take_room(TimePoint now) {
  if_memory_allows([&] {
    while (const auto room = recipients_.next(now)) {
      Session& session = shared_.sessions.at(room->session_key);
      within_memory([&] { room_known(session, room->address, room->mailbox, now); }, [&] { abandon(session); });
    }
  });
}

void Transactions::tick(TimePoint now) {
  recipients_.tick(now);
  take_room(now);
  recipients_.answer_slowed(now);
  start_scans(now);
  while (const auto late = scans_.late_under_way(now)) {
    give_up_scan(*late, rspamd::ScanFailure::Kind::timed_out, "no verdict in time", now);
    start_scans(now);
  }
  while (const auto late = deliveries_.late(now)) {
    delivery_finished(*late, {}, {}, now);
    if_memory_allows([&] { shared_.commands.emplace_back(recipients::CancelDelivery{*late}); });
  }
}

}  // namespace mailbridge::session
