#include "bench/smtpd.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <iterator>
#include <utility>

namespace mailbridge::bench {
namespace {

constexpr int silence_ms = 60'000;       // a filter that says nothing for so long has failed
constexpr std::size_t turn = 16 * 1024;  // what one session may write before the next has its turn
constexpr auto drip_pause = std::chrono::milliseconds(5);

struct Stage {
  bool asks;  // a request of that phase, or a report of that event
  std::string name;
  std::string fields;
};

const std::vector<Stage> stages = {
    {false, "link-connect", "|mx.example.net|pass|192.0.2.25:40321|198.51.100.1:25"},
    {true, "connect", "mx.example.net|192.0.2.25"},
    {false, "protocol-server", "|220 mail.example.org ESMTP OpenSMTPD"},
    {false, "link-greeting", "|mail.example.org"},
    {false, "protocol-client", "|EHLO mx.example.net"},
    {true, "ehlo", "mx.example.net"},
    {false, "link-identify", "|EHLO|mx.example.net"},
    {false, "protocol-server", "|250-mail.example.org Hello mx.example.net [192.0.2.25], pleased to meet you"},
    {false, "protocol-server", "|250-8BITMIME"},
    {false, "protocol-server", "|250-SIZE 36700160"},
    {false, "protocol-server", "|250 HELP"},
    {false, "protocol-client", "|MAIL FROM:<a@example.net>"},
    {true, "mail-from", "a@example.net"},
    {false, "tx-begin", "|0123abcd"},
    {false, "tx-mail", "|0123abcd|ok|a@example.net"},
    {false, "protocol-server", "|250 2.0.0 Ok"},
    {false, "protocol-client", "|RCPT TO:<b@example.org>"},
    {true, "rcpt-to", "b@example.org"},
    {false, "tx-envelope", "|0123abcd|0123abcd89abcdef"},
    {false, "tx-rcpt", "|0123abcd|ok|b@example.org"},
    {false, "protocol-server", "|250 2.1.5 Destination address valid: Recipient ok"},
    {false, "protocol-client", "|DATA"},
    {true, "data", ""},
    {false, "tx-data", "|0123abcd|ok"},
    {false, "protocol-server", "|354 Enter mail, end with \".\" on a line by itself"},
    {true, "data-line", ""},
    {false, "protocol-client", "|."},
    {true, "commit", ""},
    {false, "tx-commit", "|0123abcd|4096"},
    {false, "tx-reset", "|0123abcd"},
    {false, "protocol-server", "|250 2.0.0 0123abcd Message accepted for delivery"},
    {false, "protocol-client", "|QUIT"},
    {true, "quit", ""},
    {false, "protocol-server", "|221 2.0.0 Bye"},
    {false, "link-disconnect", ""},
};

// For poll(2): until `due`, if that comes before the filter has been silent for too long.
int wait_ms(Clock::time_point due) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now()).count();
  return static_cast<int>(std::clamp<decltype(left)>(left, 0, silence_ms));
}

// Tokens name a filter's entry for a phase, not a request.
std::string token(std::string_view phase) {
  char text[17];
  std::snprintf(text, sizeof text, "%016zx", 0x9e3779b97f4a7c15u ^ std::hash<std::string_view>()(phase));
  return text;
}

std::string stamp() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  char text[40];
  std::snprintf(text, sizeof text, "%lld.%06lld", static_cast<long long>(us / 1'000'000), static_cast<long long>(us % 1'000'000));
  return text;
}

std::string_view take(std::string_view& rest) {
  const std::size_t bar = rest.find('|');
  const std::string_view field = rest.substr(0, bar);
  rest.remove_prefix(bar == std::string_view::npos ? rest.size() : bar + 1);
  return field;
}

void set_non_blocking(int descriptor) {
  test::require(fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK) == 0, "fcntl");
}

}  // namespace

