#include "lmtp/agent.hpp"

#include <algorithm>
#include <utility>

#include "lmtp/trace.hpp"

namespace mailbridge::lmtp {
namespace {

// Letters, digits, '.' and '-' only (RFC 5321 4.1.2), or "localhost".
std::string sane_helo(std::string_view host) {
  const bool sane = !host.empty() && host.size() <= 255 && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
  });
  return std::string(sane ? host : "localhost");
}

}  // namespace

TimePoint Agent::dot_by() const { return start_ + std::min<Duration>(request_.timeout * 5 / 6, max_time_to_dot); }

TimePoint Agent::connect_by(TimePoint now) const { return std::min(now + std::chrono::seconds(5), dot_by()); }

void Agent::take_mail(std::shared_ptr<const mail::Message> mail, TimePoint now) {
  mail_ = std::move(mail);
  spent_[static_cast<std::size_t>(Stage::input)] = now - std::exchange(since_, now);
}

Client& Agent::connected(std::string_view helo, TimePoint now) {
  spent_[static_cast<std::size_t>(Stage::connect)] = now - since_;
  const std::size_t from = request_.keep_trace ? 0 : smtpd_trace_size(mail_->head(), request_.sender);
  return client_.emplace(
      Transaction{
          .helo = sane_helo(helo), .sender = request_.sender, .recipients = {{request_.recipient}}, .mail = {{}, mail_, from}},
      Patience{.dot_by = dot_by(), .reply_by = end_by()});
}

void Agent::failed(Stage stage, std::string why, TimePoint now) {
  spent_[static_cast<std::size_t>(stage)] = now - since_;
  failure_ = Outcome{stage, std::nullopt, std::move(why)};
}

Report Agent::report() const {
  const Outcome& outcome = failure_ ? *failure_ : client_->outcome(0);
  std::array<Duration, stages> spent = spent_;
  for (std::size_t stage = 0; client_ && stage < stages; ++stage) spent[stage] += client_->spent()[stage];
  const std::string lmtp = to_string(request_.lmtp);
  const int status = exit_status(outcome, request_.policies);
  return {status, last_line(outcome, request_.recipient, lmtp),
          log_note(outcome, {request_.sender, request_.recipient, lmtp, mail_ ? mail_->size() : 0, status, spent})};
}

}  // namespace mailbridge::lmtp
