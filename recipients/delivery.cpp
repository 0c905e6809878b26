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

// Of these, the more is said about why.
int weight(Fate fate) {
  switch (fate) {
    case Fate::unknown:
      return 4;
    case Fate::failed:
      return 3;
    case Fate::deferred:
      return 2;
    case Fate::refused:
      return 1;
    case Fate::delivered:
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

std::string_view to_string(Fate fate) {
  switch (fate) {
    case Fate::delivered:
      return "delivered";
    case Fate::refused:
      return "refused";
    case Fate::deferred:
      return "deferred";
    case Fate::failed:
      return "failed";
    case Fate::unknown:
      return "unknown";
  }
  return {};
}

Fate fate_of(const lmtp::Outcome& outcome) {
  if (outcome.delivered()) return Fate::delivered;
  if (outcome.unknown) return Fate::unknown;
  if (!outcome.reply) return Fate::failed;
  if (lmtp::exit_status(outcome) != lmtp::exit_temporary) return Fate::refused;
  const bool about_the_mail = outcome.stage == Stage::rcpt || outcome.stage == Stage::body || outcome.stage == Stage::dot;
  return about_the_mail && outcome.reply->is(4) && !is_about_the_server(*outcome.reply) ? Fate::deferred : Fate::failed;
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
    const Fate fate = outcome ? fate_of(*outcome) : Fate::unknown;
    conclusion.fates.push_back(fate);
    if (fate == Fate::delivered) ++conclusion.delivered;
    if (fate == Fate::failed) conclusion.failed = true;
    if (fate == Fate::unknown) conclusion.unknown = true;
    if (fate == Fate::refused || fate == Fate::deferred) {
      ++refused;
      if (!for_the_client || (for_the_client->reply->is(5) && outcome->reply->is(4))) for_the_client = outcome;
    }
    if (weight(fate) > worst && outcome) {
      worst = weight(fate);
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
