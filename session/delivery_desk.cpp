#include "session/delivery_desk.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"
#include "recipients/delivery.hpp"
#include "session/delivery_plan.hpp"
#include "session/log_text.hpp"
#include "session/memory.hpp"

namespace mailbridge::session {
namespace {

using recipients::DeliveryId;

std::string share(std::size_t delivered, std::size_t recipients) {
  return std::to_string(delivered) + "/" + std::to_string(recipients);
}

// Why somebody has not got it; or, when all have it, what the server said about the first: its reply holds Dovecot's session id.
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

bool DeliveryDesk::store_is_silent(TimePoint now) const { return rests_until_ && (now < *rests_until_ || !deliveries_.empty()); }

void DeliveryDesk::start(Session& session, std::vector<std::string> recipients, TimePoint now) {
  Transaction& tx = session.tx;
  lmtp::Transaction transaction;
  transaction.helo = session.client.mta_name;
  transaction.sender = tx.sender;
  for (const std::string& recipient : recipients) transaction.recipients.push_back({recipient});
  transaction.client = lmtp::ClientInfo{session.client.ip, session.client.helo, {}, session.id + "." + tx.msgid};
  transaction.mail = {tx.decision->header_bytes, tx.message, tx.decision->body_from};
  const auto& [keys, timeout] = *shared_.settings.delivery;
  // Deadlines never decrease with the id, even after a change of the settings.
  const TimePoint before = deliveries_.empty() ? now : deliveries_.rbegin()->second.until;
  const TimePoint reply_by = now + timeout;
  std::string about;
  append_field(about, "session", session.id);
  append_field(about, "msgid", tx.msgid);
  const DeliveryId id = next_id_++;
  const auto started = deliveries_.emplace_hint(
      deliveries_.end(), id,
      Delivery{session.key, std::move(about), std::move(recipients), keys, now, std::max(before, reply_by + grace)});
  try {
    shared_.commands.emplace_back(recipients::StartDelivery{id, std::move(transaction), now + timeout / 2, reply_by});
  } catch (...) {
    deliveries_.erase(started);
    throw;
  }
  tx.delivery = id;
}

std::optional<DeliveryDesk::Delivery> DeliveryDesk::take(DeliveryId id) {
  auto node = deliveries_.extract(id);
  return node.empty() ? std::nullopt : std::optional(std::move(node.mapped()));
}

DeliveryDesk::Result DeliveryDesk::conclude(Session& session, const Delivery& delivery,
                                            const std::vector<lmtp::Outcome>& outcomes, std::string_view server, TimePoint now) {
  Transaction& tx = session.tx;
  const recipients::Conclusion conclusion = recipients::conclude(delivery.recipients.size(), outcomes);
  if (conclusion.silent) rests_until_ = now + recipients::pause_when_silent;
  else if (!outcomes.empty() && !conclusion.ours) rests_until_.reset();
  std::vector<std::string> delivered;
  for (std::size_t i = 0; i < conclusion.statuses.size(); ++i) {
    shared_.counters.add("deliver", to_string(conclusion.statuses[i]));
    if (conclusion.statuses[i] == recipients::DeliveryStatus::delivered) delivered.push_back(delivery.recipients[i]);
  }
  const std::size_t all = distinct(tx.recipients);
  append_field(tx.log, "delivered", share(delivered.size(), all));
  if (!server.empty()) append_field(tx.log, "lmtp", server);
  append_field(tx.log, "deliver_ms", milliseconds(now - delivery.started));
  append_reply(tx.log, conclusion, outcomes);
  if (conclusion.failed) tx.log_level = Level::warn;
  if (conclusion.unknown) {
    tx.log_level = Level::error;
    append_field(tx.log, "deliver_note", "outcome unknown, may be delivered twice");
  }
  if (!conclusion.refusal.empty() && delivery.recipients.size() == all) return {.refusal = conclusion.refusal};
  if (delivered.empty()) return {};
  return {.mark = lmtp::seal(delivery.keys, tx.msgid, delivered), .delivered = delivered.size()};
}

void DeliveryDesk::tell_of_orphan(const Delivery& delivery, const std::vector<lmtp::Outcome>& outcomes, std::string_view server) {
  if_memory_allows([&] {
    const recipients::Conclusion conclusion = recipients::conclude(delivery.recipients.size(), outcomes);
    if (conclusion.delivered == 0 && !conclusion.unknown) return;
    std::string line = delivery.about;
    append_field(line, "delivered", share(conclusion.delivered, delivery.recipients.size()));
    if (!server.empty()) append_field(line, "lmtp", server);
    append_reply(line, conclusion, outcomes);
    append_field(line, "note",
                 conclusion.unknown ? "outcome unknown, and not taken by smtpd: may be delivered twice"
                                    : "delivered, but not taken by smtpd: the client may send it again");
    shared_.note(Level::error, std::move(line));
  });
}

std::optional<DeliveryId> DeliveryDesk::late(TimePoint now) const {
  if (deliveries_.empty() || deliveries_.begin()->second.until > now) return std::nullopt;
  return deliveries_.begin()->first;
}

std::optional<TimePoint> DeliveryDesk::next_deadline() const {
  return deliveries_.empty() ? std::nullopt : std::optional(deliveries_.begin()->second.until);
}

std::optional<DeliveryId> DeliveryDesk::orphan(Transaction& tx) {
  const auto id = std::exchange(tx.delivery, std::nullopt);
  if (id) deliveries_.at(*id).session_key.reset();
  return id;
}

void DeliveryDesk::cancel(Transaction& tx) {
  if (!tx.delivery) return;
  shared_.commands.emplace_back(recipients::CancelDelivery{*tx.delivery});
  orphan(tx);
}

void DeliveryDesk::end_of_input() {
  for (const auto& [id, delivery] : deliveries_) tell_of_orphan(delivery, {}, {});
  deliveries_.clear();
}

}  // namespace mailbridge::session
