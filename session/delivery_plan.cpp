#include "session/delivery_plan.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "lmtp/client.hpp"
#include "lmtp/mark.hpp"
#include "smtpd/rules.hpp"

namespace mailbridge::session {
namespace {

// Recipients with a mailbox to whom smtpd would not deliver: it would say that their own mail has come back to them.
std::unordered_set<std::string> came_back(const Transaction& tx, std::string_view head) {
  std::unordered_set<std::string> recipients;
  if (tx.verified.empty()) return recipients;
  const std::unordered_set<std::string> delivered_to = smtpd::already_delivered_to(head);
  if (delivered_to.empty()) return recipients;
  for (const std::string& recipient : tx.recipients) {
    if (tx.verified.contains(recipient) && delivered_to.contains(lower(recipient))) recipients.insert(recipient);
  }
  return recipients;
}

// Recipients who can be delivered to, and marked. The others are left to smtpd's queue.
std::vector<std::string> deliverable(const Transaction& tx, const std::unordered_set<std::string>& came_back) {
  std::vector<std::string> recipients;
  std::unordered_set<std::string_view> seen;
  for (const std::string& recipient : tx.recipients) {
    if (recipients.size() == lmtp::max_marked) break;
    if (!tx.verified.contains(recipient) || came_back.contains(recipient)) continue;
    if (lmtp::address_fault(recipient).empty() && seen.insert(recipient).second) recipients.push_back(recipient);
  }
  return recipients;
}

// True if smtpd has a copy for somebody else, which may leave this server with the mark. Aliases and .forward files make such
// copies, too.
bool is_for_others(const Transaction& tx) {
  return tx.expanded || std::any_of(tx.recipients.begin(), tx.recipients.end(), [&](const std::string& recipient) {
           return !tx.verified.contains(recipient) && !tx.full.contains(recipient);
         });
}

// Why the queued copy of the message cannot be marked.
std::string_view objection_to_mark(const Transaction& tx, const DeliveryPlan& plan) {
  if (is_for_others(tx)) return "recipients";
  if (plan.recipients.empty()) return plan.came_back.empty() ? "addresses" : "loop";
  return lmtp::can_be_marked(tx.decision->header_bytes, tx.msgid) ? "" : "trace";
}

// Why the message should not be delivered now, although its queued copy could be marked.
std::string_view objection_to_delivery(const Transaction& tx, const DeliveryCircumstances& circumstances) {
  if (!circumstances.max_size || tx.client_part.could_be_cut(*circumstances.max_size)) return "size";
  if (circumstances.store_is_silent) return "silence";
  return smtpd::smtpds_objection(tx.decision->header_bytes);
}

}  // namespace

std::size_t distinct(const std::vector<std::string>& recipients) {
  return std::unordered_set<std::string_view>(recipients.begin(), recipients.end()).size();
}

DeliveryPlan plan_delivery(const Transaction& tx, const DeliveryCircumstances& circumstances) {
  DeliveryPlan plan{.came_back = came_back(tx, tx.decision->header_bytes)};
  const std::size_t all = distinct(tx.recipients);
  if (!plan.came_back.empty() && plan.came_back.size() == all) {
    plan.kind = DeliveryPlan::Kind::refuse;
    return plan;
  }
  if (!circumstances.wanted || tx.verified.empty()) return plan;
  plan.recipients = deliverable(tx, plan.came_back);
  plan.objection = objection_to_mark(tx, plan);
  if (plan.objection.empty() && tx.decision->discard && plan.recipients.size() == all) {
    plan.kind = DeliveryPlan::Kind::discard;
    return plan;
  }
  if (plan.objection.empty()) plan.objection = objection_to_delivery(tx, circumstances);
  if (plan.objection.empty()) plan.kind = DeliveryPlan::Kind::deliver;
  return plan;
}

}  // namespace mailbridge::session