std::vector<std::string> make_mail(std::size_t size) {
  std::vector<std::string> lines = {
      "Received: from mx.example.net (mx.example.net [192.0.2.25])",
      "\tby mail.example.org (OpenSMTPD) with ESMTP id 0123abcd",
      "\tfor <b@example.org>;",
      "\tSun, 1 Jun 2025 10:00:00 +0000 (UTC)",
      "From: A Sender <a@example.net>",
      "To: <b@example.org>",
      "Subject: What is measured",
      "Date: Sun, 1 Jun 2025 09:59:58 +0000",
      "Message-ID: <1@example.net>",
      "MIME-Version: 1.0",
      "Content-Type: text/plain; charset=us-ascii",
      "",
      ".a line that wants one more dot",
      "",
  };
  std::size_t bytes = 0;
  for (const auto& line : lines) bytes += line.size() + 2;
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::uint32_t random = 1;
  while (bytes < size) {
    std::string line(76, ' ');  // as base64 has it, RFC 2045 6.8
    for (char& c : line) {
      random = random * 1664525 + 1013904223;
      c = alphabet[random >> 26];
    }
    bytes += line.size() + 2;
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<std::string> make_drip(std::size_t lines) {
  std::vector<std::string> mail = make_mail(0);
  mail.insert(mail.end(), lines, "x");
  return mail;
}

template <class Reached>
void Smtpd::run_until(Reached reached) {
  std::vector<pollfd> polls;
  while (!reached()) {
    fill();
    polls.clear();
    const bool wants_to_write = out_from_ < out_.size();
    polls.push_back({filter_.protocol(), static_cast<short>(wants_to_write ? POLLIN | POLLOUT : POLLIN), 0});
    polls.push_back({filter_.log(), POLLIN, 0});
    rspamd_.add_to(polls);
    const auto silent = Clock::now() + std::chrono::milliseconds(silence_ms);
    auto due = std::min(silent, rspamd_.next_answer().value_or(silent));
    if (drip_) due = std::min(due, next_drip_);
    const int n = poll(polls.data(), polls.size(), wait_ms(due));
    if (n == 0 && Clock::now() >= silent)
      fail("nothing happened for a minute with " + std::to_string(sessions_.size()) + " sessions");
    if (n < 0) continue;
    rspamd_.answer();
    if (polls[0].revents & POLLOUT) write_out();
    if (polls[0].revents & (POLLIN | POLLHUP)) read_in();
    if (polls[1].revents & (POLLIN | POLLHUP)) {
      if (const auto bytes = read_some(filter_.log()); !bytes) filter_.close_log();
      else last_logged_ = *bytes;
    }
    for (std::size_t i = 2; i < polls.size(); ++i) {
      if (polls[i].revents != 0) rspamd_.on_readable(polls[i].fd);
    }
  }
}

Smtpd::Smtpd(test::FilterProcess& filter, Rspamd& rspamd) : filter_(filter), rspamd_(rspamd) {
  set_non_blocking(filter_.protocol());
  set_non_blocking(filter_.log());
  out_ =
      "config|smtpd-version|6.8.0p2\nconfig|smtp-session-timeout|300\nconfig|subsystem|smtp-in\nconfig|admd|mail.example.org\n"
      "config|ready\n";
  run_until([this] { return ready_; });
  if (!phases_.contains("data-line") || !phases_.contains("commit")) fail("a filter that registers neither data-line nor commit");
}

std::vector<double> Smtpd::deliver(const std::vector<std::string>& mail, std::size_t count, std::size_t in_flight) {
  took_ms_.clear();
  std::size_t begun = 0;
  run_until([&] {
    for (; begun < count && begun - took_ms_.size() < in_flight; ++begun) begin(mail, stages.size());
    return took_ms_.size() == count;
  });
  return std::exchange(took_ms_, {});
}

void Smtpd::open_idle(std::size_t count) {
  const auto first_mail =
      std::find_if(stages.begin(), stages.end(), [](const Stage& stage) { return stage.fields.starts_with("|MAIL"); });
  for (std::size_t i = 0; i < count; ++i) begin(no_mail_, static_cast<std::size_t>(first_mail - stages.begin()));
  run_until([&] { return idle_ == count && out_from_ == out_.size(); });
}

void Smtpd::begin_drip(const std::vector<std::string>& mail) {
  begin(mail, stages.size(), true);
  run_until([&] { return drip_.has_value(); });
  next_drip_ = Clock::now();
}

void Smtpd::finish_drip() {
  senders_.push_back(*std::exchange(drip_, std::nullopt));
  took_ms_.clear();
  run_until([&] { return took_ms_.size() == 1; });
}

void Smtpd::begin(const std::vector<std::string>& mail, std::size_t last, bool drips) {
  char id[17];
  std::snprintf(id, sizeof id, "%016llx", static_cast<unsigned long long>(++serial_ * 0x9e3779b97f4a7c15u));
  Session& session = sessions_[id];
  session.id = id;
  session.mail = &mail;
  session.last = last;
  session.drips = drips;
  session.begun = Clock::now();
  advance(session);
}

// Up to the next request that the filter wants, or to the end of the session.
void Smtpd::advance(Session& session) {
  for (;;) {
    if (session.next == stages.size()) {
      took_ms_.push_back(std::chrono::duration<double, std::milli>(Clock::now() - session.begun).count());
      sessions_.erase(std::string(session.id));
      return;
    }
    if (session.next == session.last) {
      ++idle_;
      return;
    }
    const Stage& stage = stages[session.next++];
    if (!stage.asks) {
      if (reports_.contains("*") || reports_.contains(stage.name)) {
        out_ += "report|0.6|" + stamp() + "|smtp-in|" + stage.name + "|" + session.id + stage.fields + "\n";
      }
      continue;
    }
    if (!phases_.contains(stage.name)) continue;
    session.awaited = stage.name;
    const std::string prefix =
        "filter|0.6|" + stamp() + "|smtp-in|" + stage.name + "|" + session.id + "|" + token(stage.name) + "|";
    if (stage.name != "data-line") {
      out_ += prefix + stage.fields + "\n";
      return;
    }
    return send_mail(session, prefix);
  }
}

// Its data-lines, each after `prefix`.
void Smtpd::send_mail(Session& session, const std::string& prefix) {
  for (const std::string& line : *session.mail) {
    session.sending += prefix;
    if (line.starts_with('.')) session.sending += '.';
    session.sending += line;
    session.sending += '\n';
  }
  session.sending += prefix + ".\n";
  if (session.drips) drip_ = session.id;
  else senders_.push_back(session.id);
}

void Smtpd::drip() {
  Session& session = sessions_.at(*drip_);
  const std::size_t lf = session.sending.find('\n', session.sent);
  // The last line, the ".", is for finish_drip().
  if (lf + 1 == session.sending.size()) {
    next_drip_ = Clock::time_point::max();
    return;
  }
  out_.append(session.sending, session.sent, lf + 1 - session.sent);
  session.sent = lf + 1;
  next_drip_ = Clock::now() + drip_pause;
}

void Smtpd::fill() {
  if (drip_ && next_drip_ <= Clock::now()) drip();
  while (out_.size() - out_from_ < io_size && !senders_.empty()) {
    Session& session = sessions_.at(senders_.front());
    std::string_view rest = std::string_view(session.sending).substr(session.sent);
    if (rest.size() > turn) rest = rest.substr(0, rest.rfind('\n', turn) + 1);
    out_ += rest;
    session.sent += rest.size();
    if (session.sent < session.sending.size()) {
      senders_.push_back(std::move(senders_.front()));
    } else {
      session.sending = {};
    }
    senders_.pop_front();
  }
}

void Smtpd::write_out() {
  const ssize_t n = write(filter_.protocol(), out_.data() + out_from_, out_.size() - out_from_);
  if (n < 0 && errno == EAGAIN) return;
  if (n < 0) fail("the filter is gone; its last words: " + last_logged_);
  out_from_ += static_cast<std::size_t>(n);
  if (out_from_ < out_.size()) return;
  out_.clear();
  out_from_ = 0;
}

void Smtpd::read_in() {
  auto bytes = read_some(filter_.protocol());
  if (!bytes) fail("the filter is gone; its last words: " + last_logged_);
  for (std::size_t lf = 0; (lf = bytes->find('\n')) != std::string_view::npos; bytes->remove_prefix(lf + 1)) {
    if (held_.empty()) {
      on_line(bytes->substr(0, lf));
    } else {
      held_ += bytes->substr(0, lf);
      on_line(held_);
      held_.clear();
    }
  }
  held_ += *bytes;
}

void Smtpd::on_line(std::string_view line) {
  std::string_view rest = line;
  const std::string_view kind = take(rest);
  if (kind == "register" && !ready_) {
    const std::string_view what = take(rest);
    if (what == "ready") ready_ = true;
    if (take(rest) == "smtp-in") (what == "report" ? reports_ : phases_).emplace(rest);
    return;
  }
  const auto found = sessions_.find(std::string(take(rest)));
  if (found == sessions_.end()) fail("an answer for a session that has ended: " + std::string(line));
  Session& session = found->second;
  if (take(rest) != token(session.awaited)) fail("a token that was not asked with: " + std::string(line));
  if (kind == "filter-dataline" && session.awaited == "data-line") {
    if (rest == ".") {
      if (session.sent < session.sending.size()) fail("a mail that ended before it began");
      judge(session);
      advance(session);
    } else {
      session.returned.emplace_back(rest.starts_with('.') ? rest.substr(1) : rest);
    }
    return;
  }
  if (kind != "filter-result" || session.awaited == "data-line") fail("an answer nobody asked for: " + std::string(line));
  if (rest != "proceed") fail("not the answer to a clean mail: " + std::string(line));
  advance(session);
}

// Header lines may have been added, none removed; from the empty line on it is the mail that was sent.
void Smtpd::judge(Session& session) const {
  const auto& sent = *session.mail;
  const auto& got = session.returned;
  const auto body = std::find(sent.begin(), sent.end(), "");
  const auto size = sent.end() - body;
  if (static_cast<std::size_t>(size) > got.size() || !std::equal(body, sent.end(), got.end() - size))
    fail("a body came back altered; the filter logged: " + last_logged_);
  auto at = got.begin();
  for (auto line = sent.begin(); line != body; ++line, ++at) {
    at = std::find(at, got.end() - size, *line);
    if (at == got.end() - size) fail("a header line did not come back: " + *line);
  }
  session.returned.clear();
}

}  // namespace mailbridge::bench
