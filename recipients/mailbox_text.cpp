#include "recipients/mailbox_text.hpp"

#include <utility>

#include "lmtp/reply.hpp"
#include "recipients/verifier.hpp"

namespace mailbridge::recipients {
namespace {

std::string_view take(std::string_view& text, char end) {
  const std::size_t at = text.find(end);
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return part;
}

constexpr std::string_view by_own_lack = "!! ";

bool take_ours(std::string_view& text) {
  if (!text.starts_with(by_own_lack)) return false;
  text.remove_prefix(by_own_lack.size());
  return true;
}

std::optional<lmtp::Outcome> parse_outcome(std::string_view line) {
  const std::string_view name = take(line, ' ');
  lmtp::Outcome outcome{};
  std::size_t stage = 0;
  while (stage < lmtp::stages && lmtp::name(static_cast<lmtp::Stage>(stage)) != name) ++stage;
  if (stage == lmtp::stages) return std::nullopt;
  outcome.stage = static_cast<lmtp::Stage>(stage);
  outcome.unknown = line.starts_with("? ");
  if (outcome.unknown) line.remove_prefix(2);
  outcome.ours = take_ours(line);
  if (outcome.ours || line.starts_with("! ")) {
    outcome.failure = line.substr(outcome.ours ? 0 : 2);
    return outcome;
  }
  lmtp::ReplyReader reader;
  reader.feed(std::string(line) + "\r\n", [&](Result<lmtp::Reply> reply) {
    if (reply) outcome.reply = std::move(*reply);
  });
  return outcome.reply ? std::optional(std::move(outcome)) : std::nullopt;
}

}  // namespace

std::string text_of(const StartLookup& lookup) { return lookup.recipient + " " + std::to_string(lookup.size) + "\n"; }

std::string text_of(const Found& found) {
  std::string text(to_string(found.mailbox));
  if (found.ours || !found.why.empty()) text += " ";
  if (found.ours) text += by_own_lack;
  return text + found.why + "\n";
}

std::optional<Found> parse_found(std::string_view text) {
  text = take(text, '\n');
  const std::string_view word = take(text, ' ');
  const bool ours = take_ours(text);
  for (const Mailbox mailbox :
       {Mailbox::known, Mailbox::unknown, Mailbox::full, Mailbox::full_for_now, Mailbox::too_large, Mailbox::unsure}) {
    if (word == to_string(mailbox)) return Found{mailbox, std::string(text), ours};
  }
  return std::nullopt;
}

std::string text_of(const lmtp::Transaction& delivery) {
  std::string text = "MAIL FROM:<" + delivery.sender + ">\n";
  for (const lmtp::Recipient& recipient : delivery.recipients) text += "RCPT TO:<" + recipient.address + ">\n";
  text += "DATA\n";
  std::string_view part;
  for (std::size_t at = 0; !(part = delivery.mail.bytes(at)).empty(); at += part.size()) text += part;
  return text;
}

std::string text_of(const std::vector<lmtp::Outcome>& outcomes) {
  std::string text;
  for (const lmtp::Outcome& outcome : outcomes) {
    text += std::string(lmtp::name(outcome.stage)) + (outcome.unknown ? " ? " : " ");
    text += (outcome.reply ? text_of(*outcome.reply) : (outcome.ours ? "!! " : "! ") + outcome.failure) + "\n";
  }
  return text;
}

std::optional<std::vector<lmtp::Outcome>> parse_outcomes(std::string_view text) {
  std::vector<lmtp::Outcome> outcomes;
  while (!text.empty()) {
    auto outcome = parse_outcome(take(text, '\n'));
    if (!outcome) return std::nullopt;
    outcomes.push_back(std::move(*outcome));
  }
  return outcomes;
}

}  // namespace mailbridge::recipients
