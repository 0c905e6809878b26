#include "recipients/mailbox.hpp"

#include <algorithm>

namespace mailbridge::recipients {

std::string text_of(const lmtp::Reply& reply) {
  return std::to_string(reply.code) + " " + reply.enhanced + (reply.enhanced.empty() ? "" : " ") + reply.last();
}

Mailbox mailbox_of(int code, std::string_view enhanced) {
  if (code / 100 == 4) return enhanced == "4.2.2" ? Mailbox::full_for_now : Mailbox::unsure;
  if (code / 100 != 5) return Mailbox::unsure;
  if (enhanced == "5.2.2") return Mailbox::full;
  if (enhanced == "5.2.3" || enhanced == "5.3.4") return Mailbox::too_large;
  if (enhanced.starts_with("5.1.") || enhanced == "5.2.1") return Mailbox::unknown;  // 5.2.1: the mailbox is disabled
  // Dovecot cannot parse this address, so it has no mailbox: "501 5.5.4 Invalid TO" for UTF-8.
  if (code == 501) return Mailbox::unknown;
  if (!enhanced.empty() && enhanced != "5.0.0") return Mailbox::unsure;
  if (code == 550 || code == 551 || code == 553) return Mailbox::unknown;
  return code == 552 ? Mailbox::full : Mailbox::unsure;
}

Found found(const lmtp::Outcome& outcome) {
  if (outcome.accepted()) return {Mailbox::known};
  if (!outcome.reply) return {Mailbox::unsure, outcome.failure, outcome.ours};
  const lmtp::Reply& reply = *outcome.reply;
  if (outcome.stage == lmtp::Stage::rcpt) {
    if (const Mailbox mailbox = mailbox_of(reply.code, reply.enhanced); mailbox != Mailbox::unsure) return {mailbox};
    // Dovecot answers this for a user to whom it is delivering other mail at the moment.
    if (reply.code == 451 && reply.last().find("Too many concurrent deliveries for user") != std::string::npos)
      return {Mailbox::known};
  }
  return {Mailbox::unsure, text_of(reply)};
}

Probe probe_for(const std::vector<StartLookup>& lookups) {
  Probe probe;
  probe.transaction.probe = true;
  TimePoint until{};
  for (const StartLookup& lookup : lookups) {
    probe.transaction.recipients.push_back({lookup.recipient});
    until = std::max(until, lookup.until);
  }
  probe.patience.dot_by = until;
  probe.patience.reply_by = until;
  return probe;
}

}  // namespace mailbridge::recipients
