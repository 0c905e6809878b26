#include "recipients/delivery.hpp"

#include <algorithm>

#include "lmtp/outcome.hpp"

namespace mailbridge::recipients {
namespace {

using lmtp::Stage;

// RFC 3463: X.3.Z is about the system, X.4.Z about the network.
bool is_about_the_server(const lmtp::Reply& reply) {
  return reply.code == 421 || reply.enhanced.find(".3.") == 1 || reply.enhanced.find(".4.") == 1;
}

// The outcome of the recipient with the largest weight is logged.
int weight(DeliveryStatus status) {
  switch (status) {
    case DeliveryStatus::unknown:
      return 4;
    case DeliveryStatus::failed:
      return 3;
    case DeliveryStatus::deferred:
      return 2;
    case DeliveryStatus::refused:
      return 1;
    case DeliveryStatus::delivered:
      break;
  }
  return 0;
}

std::string_view words_for(std::string_view subject_and_detail) {
  if (subject_and_detail == "1.1" || subject_and_detail == "1.6") return "Mailbox does not exist";
  if (subject_and_detail == "2.1") return "Mailbox is disabled";
  if (subject_and_detail == "2.2") return "Mailbox is full";
  if (subject_and_detail == "2.3" || subject_and_detail == "3.4") return "Message is too large for the mailbox";
  return {};
}

}  // namespace

std::string_view to_string(DeliveryStatus status) {
  switch (status) {
    case DeliveryStatus::delivered:
      return "delivered";
    case DeliveryStatus::refused:
      return "refused";
    case DeliveryStatus::deferred:
      return "deferred";
    case DeliveryStatus::failed:
      return "failed";
    case DeliveryStatus::unknown:
      return "unknown";
  }
  return {};
}

DeliveryStatus status_of(const lmtp::Outcome& outcome) {
  if (outcome.delivered()) return DeliveryStatus::delivered;
  if (outcome.unknown) return DeliveryStatus::unknown;
  if (!outcome.reply) return DeliveryStatus::failed;
  if (lmtp::exit_status(outcome) != lmtp::exit_temporary) return DeliveryStatus::refused;
  const bool about_the_mail = outcome.stage == Stage::rcpt || outcome.stage == Stage::body || outcome.stage == Stage::dot;
  return about_the_mail && outcome.reply->is(4) && !is_about_the_server(*outcome.reply) ? DeliveryStatus::deferred
                                                                                        : DeliveryStatus::failed;
}

std::string refusal_of(const lmtp::Reply& reply) {
  const bool later = reply.is(4);
  // RFC 3463: other or undefined mailbox status.
  const std::string enhanced = !reply.enhanced.empty() ? reply.enhanced : later ? "4.2.0" : "5.2.0";
  std::string_view words = words_for(std::string_view(enhanced).substr(2));
  if (words.empty()) words = later ? "Message could not be delivered, try again later" : "Message was refused by the mail store";
  return std::to_string(reply.code) + " " + enhanced + " " + std::string(words);
}

Conclusion conclude(std::size_t recipients, const std::vector<lmtp::Outcome>& outcomes) {
  Conclusion conclusion;
  const lmtp::Outcome* for_the_client = nullptr;
  std::size_t refused = 0;
  int worst = 0;
  for (std::size_t i = 0; i < recipients; ++i) {
    const lmtp::Outcome* outcome = i < outcomes.size() ? &outcomes[i] : nullptr;
    const DeliveryStatus status = outcome ? status_of(*outcome) : DeliveryStatus::unknown;
    conclusion.statuses.push_back(status);
    if (status == DeliveryStatus::delivered) ++conclusion.delivered;
    if (status == DeliveryStatus::failed) conclusion.failed = true;
    if (status == DeliveryStatus::unknown) conclusion.unknown = true;
    if (status == DeliveryStatus::refused || status == DeliveryStatus::deferred) {
      ++refused;
      if (!for_the_client || (for_the_client->reply->is(5) && outcome->reply->is(4))) for_the_client = outcome;
    }
    if (weight(status) > worst && outcome) {
      worst = weight(status);
      conclusion.worst = outcome;
    }
  }
  conclusion.ours = std::any_of(outcomes.begin(), outcomes.end(), [](const lmtp::Outcome& outcome) { return outcome.ours; });
  conclusion.silent = !outcomes.empty() && !conclusion.ours &&
                      std::all_of(outcomes.begin(), outcomes.end(),
                                  [](const lmtp::Outcome& outcome) { return !outcome.reply && outcome.stage <= Stage::lhlo; });
  if (recipients > 0 && refused == recipients) conclusion.refusal = refusal_of(*for_the_client->reply);
  return conclusion;
}

}  // namespace mailbridge::recipients
