// The engine's part about delivery while the client waits: which messages and recipients, and what smtpd gets then.
#include <algorithm>
#include <new>
#include <unordered_set>
#include <utility>

#include "base/text.hpp"
#include "filter/engine.hpp"
#include "filter/smtpd_rules.hpp"

namespace mailbridge::filter {
namespace {

constexpr std::size_t mark_frame = 256;  // what a mark has besides its recipients

std::string milliseconds(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

std::size_t distinct(const std::vector<std::string>& recipients) {
  return std::unordered_set<std::string_view>(recipients.begin(), recipients.end()).size();
}

std::string share(std::size_t delivered, std::size_t recipients) {
  return std::to_string(delivered) + "/" + std::to_string(recipients);
}

// Why somebody has not got it.
void append_worst(std::string& log, const Conclusion& conclusion) {
  if (!conclusion.worst) return;
  const lmtp::Outcome& worst = *conclusion.worst;
  append_field(log, "lmtp_stage", lmtp::name(worst.stage));
  if (worst.reply)
    append_field(log, "lmtp_reply", std::to_string(worst.reply->code) + " " + worst.reply->enhanced + " " + worst.reply->first());
  else append_field(log, "lmtp_error", worst.failure);
}

}  // namespace

// The decision is to let it pass.
void Engine::pass_on(Session& session, TimePoint now) {
  Transaction& tx = session.tx;
  if (!settings_.delivery) return emit(session);
  Decision& decision = *tx.decision;
  std::vector<std::string> recipients = deliverable(session, decision.header_bytes);
  if (recipients.empty()) return emit(session);
  const bool all = recipients.size() == distinct(tx.recipients);
  if (decision.discard && all) {
    append_field(tx.log, "discarded", std::to_string(recipients.size()));
    counters_.add("discarded");
    return emit(session, lmtp::seal(settings_.delivery->key, tx.msgid, recipients), true);
  }
  const bool too_large = !smtpd_max_size_ || tx.client_part.may_be_cut(*smtpd_max_size_);  // or nobody knows
  const bool silent = store_rests_until_ && (now < *store_rests_until_ || !deliveries_.empty());
  // A copy for others may leave this server, and a mark would tell them who else has the mail.
  const bool for_others = std::any_of(tx.recipients.begin(), tx.recipients.end(), [&](const std::string& recipient) {
    return !tx.verified.contains(recipient) && !tx.full.contains(recipient);
  });
  const std::string_view objection = for_others  ? "recipients"
                                     : too_large ? "size"
                                     : silent    ? "silence"
                                                 : smtpds_objection(decision.header_bytes);
  if (!objection.empty()) {
    append_field(tx.log, "left_to_smtpd", objection);
    counters_.add("left_to_smtpd", objection);
    return emit(session);
  }
  start_delivery(session, std::move(recipients), now);
}

// Recipients that can be delivered to, and marked. smtpd has the others delivered.
std::vector<std::string> Engine::deliverable(const Session& session, std::string_view head) const {
  const Transaction& tx = session.tx;
  std::vector<std::string> recipients;
  if (tx.verified.empty() || !lmtp::can_be_marked(head, tx.msgid)) return recipients;
  const std::unordered_set<std::string> coming_back = already_delivered_to(head);
  std::unordered_set<std::string_view> seen;
  std::size_t room = lmtp::max_mark - mark_frame;
  for (const std::string& recipient : tx.recipients) {
    if (!tx.verified.contains(recipient) || coming_back.contains(lower(recipient))) continue;
    if (!lmtp::address_fault(recipient).empty() || !seen.insert(recipient).second) continue;
    const std::size_t size = lmtp::marked_size(recipient);
    if (size > room) break;
    room -= size;
    recipients.push_back(recipient);
  }
  return recipients;
}

// What goes to the mail store is what smtpd would have queued.
void Engine::start_delivery(Session& session, std::vector<std::string> recipients, TimePoint now) {
  Transaction& tx = session.tx;
  Decision& decision = *tx.decision;
  if (auto completed = as_submitted(session, decision.header_bytes)) decision.header_bytes = std::move(*completed);
  lmtp::Transaction transaction;
  transaction.helo = session.client.mta_name;
  transaction.sender = tx.sender;
  for (const std::string& recipient : recipients) transaction.recipients.push_back({recipient});
  transaction.client = lmtp::ClientInfo{session.client.ip, session.client.helo, {}, session.id};
  transaction.mail = {decision.header_bytes, tx.message, decision.body_from};
  const auto& [key, timeout] = *settings_.delivery;
  // None is due before an earlier one, also after a change of the settings.
  const TimePoint before = deliveries_.empty() ? now : deliveries_.rbegin()->second.until;
  const TimePoint reply_by = now + timeout;
  std::string about;
  append_field(about, "session", session.id);
  append_field(about, "msgid", tx.msgid);
  const DeliveryId id = next_delivery_++;
  const auto started = deliveries_.emplace_hint(
      deliveries_.end(), id,
      Delivery{session.key, std::move(about), std::move(recipients), key, now, std::max(before, reply_by + grace)});
  try {
    commands_.emplace_back(StartDelivery{id, std::move(transaction), now + timeout / 2, reply_by});
  } catch (const std::bad_alloc&) {
    deliveries_.erase(started);
    throw;
  }
  tx.delivery = id;
}

void Engine::delivery_finished(DeliveryId id, const std::vector<lmtp::Outcome>& outcomes, std::string_view server,
                               TimePoint now) {
  const auto node = deliveries_.extract(id);
  if (node.empty()) return;
  const Delivery& delivery = node.mapped();
  if (!delivery.session_key) return tell_of_orphan(delivery, outcomes, server);
  Session& session = sessions_.at(*delivery.session_key);
  session.tx.delivery.reset();
  try {
    take_outcomes(session, delivery, outcomes, server, now);
  } catch (const std::bad_alloc&) {
    abandon(session);
    tell_of_orphan(delivery, outcomes, server);
  }
}

void Engine::take_outcomes(Session& session, const Delivery& delivery, const std::vector<lmtp::Outcome>& outcomes,
                           std::string_view server, TimePoint now) {
  Transaction& tx = session.tx;
  const Conclusion conclusion = conclude(delivery.recipients.size(), outcomes);
  if (conclusion.silent) store_rests_until_ = now + pause_when_silent;
  else if (!outcomes.empty() && !conclusion.ours) store_rests_until_.reset();
  std::vector<std::string> delivered;
  for (std::size_t i = 0; i < conclusion.fates.size(); ++i) {
    counters_.add("deliver", to_string(conclusion.fates[i]));
    if (conclusion.fates[i] == Fate::delivered) delivered.push_back(delivery.recipients[i]);
  }
  const std::size_t recipients = distinct(tx.recipients);
  append_field(tx.log, "delivered", share(delivered.size(), recipients));
  if (!server.empty()) append_field(tx.log, "lmtp", server);
  append_field(tx.log, "deliver_ms", milliseconds(now - delivery.started));
  append_worst(tx.log, conclusion);
  if (conclusion.failed) tx.log_level = Level::warn;
  if (conclusion.unknown) {
    tx.log_level = Level::error;
    append_field(tx.log, "deliver_note", "outcome unknown, may be delivered twice");
  }
  if (!conclusion.refusal.empty() && delivery.recipients.size() == recipients) return refuse(session, conclusion.refusal);
  std::string mark = delivered.empty() ? std::string() : lmtp::seal(delivery.key, tx.msgid, delivered);
  const std::size_t marked = delivered.size();
  emit(session, std::move(mark), marked == recipients);
  tx.delivered = marked;
}

// Its transaction ended before it did.
void Engine::tell_of_orphan(const Delivery& delivery, const std::vector<lmtp::Outcome>& outcomes, std::string_view server) {
  try {
    const Conclusion conclusion = conclude(delivery.recipients.size(), outcomes);
    if (conclusion.delivered == 0 && !conclusion.unknown) return;
    std::string line = delivery.about;
    append_field(line, "delivered", share(conclusion.delivered, delivery.recipients.size()));
    if (!server.empty()) append_field(line, "lmtp", server);
    append_worst(line, conclusion);
    append_field(line, "note",
                 conclusion.unknown ? "outcome unknown, and not taken by smtpd: may be delivered twice"
                                    : "delivered, but not taken by smtpd: the client may send it again");
    note(Level::error, std::move(line));
  } catch (const std::bad_alloc&) {  // then nobody hears of it
  }
}

// The driver is stuck: it ends a transaction itself at its deadline.
void Engine::give_up_deliveries(TimePoint now) {
  while (!deliveries_.empty() && deliveries_.begin()->second.until <= now) {
    const DeliveryId id = deliveries_.begin()->first;
    delivery_finished(id, {}, {}, now);
    try {
      commands_.emplace_back(CancelDelivery{id});
    } catch (const std::bad_alloc&) {  // then it ends by itself
    }
  }
}

// Whether there was one.
bool Engine::orphan_delivery(Transaction& tx) {
  if (!tx.delivery) return false;
  deliveries_.at(*std::exchange(tx.delivery, std::nullopt)).session_key.reset();
  return true;
}

void Engine::cancel_delivery(Transaction& tx) {
  if (!tx.delivery) return;
  commands_.emplace_back(CancelDelivery{*tx.delivery});
  orphan_delivery(tx);
}

}  // namespace mailbridge::filter
