#include "agent/agent.hpp"

#include <algorithm>
#include <utility>

#include "agent/received.hpp"
#include "agent/trace.hpp"
#include "base/text.hpp"

namespace mailbridge::agent {
namespace {

// `host` if it is a name that HELO may carry: letters, digits, '.' and '-' only (RFC 5321 4.1.2). Otherwise "localhost".
std::string sane_helo(std::string_view host) {
  const bool sane = !host.empty() && host.size() <= 255 && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
  });
  return std::string(sane ? host : "localhost");
}

}  // namespace

TimePoint Agent::dot_by() const { return start_ + std::min<Duration>(request_.timeout * 5 / 6, max_time_to_dot); }

void Agent::take_mail(std::shared_ptr<mail::Message> mail, TimePoint now) {
  mail_ = std::move(mail);
  bytes_ = mail_->size();
  const std::string_view head = mail_->head();
  msgid_ = envelope_of(head, {}, {}).queue_id;
  const std::size_t trace = request_.keep_trace ? 0 : smtpd_trace_size(head, request_.sender);
  const auto place = request_.heeds_marks ? lmtp::find_mark(head) : std::nullopt;
  if (place && !request_.mark_key_fault.empty())
    return no_mail("the filter may have delivered it, and its mark cannot be read: " + request_.mark_key_fault, now);
  if (place) mark_ = lmtp::Mark::open(head, *place, request_.mark_keys);
  marked_ = place.has_value();
  if (place && place->at >= trace) {
    mail_->replace_head(std::string(head.substr(trace, place->at - trace)).append(head.substr(place->at + place->size)));
  } else if (trace > 0) {
    mail_->replace_head(std::string(head.substr(trace)));
  }
  spent_[static_cast<std::size_t>(lmtp::Stage::input)] = now - start_;
}

bool Agent::is_served() const {
  return mark_ && std::any_of(request_.mailbox.begin(), request_.mailbox.end(),
                              [&](const std::string& name) { return mark_->names(name); });
}

void Agent::no_mail(std::string why, TimePoint now) {
  spent_[static_cast<std::size_t>(lmtp::Stage::input)] = now - start_;
  outcome_ = lmtp::Outcome{lmtp::Stage::input, std::nullopt, std::move(why)};
}

void Agent::take_scan(Scanned scanned, Duration spent) {
  spent_[static_cast<std::size_t>(lmtp::Stage::scan)] = spent;
  scanned_ = std::move(scanned);
  if (!scanned_->refusal.empty()) {
    lmtp::ReplyReader().feed(scanned_->refusal + "\r\n", [&](const Result<lmtp::Reply>& reply) {
      if (reply) outcome_ = lmtp::Outcome{lmtp::Stage::scan, *reply, {}};
    });
    if (!outcome_) scanned_->failure = "an answer that is none";
  }
  if (!scanned_->failure.empty()) outcome_ = lmtp::Outcome{lmtp::Stage::scan, std::nullopt, scanned_->failure};
  if (outcome_) server_ = scanned_->server;
}

lmtp::Transaction Agent::transaction(std::string_view helo) const {
  lmtp::Mail mail{{}, mail_, 0};
  if (scanned_) mail = {scanned_->head, mail_, scanned_->from};
  return {.helo = sane_helo(helo),
          .sender = request_.sender,
          .recipients = {{request_.recipient, request_.original}},
          .mail = std::move(mail),
          .client = msgid_.empty() ? std::nullopt : std::optional(lmtp::ClientInfo{{}, {}, {}, msgid_})};
}

void Agent::finished(lmtp::Outcome outcome, std::string server, const std::array<Duration, lmtp::stages>& spent) {
  outcome_ = std::move(outcome);
  server_ = std::move(server);
  for (std::size_t stage = 0; stage < lmtp::stages; ++stage) spent_[stage] += spent[stage];
}

Report Agent::report() const {
  if (is_served()) {
    std::string line;
    append_field(line, "from", "<" + request_.sender + ">");
    append_field(line, "to", "<" + request_.recipient + ">");
    if (!msgid_.empty()) append_field(line, "msgid", msgid_);
    append_field(line, "bytes", std::to_string(bytes_));
    append_field(line, "status", std::to_string(lmtp::exit_delivered));
    append_field(line, "outcome", "delivered");
    append_field(line, "by", "the filter");
    return {lmtp::exit_delivered, {}, {Level::info, std::move(line)}};
  }
  const std::string server = server_.empty() ? to_string(request_.lmtp.front()) : server_;
  const int status = lmtp::exit_status(*outcome_, request_.policies);
  Note note = lmtp::log_note(*outcome_, {request_.sender, request_.recipient, msgid_, server, bytes_, status, spent_,
                                         scanned_ ? std::string_view(scanned_->log) : std::string_view()});
  if (marked_ && !mark_) {
    append_field(note.text, "mark", "not sealed with a key of ours, so it is not believed");
    note.level = std::max(note.level, Level::warn);
  }
  if (!request_.mark_key_fault.empty()) {
    append_field(note.text, "mark_key", request_.mark_key_fault);
    note.level = std::max(note.level, Level::warn);
  }
  return {status, lmtp::last_line(*outcome_, request_.recipient, server), std::move(note)};
}

}  // namespace mailbridge::agent
