#include "lmtp/client.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"

namespace mailbridge::lmtp {
namespace {

constexpr std::string_view dot = ".\r\n";
constexpr std::string_view quit = "QUIT\r\n";

// "SIZE" of "SIZE 10000".
std::string_view keyword(std::string_view line) { return line.substr(0, line.find(' ')); }

std::string_view words(const Ending& ending, Stage stage) {
  switch (ending.kind) {
    case Ending::Kind::closed:
      return "the server closed the connection";
    case Ending::Kind::timed_out:
      return stage == Stage::body ? "the server stopped reading" : "no reply in time";
    case Ending::Kind::failed:
      return ending.error;
  }
  return {};
}

}  // namespace

std::string_view name(Stage stage) {
  switch (stage) {
    case Stage::input:
      return "input";
    case Stage::connect:
      return "connect";
    case Stage::banner:
      return "banner";
    case Stage::lhlo:
      return "lhlo";
    case Stage::mail:
      return "mail";
    case Stage::rcpt:
      return "rcpt";
    case Stage::data:
      return "data";
    case Stage::body:
      return "body";
    case Stage::dot:
      return "dot";
  }
  return {};
}

std::string_view address_fault(std::string_view address) {
  constexpr std::size_t max_address = 1000;  // RFC 5321 4.5.3.1.3 has 256; Dovecot takes no line beyond 4,096
  if (address.size() > max_address) return "the address is longer than 1,000 bytes";
  bool quoted = false;
  for (std::size_t i = 0; i < address.size(); ++i) {
    const auto byte = static_cast<unsigned char>(address[i]);
    if (byte < 0x20 || byte == 0x7f) return "the address holds a control byte";
    if (byte == '"') quoted = !quoted;
    if (quoted && byte == '\\' && i + 1 < address.size()) {
      if (static_cast<unsigned char>(address[i + 1]) >= 0x20 && address[i + 1] != 0x7f) ++i;
      continue;
    }
    if (!quoted && (byte == ' ' || byte == '<' || byte == '>'))
      return "the address holds a blank or an angle bracket outside quotes";
  }
  return quoted ? "the address opens a quote and does not close it" : "";
}

Client::Client(Transaction transaction, Patience patience)
    : transaction_(std::move(transaction)),
      patience_(patience),
      encoder_(transaction_.mail),
      outcomes_(transaction_.recipients.size()) {}

bool Client::settled() const {
  return std::all_of(outcomes_.begin(), outcomes_.end(), [](const auto& outcome) { return outcome.has_value(); });
}

Step Client::next(TimePoint now) {
  if (seen_) spent_[static_cast<std::size_t>(seen_stage_)] += now - *seen_;
  seen_ = now;
  if (phase_ == Phase::body && out_.empty() && encoder_.window().empty()) {
    if (encoder_.complete()) enter(Phase::before_dot, Stage::dot);
    else fail_rest("the mail cannot be read again");
  }
  if (phase_ == Phase::before_dot && now >= patience_.dot_by) fail_rest("no time is left to send the final dot");
  seen_stage_ = stage_;
  if (std::exchange(fresh_, false)) since_ = now;
  if (!out_.empty()) return Send{std::string_view(out_).substr(out_sent_), until()};
  switch (phase_) {
    case Phase::body:
      return Send{encoder_.window(), until()};
    case Phase::talk:
    case Phase::before_dot:
    case Phase::dot:
      return Await{until()};
    case Phase::leave:
      phase_ = Phase::done;
      break;
    case Phase::done:
      break;
  }
  return Done{};
}

void Client::sent(std::size_t n) {
  if (out_.empty()) {
    encoder_.consume(n);
    fresh_ = true;
    return;
  }
  if (phase_ == Phase::dot) dot_sent_ += n;
  out_sent_ += n;
  if (out_sent_ == out_.size()) {
    out_.clear();
    out_sent_ = 0;
  }
}

void Client::receive(std::string_view bytes) {
  reader_.feed(bytes, [this](Result<Reply> reply) {
    if (phase_ == Phase::leave || phase_ == Phase::done) return;
    fresh_ = true;
    if (reply) on_reply(*reply);
    else fail_rest(reply.error().what);
  });
}

void Client::end(const Ending& ending) { fail_rest(words(ending, stage_)); }

void Client::permit_dot(std::string_view refusal) {
  if (!refusal.empty()) return fail_rest(refusal);
  out_ = dot;
  enter(Phase::dot, Stage::dot);
}

void Client::on_reply(const Reply& reply) {
  if (reply.code == 421) {
    decide_rest(stage_, reply);
    return stop();
  }
  switch (phase_) {
    case Phase::talk:
      break;
    case Phase::dot:
      if (dot_sent_ == dot.size()) return on_final(reply);
      return on_early(reply);
    case Phase::body:
    case Phase::before_dot:
      return on_early(reply);
    case Phase::leave:
    case Phase::done:
      return;
  }
  if (!out_.empty() && (out_sent_ == 0 || expected_.size() == 1)) return fail_rest("the server answered before it was asked");
  const Expected asked = expected_.front();
  expected_.pop_front();
  switch (asked.stage) {
    case Stage::banner:
      on_banner(reply);
      break;
    case Stage::lhlo:
      on_lhlo(reply);
      break;
    case Stage::mail:
      if (!reply.is(2)) decide_rest(Stage::mail, reply);
      break;
    case Stage::rcpt:
      if (!reply.is(2)) decide(asked.recipient, Stage::rcpt, reply);
      else accepted_.push_back(asked.recipient);
      break;
    case Stage::data:
      return on_data(reply);
    case Stage::input:
    case Stage::connect:
    case Stage::body:
    case Stage::dot:
      break;  // never expected in talk
  }
  if (phase_ != Phase::talk) return;
  if (expected_.empty()) say_next();
  if (phase_ == Phase::talk) stage_ = expected_.front().stage;
}

void Client::on_banner(const Reply& reply) {
  if (reply.is(2)) return say("LHLO " + transaction_.helo, {Stage::lhlo});
  decide_rest(Stage::banner, reply);
  leave(quit);
}

void Client::on_lhlo(const Reply& reply) {
  if (!reply.is(2)) {
    decide_rest(Stage::lhlo, reply);
    return leave(quit);
  }
  for (std::size_t i = 1; i < reply.lines.size(); ++i) {  // the first line is the greeting
    const std::string_view word = keyword(reply.lines[i]);
    pipelining_ = pipelining_ || iequals(word, "PIPELINING");
    eightbitmime_ = eightbitmime_ || iequals(word, "8BITMIME");
    size_ = size_ || iequals(word, "SIZE");
  }
}

// MAIL, each RCPT, DATA: all that are left when they may be pipelined, otherwise the next one.
void Client::say_next() {
  const std::size_t count = transaction_.recipients.size();
  if (settled()) return leave(quit);
  do {
    if (said_ == 0) {
      std::string line = "MAIL FROM:<" + transaction_.sender + ">";
      if (eightbitmime_) line += " BODY=8BITMIME";
      if (size_) line += " SIZE=" + std::to_string(transaction_.mail.size());
      say(line, {Stage::mail});
    } else if (said_ <= count) {
      say("RCPT TO:<" + transaction_.recipients[said_ - 1] + ">", {Stage::rcpt, said_ - 1});
    } else {
      say("DATA", {Stage::data});
    }
    ++said_;
  } while (pipelining_ && said_ < count + 2);
}

void Client::on_data(const Reply& reply) {
  if (!reply.is(3)) {
    decide_rest(Stage::data, reply);
    return leave(quit);
  }
  // After MAIL was refused and RCPT was not, a lone dot could deliver an empty mail.
  if (settled()) return accepted_.empty() ? leave(".\r\nQUIT\r\n") : stop();
  enter(Phase::body, Stage::body);
}

// A reply while the mail is on its way. It ends the transaction: closing without the dot is what makes sure that nothing is
// delivered.
void Client::on_early(const Reply& reply) {
  if (!reply.is(4) && !reply.is(5)) return fail_rest("the server answered before it had the whole mail");
  decide_rest(stage_, reply);
  stop();
}

void Client::on_final(const Reply& reply) {
  decide(accepted_[answered_++], Stage::dot, reply);
  if (answered_ == accepted_.size()) leave(quit);
}

void Client::say(std::string_view line, Expected expected) {
  out_.append(line).append("\r\n");
  expected_.push_back(expected);
}

void Client::enter(Phase phase, Stage stage) {
  phase_ = phase;
  stage_ = stage;
  fresh_ = true;
}

void Client::leave(std::string_view last_words) {
  phase_ = Phase::leave;
  out_ = last_words;
  out_sent_ = 0;
  fresh_ = true;
}

void Client::decide(std::size_t recipient, Stage stage, const Reply& reply) {
  if (!outcomes_[recipient]) outcomes_[recipient] = Outcome{stage, reply, {}};
}

void Client::decide_rest(Stage stage, const Reply& reply) {
  for (std::size_t i = 0; i < outcomes_.size(); ++i) decide(i, stage, reply);
}

void Client::fail_rest(std::string_view failure) {
  for (auto& outcome : outcomes_) {
    if (!outcome) outcome = Outcome{stage_, std::nullopt, std::string(failure), dot_sent_ > 0};
  }
  stop();
}

// Nothing more leaves, and least of all the rest of a dot.
void Client::stop() {
  phase_ = Phase::done;
  out_.clear();
}

Duration Client::patience() const {
  switch (stage_) {
    case Stage::banner:
      return patience_.banner;
    case Stage::lhlo:
      return patience_.lhlo;
    case Stage::mail:
      return patience_.mail;
    case Stage::rcpt:
      return patience_.rcpt;
    case Stage::data:
      return patience_.data;
    case Stage::body:
      return patience_.block;
    case Stage::input:
    case Stage::connect:
    case Stage::dot:
      break;
  }
  return Duration::max();
}

TimePoint Client::until() const {
  if (phase_ == Phase::leave) return since_ + patience_.quit;
  if (phase_ == Phase::dot) return dot_sent_ == 0 ? patience_.dot_by : patience_.reply_by;
  if (phase_ == Phase::before_dot) return patience_.dot_by;
  return std::min(since_ + patience(), patience_.dot_by);
}

}  // namespace mailbridge::lmtp
