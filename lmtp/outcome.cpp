#include "lmtp/outcome.hpp"

#include <algorithm>
#include <numeric>

#include "base/text.hpp"

namespace mailbridge::lmtp {
namespace {

constexpr std::string_view twice = "outcome unknown, may be delivered twice";

bool begins(std::string_view text, std::string_view prefix) { return text.starts_with(prefix); }

// RFC 3463, mapped as sendmail's dsntoexitstat() does, but for what smtpd would take for a bounce although it says nothing about
// recipient or mail: 5.3.x (the server), 5.4.x (the network), 5.5.x (the protocol).
int status_of_enhanced(Stage stage, const Reply& reply) {
  const std::string_view code = reply.enhanced;
  if (code == "5.1.3" || code == "5.1.7") return exit_data_error;
  if (code == "5.1.1" || code == "5.1.6" || (code == "5.1.0" && stage == Stage::rcpt)) return exit_no_user;
  if (code == "5.2.3" || code == "5.3.4") return exit_data_error;  // too big, for the mailbox or the system
  if (begins(code, "5.3.") || begins(code, "5.4.")) return exit_temporary;
  // Dovecot answers an address it cannot parse with "501 5.5.4 Invalid TO".
  if (begins(code, "5.5."))
    return stage == Stage::rcpt && (reply.code == 501 || reply.code == 553) ? exit_data_error : exit_temporary;
  if (begins(code, "5.7.")) return exit_no_permission;
  return exit_unavailable;
}

int status_of_code(Stage stage, int code) {
  switch (code) {
    case 550:
      return stage == Stage::rcpt ? exit_no_user : exit_unavailable;
    case 501:
    case 553:
      return stage == Stage::rcpt ? exit_data_error : exit_temporary;
    case 551:
    case 552:
    case 554:
      return exit_unavailable;
    default:
      return exit_temporary;
  }
}

// Of the commands, their order and parameters (RFC 5321 4.2.2), or that TLS or a login is wanted first (530, RFC 3207 and 4954):
// whatever enhanced code comes with it, as sendmail's "503 5.0.0" or "530 5.7.0".
bool is_about_the_talk(int code) {
  return code == 500 || code == 502 || code == 503 || code == 504 || code == 530 || code == 555;
}

int answered_status(const Outcome& outcome) {
  if (outcome.delivered()) return exit_delivered;
  if (!outcome.reply || !outcome.reply->is(5)) return exit_temporary;
  const Reply& reply = *outcome.reply;
  if (is_about_the_talk(reply.code)) return exit_temporary;
  switch (outcome.stage) {
    case Stage::input:
    case Stage::connect:
    case Stage::banner:
    case Stage::lhlo:
      return exit_temporary;
    case Stage::mail:
      // The answer to SIZE= is the only verdict on the mail that can come this early.
      return reply.code == 552 && (reply.enhanced == "5.2.3" || reply.enhanced == "5.3.4") ? exit_data_error : exit_temporary;
    case Stage::scan:  // rspamd's refusal, when it is to be one
    case Stage::rcpt:
    case Stage::data:
    case Stage::body:
    case Stage::dot:
      break;
  }
  return reply.enhanced.empty() ? status_of_code(outcome.stage, reply.code) : status_of_enhanced(outcome.stage, reply);
}

// The mail is too large for the mailbox or the system, whether or not the server thinks that this can change.
bool is_oversize(const Outcome& outcome) {
  if (outcome.stage < Stage::mail || !outcome.reply || outcome.reply->code == 421) return false;
  const Reply& reply = *outcome.reply;
  for (const std::string_view code : {"5.2.3", "5.3.4", "4.2.3", "4.3.4"}) {
    if (reply.enhanced == code) return true;
  }
  // Dovecot up to 2.4.2, for quota_max_mail_size (2.3) and quota_mail_size.
  return reply.is(4) && reply.enhanced == "4.2.0" &&
         reply.first().find("Mail size is larger than the maximum size allowed") != std::string::npos;
}

bool is_full(const Reply& reply) { return reply.enhanced == "5.2.2" || (reply.enhanced.empty() && reply.code == 552); }

std::string_view state(const Outcome& outcome, int status) {
  if (outcome.unknown) return "unknown";
  return status == exit_delivered ? "delivered" : status == exit_temporary ? "deferred" : "refused";
}

std::string shown(const Reply& reply, const std::string& text) {
  std::string line = std::to_string(reply.code);
  if (!reply.enhanced.empty()) line += " " + reply.enhanced;
  return text.empty() ? line : line + " " + text;
}

// RFC 3463: 4.4.1 no answer from host, 4.4.2 bad connection, 4.3.0 other.
std::string_view code_of_failure(const Outcome& outcome) {
  const Stage stage = outcome.stage;
  return outcome.ours || stage == Stage::input || stage == Stage::scan ? "451 4.3.0"
         : stage == Stage::connect                                     ? "451 4.4.1"
                                                                       : "451 4.4.2";
}

}  // namespace

int exit_status(const Outcome& outcome, const Policies& policies) {
  const int status = answered_status(outcome);
  if (is_oversize(outcome)) {
    if (policies.oversize == Policies::Oversize::permanent) return exit_data_error;
    if (policies.oversize == Policies::Oversize::later) return exit_temporary;
  }
  if (status == exit_no_user && policies.unknown_later) return exit_temporary;
  if (status == exit_unavailable && policies.full_later && is_full(*outcome.reply)) return exit_temporary;
  return status;
}

std::string last_line(const Outcome& outcome, std::string_view recipient, std::string_view server) {
  if (outcome.delivered()) return {};
  constexpr std::size_t max_recipient = 80;
  constexpr std::size_t max_endpoint = 120;  // a unix path has at most 107 bytes
  const std::string tail = (outcome.stage == Stage::scan ? " (rspamd=" : " (lmtp=") + printable(server, max_endpoint) +
                           ", stage=" + std::string(name(outcome.stage)) + ")";
  std::string text = outcome.reply ? outcome.reply->first() : outcome.failure;
  if (outcome.unknown) text += "; " + std::string(twice);
  if (!text.starts_with('<')) text = "<" + printable(recipient, max_recipient) + "> " + text;
  std::string line = outcome.reply ? shown(*outcome.reply, text) : std::string(code_of_failure(outcome)) + " " + text;
  return printable(line, max_last_line - tail.size()) + tail;
}

Note log_note(const Outcome& outcome, const Delivery& delivery) {
  const int status = delivery.status;
  std::string line;
  append_field(line, "from", "<" + std::string(delivery.sender) + ">");
  append_field(line, "to", "<" + std::string(delivery.recipient) + ">");
  if (!delivery.msgid.empty()) append_field(line, "msgid", delivery.msgid);
  append_field(line, "bytes", std::to_string(delivery.bytes));
  if (outcome.stage != Stage::scan) append_field(line, "lmtp", delivery.lmtp);
  append_field(line, "stage", name(outcome.stage));
  append_field(line, "status", std::to_string(status));
  append_field(line, "outcome", state(outcome, status));
  if (outcome.reply) append_field(line, "reply", shown(*outcome.reply, outcome.reply->last()));
  else append_field(line, "reason", outcome.failure);
  if (outcome.unknown) append_field(line, "note", "may be delivered twice");
  if (!delivery.scan.empty()) line.append(" ").append(delivery.scan);
  Duration total{};
  for (std::size_t stage = 0; stage < stages; ++stage) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(delivery.spent[stage]).count();
    total += delivery.spent[stage];
    const auto which = static_cast<Stage>(stage);
    if (which > outcome.stage || (which == Stage::scan && delivery.scan.empty())) continue;
    append_field(line, std::string(name(which)) + "_ms", std::to_string(ms));
  }
  append_field(line, "total_ms", std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(total).count()));
  return {status == exit_delivered ? Level::info : outcome.unknown ? Level::error : Level::warn, line};
}

}  // namespace mailbridge::lmtp
