#include "recipients/quota_status.hpp"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "base/text.hpp"

namespace mailbridge::recipients {
namespace {

constexpr std::size_t max_reason = 200;
constexpr const char* too_early = "quota-status answered before it was asked";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The first word. It is removed from the input, with the blanks behind it.
std::string_view take_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(word.size());
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  return word;
}

// "5.1.1"
bool is_enhanced(std::string_view word) {
  return word.size() >= 5 && (word[0] == '4' || word[0] == '5') && word[1] == '.' &&
         std::all_of(word.begin(), word.end(), [](char c) { return is_digit(c) || c == '.'; });
}

bool holds_one_of(std::string_view text, std::initializer_list<std::string_view> parts) {
  const auto same = [](char a, char b) { return iequals({&a, 1}, {&b, 1}); };
  return std::any_of(parts.begin(), parts.end(), [&](std::string_view part) {
    return std::search(text.begin(), text.end(), part.begin(), part.end(), same) != text.end();
  });
}

// The meaning of a permanent refusal without an enhanced code. Dovecot's own is "REJECT Unknown user".
Mailbox mailbox_by_words(std::string_view text) {
  if (holds_one_of(text, {"quota", "full"})) return Mailbox::full;
  if (holds_one_of(text, {"unknown", "no such", "not found", "not exist", "n't exist", "no mailbox"})) return Mailbox::unknown;
  return Mailbox::unsure;
}

}  // namespace

Found found(std::string_view action) {
  std::string_view text = trim(action);
  const std::string_view word = take_word(text);
  if (iequals(word, "DUNNO") || iequals(word, "OK")) return {Mailbox::known};
  Mailbox mailbox = Mailbox::unsure;
  const bool coded = word.size() == 3 && (word[0] == '4' || word[0] == '5') && is_digit(word[1]) && is_digit(word[2]);
  if (coded || iequals(word, "REJECT")) {
    const int code = coded ? (word[0] - '0') * 100 + (word[1] - '0') * 10 + (word[2] - '0') : 554;
    std::string_view rest = text;
    const std::string_view enhanced = take_word(rest);
    if (is_enhanced(enhanced)) {
      mailbox = mailbox_of(code, enhanced);
    } else {
      mailbox = mailbox_of(code, {});
      if (mailbox == Mailbox::unsure && code / 100 == 5) mailbox = mailbox_by_words(text);
    }
  }
  if (mailbox != Mailbox::unsure) return {mailbox};
  if (word.empty()) return {mailbox, "quota-status says nothing"};
  return {mailbox, printable("quota-status says: " + std::string(action), max_reason)};
}

QuotaStatus::QuotaStatus(std::string_view recipient, std::size_t size, TimePoint until) : recipient_(recipient), until_(until) {
  ask(size);
}

void QuotaStatus::ask(std::size_t size) {
  size_ = size;
  request_ =
      "request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=" + recipient_ + "\nsize=" + std::to_string(size) + "\n\n";
  sent_ = 0;
}

Step QuotaStatus::next(TimePoint) {
  if (result_) return Done{};
  if (sent_ < request_.size()) return Send{std::string_view(request_).substr(sent_), until_};
  return Await{until_};
}

void QuotaStatus::sent(std::size_t n) { sent_ += n; }

void QuotaStatus::receive(std::string_view bytes) {
  if (result_) in_sync_ = false;
  else if (sent_ < request_.size()) give_up(too_early);
  else lines_.feed(bytes, [this](std::string_view line, bool cut) { on_line(line, cut); });
  if (lines_.unfinished().empty()) return;
  in_sync_ = false;
  if (!result_ && sent_ < request_.size()) give_up(too_early);
}

void QuotaStatus::on_line(std::string_view line, bool cut) {
  if (result_) {
    in_sync_ = false;  // bytes follow the end of the reply
    return;
  }
  if (sent_ < request_.size()) return give_up(too_early);
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty() && action_) return on_reply(*std::exchange(action_, std::nullopt));
  const std::size_t equals = line.find('=');
  if (++count_ > max_lines || cut || equals == 0 || equals == std::string_view::npos)
    return give_up("quota-status answers with something else: is this Dovecot's policy service?");
  if (line.substr(0, equals) == "action" && !action_) action_ = line.substr(equals + 1);
}

void QuotaStatus::on_reply(std::string_view action) {
  if (size_ > 1 && trim(action).empty()) {
    said_nothing_ = true;
    return ask(1);
  }
  result_ = found(action);
  // An answer about the smallest message holds for a larger one as well, unless the smallest is welcome.
  if (said_nothing_ && result_->mailbox == Mailbox::known) result_ = Found{Mailbox::too_large};
  in_sync_ = true;
}

void QuotaStatus::end(const Ending& ending) {
  if (result_) return;
  stale_ = ending.kind != Ending::Kind::timed_out && count_ == 0 && lines_.unfinished().empty();
  switch (ending.kind) {
    case Ending::Kind::closed:
      return give_up("quota-status closed the connection");
    case Ending::Kind::timed_out:
      return give_up("quota-status does not answer in time");
    case Ending::Kind::failed:
      return give_up("quota-status: " + ending.error);
  }
}

void QuotaStatus::give_up(std::string why) {
  result_ = Found{Mailbox::unsure, std::move(why)};
  in_sync_ = false;
}

void QuotaAttempts::not_connected(std::string_view why, bool ours) {
  result_ = Found{Mailbox::unsure, "quota-status: cannot connect: " + std::string(why), ours};
}

void QuotaAttempts::ended(const QuotaStatus& question) {
  if (kept_ && question.stale()) kept_ = false;
  else result_ = question.result();
}

}  // namespace mailbridge::recipients
