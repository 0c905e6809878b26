// The engine's part about delivery while the client waits: which messages and recipients, and what smtpd gets then.
#include <algorithm>
#include <new>
#include <unordered_set>
#include <utility>

#include "base/text.hpp"
#include "session/engine.hpp"
#include "smtpd/rules.hpp"

namespace mailbridge::session {
namespace {

constexpr std::string_view comes_back = "554 5.4.6 Mail loop: the message was delivered to this mailbox before";

std::string milliseconds(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

std::size_t distinct(const std::vector<std::string>& recipients) {
  return std::unordered_set<std::string_view>(recipients.begin(), recipients.end()).size();
}

std::string share(std::size_t delivered, std::size_t recipients) {
  return std::to_string(delivered) + "/" + std::to_string(recipients);
}

std::string joined(const std::unordered_set<std::string>& recipients) {
  std::string list;
  for (const std::string& recipient : recipients) list.append(list.empty() ? "" : ",").append(recipient);
  return list;
}

// Why somebody has not got it; or, when all have it, what the server said to the first: Dovecot names its session.
void append_reply(std::string& log, const recipients::Conclusion& conclusion, const std::vector<lmtp::Outcome>& outcomes) {
  if (!conclusion.worst && outcomes.empty()) return;
  const lmtp::Outcome& outcome = conclusion.worst ? *conclusion.worst : outcomes.front();
  if (conclusion.worst) append_field(log, "lmtp_stage", lmtp::name(outcome.stage));
  if (outcome.reply)
    append_field(log, "lmtp_reply",
                 std::to_string(outcome.reply->code) + " " + outcome.reply->enhanced + " " + outcome.reply->first());
  else append_field(log, "lmtp_error", outcome.failure);
}

}  // namespace

// The decision is to let it pass.
void Engine::pass_on(Session& session, TimePoint now) {
  Transaction& tx = session.tx;
  policy::Decision& decision = *tx.decision;
  const std::size_t all = distinct(tx.recipients);
  const std::unordered_set<std::string> loops = coming_back(tx, decision.header_bytes);
  if (!loops.empty()) append_field(tx.log, "loops", joined(loops));
  if (!loops.empty() && loops.size() == all) return refuse(session, comes_back);
  if (!settings_.delivery || tx.verified.empty()) return emit(session);
  std::vector<std::string> recipients = deliverable(tx, loops);
  // What smtpd has for others may leave this server, and so may what it makes of a recipient who is several.
  const bool for_others =
      tx.expanded || std::any_of(tx.recipients.begin(), tx.recipients.end(), [&](const std::string& recipient) {
        return !tx.verified.contains(recipient) && !tx.full.contains(recipient);
      });
  std::string_view objection;
  if (for_others) objection = "recipients";
  else if (recipients.empty()) objection = loops.empty() ? "addresses" : "loop";
  else if (!lmtp::can_be_marked(decision.header_bytes, tx.msgid)) objection = "trace";
  if (objection.empty() && decision.discard && recipients.size() == all) {
    append_field(tx.log, "discarded", std::to_string(recipients.size()));
    counters_.add("discarded");
    return emit(session, lmtp::seal(settings_.delivery->keys, tx.msgid, recipients));
  }
  const bool may_be_cut = !smtpd_max_size_ || tx.client_part.could_be_cut(*smtpd_max_size_);  // or nobody knows
  const bool silent = store_rests_until_ && (now < *store_rests_until_ || !deliveries_.empty());
  if (objection.empty() && may_be_cut) objection = "size";
  if (objection.empty() && silent) objection = "silence";
  if (objection.empty()) objection = smtpd::smtpds_objection(decision.header_bytes);
  if (objection.empty()) return start_delivery(session, std::move(recipients), now);
  append_field(tx.log, "left_to_smtpd", objection);
  counters_.add("left_to_smtpd", objection);
  emit(session);
}

// Recipients with a mailbox to whom smtpd would not have it delivered, for it takes it for their own mail that comes back.
std::unordered_set<std::string> Engine::coming_back(const Transaction& tx, std::string_view head) const {
  std::unordered_set<std::string> recipients;
  if (tx.verified.empty()) return recipients;
  const std::unordered_set<std::string> delivered_to = smtpd::already_delivered_to(head);
  if (delivered_to.empty()) return recipients;
  for (const std::string& recipient : tx.recipients) {
    if (tx.verified.contains(recipient) && delivered_to.contains(lower(recipient))) recipients.insert(recipient);
  }
  return recipients;
}

// Recipients that can be delivered to, and marked. smtpd has the others delivered.
std::vector<std::string> Engine::deliverable(const Transaction& tx, const std::unordered_set<std::string>& loops) const {
  std::vector<std::string> recipients;
  std::unordered_set<std::string_view> seen;
  for (const std::string& recipient : tx.recipients) {
    if (recipients.size() == lmtp::max_marked) break;
    if (!tx.verified.contains(recipient) || loops.contains(recipient)) continue;
    if (lmtp::address_fault(recipient).empty() && seen.insert(recipient).second) recipients.push_back(recipient);
  }
  return recipients;
}

// What goes to the mail store is what smtpd would have queued.
void Engine::start_delivery(Session& session, std::vector<std::string> recipients, TimePoint now) {
  Transaction& tx = session.tx;
  policy::Decision& decision = *tx.decision;
  if (auto completed = as_submitted(session, decision.header_bytes)) decision.header_bytes = std::move(*completed);
  lmtp::Transaction transaction;
  transaction.helo = session.client.mta_name;
  transaction.sender = tx.sender;
  for (const std::string& recipient : recipients) transaction.recipients.push_back({recipient});
  transaction.client = lmtp::ClientInfo{session.client.ip, session.client.helo, {}, session.id + "." + tx.msgid};
  transaction.mail = {decision.header_bytes, tx.message, decision.body_from};
  const auto& [keys, timeout] = *settings_.delivery;
  // None is due before an earlier one, also after a change of the settings.
  const TimePoint before = deliveries_.empty() ? now : deliveries_.rbegin()->second.until;
  const TimePoint reply_by = now + timeout;
  std::string about;
  append_field(about, "session", session.id);
  append_field(about, "msgid", tx.msgid);
  const recipients::DeliveryId id = next_delivery_++;
  const auto started = deliveries_.emplace_hint(
      deliveries_.end(), id,
      Delivery{session.key, std::move(about), std::move(recipients), keys, now, std::max(before, reply_by + grace)});
  try {
    commands_.emplace_back(recipients::StartDelivery{id, std::move(transaction), now + timeout / 2, reply_by});
  } catch (const std::bad_alloc&) {
    deliveries_.erase(started);
    throw;
  }
  tx.delivery = id;
}

void Engine::delivery_finished(recipients::DeliveryId id, const std::vector<lmtp::Outcome>& outcomes, std::string_view server,
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
  const recipients::Conclusion conclusion = recipients::conclude(delivery.recipients.size(), outcomes);
  if (conclusion.silent) store_rests_until_ = now + recipients::pause_when_silent;
  else if (!outcomes.empty() && !conclusion.ours) store_rests_until_.reset();
  std::vector<std::string> delivered;
  for (std::size_t i = 0; i < conclusion.statuses.size(); ++i) {
    counters_.add("deliver", to_string(conclusion.statuses[i]));
    if (conclusion.statuses[i] == recipients::DeliveryStatus::delivered) delivered.push_back(delivery.recipients[i]);
  }
  const std::size_t recipients = distinct(tx.recipients);
  append_field(tx.log, "delivered", share(delivered.size(), recipients));
  if (!server.empty()) append_field(tx.log, "lmtp", server);
  append_field(tx.log, "deliver_ms", milliseconds(now - delivery.started));
  append_reply(tx.log, conclusion, outcomes);
  if (conclusion.failed) tx.log_level = Level::warn;
  if (conclusion.unknown) {
    tx.log_level = Level::error;
    append_field(tx.log, "deliver_note", "outcome unknown, may be delivered twice");
  }
  if (!conclusion.refusal.empty() && delivery.recipients.size() == recipients) return refuse(session, conclusion.refusal);
  emit(session, delivered.empty() ? std::string() : lmtp::seal(delivery.keys, tx.msgid, delivered));
  tx.delivered = delivered.size();
}

// Its transaction ended before it did.
void Engine::tell_of_orphan(const Delivery& delivery, const std::vector<lmtp::Outcome>& outcomes, std::string_view server) {
  try {
    const recipients::Conclusion conclusion = recipients::conclude(delivery.recipients.size(), outcomes);
    if (conclusion.delivered == 0 && !conclusion.unknown) return;
    std::string line = delivery.about;
    append_field(line, "delivered", share(conclusion.delivered, delivery.recipients.size()));
    if (!server.empty()) append_field(line, "lmtp", server);
    append_reply(line, conclusion, outcomes);
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
    const recipients::DeliveryId id = deliveries_.begin()->first;
    delivery_finished(id, {}, {}, now);
    try {
      commands_.emplace_back(recipients::CancelDelivery{id});
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
  commands_.emplace_back(recipients::CancelDelivery{*tx.delivery});
  orphan_delivery(tx);
}

}  // namespace mailbridge::session
