#include "lmtp/client.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"

namespace mailbridge::lmtp {
namespace {

constexpr std::string_view quit = "QUIT\r\n";

// The first word, which is taken off the line: "SIZE" of "SIZE 10000", and "10000" is left.
std::string_view take_word(std::string_view& line) {
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(std::min(line.size(), word.size() + 1));
  return word;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool is_ascii(const Transaction& transaction) {
  return is_ascii(transaction.sender) && std::all_of(transaction.recipients.begin(), transaction.recipients.end(),
                                                     [](const Recipient& recipient) { return is_ascii(recipient.address); });
}

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

// The encoding of a parameter's value, RFC 3461 section 4.
std::string xtext(std::string_view text) {
  constexpr std::string_view hex = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f && c != '+' && c != '=') encoded += c;
    else encoded.append({'+', hex[byte >> 4], hex[byte & 15]});
  }
  return encoded;
}

// The parameter ORCPT. RFC 3461 section 4.2 allows printable ASCII alone, and 500 bytes. Empty when the address does not fit.
std::string orcpt(const Recipient& recipient) {
  constexpr std::size_t max_orcpt = 500;
  if (recipient.original.empty() || !is_printable(recipient.original)) return {};
  std::string parameter = " ORCPT=rfc822;" + xtext(recipient.original);
  return parameter.size() <= max_orcpt ? parameter : std::string();
}

// Whether Dovecot accepts this as XCLIENT's HELO. It silently ignores anything else, and keeps the value that it had.
bool is_host_or_literal(std::string_view helo) {
  constexpr std::size_t max_helo = 255;
  const bool literal = helo.starts_with('[') && helo.ends_with(']');
  char before = '.';
  for (const char c : literal ? helo.substr(1, helo.size() - 2) : helo) {
    const bool letdig = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letdig && c != '.' && (literal ? c != ':' : c != '-' && c != '_')) return false;
    if (c == '.' && before == '.') return false;
    before = c;
  }
  return before != '.' && helo.size() <= max_helo;
}

// The fields of `client` that this server listed, and that it would accept.
ClientInfo tellable(ClientInfo client, const std::vector<std::string>& listed) {
  const auto lists = [&](std::string_view field) {
    return std::any_of(listed.begin(), listed.end(), [&](const std::string& one) { return iequals(one, field); });
  };
  if (!lists("ADDR")) client.address.clear();
  if (!lists("HELO") || !is_host_or_literal(client.helo)) client.helo.clear();
  if (!lists("PROTO")) client.protocol.clear();
  if (!lists("SESSION")) client.session.clear();
  return client;
}

// Whether `client` replaces every field of `before`. A server keeps the value of a field that a later XCLIENT leaves out.
bool replaces(const ClientInfo& client, const ClientInfo& before) {
  return (before.address.empty() || !client.address.empty()) && (before.helo.empty() || !client.helo.empty()) &&
         (before.protocol.empty() || !client.protocol.empty()) && (before.session.empty() || !client.session.empty());
}

std::string xclient(const ClientInfo& client) {
  std::string line = "XCLIENT";
  const auto add = [&](std::string_view name, std::string_view prefix, const std::string& value) {
    if (!value.empty()) line.append(" ").append(name).append("=").append(prefix).append(xtext(value));
  };
  add("ADDR", client.address.find(':') == std::string::npos ? "" : "IPV6:", client.address);
  add("HELO", "", client.helo);
  add("PROTO", "", client.protocol);
  add("SESSION", "", client.session);
  return line;
}

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
    case Stage::scan:
      return "scan";
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

bool Outcome::may_try_elsewhere() const {
  if (unknown) return false;
  switch (stage) {
    case Stage::connect:
    case Stage::banner:
    case Stage::lhlo:
      return true;
    case Stage::mail:
      return !reply || !reply->is(5);
    case Stage::rcpt:
    case Stage::data:
    case Stage::body:
      return !reply || reply->code == 421;
    case Stage::input:
    case Stage::scan:
    case Stage::dot:
      break;
  }
  return false;
}

Client::Client(Transaction transaction, Patience patience, std::optional<LhloState> reused)
    : transaction_(std::move(transaction)),
      patience_(patience),
      reused_(reused.has_value()),
      lhlo_(std::move(reused).value_or(LhloState())),
      outcomes_(transaction_.recipients.size()) {
  if (!reused_) {
    expected_.push_back({Asked::banner});
    return;
  }
  stage_ = Stage::mail;
  // RSET ends what the last transaction may have left open, and its reply shows that the server is still there.
  say("RSET", {Asked::opening_rset});
  if (lhlo_.pipelining) go_on();
}

bool Client::settled() const {
  return std::all_of(outcomes_.begin(), outcomes_.end(), [](const auto& outcome) { return outcome.has_value(); });
}

std::vector<Outcome> Client::outcomes() const {
  std::vector<Outcome> all;
  for (const auto& outcome : outcomes_) all.push_back(*outcome);
  return all;
}

std::optional<LhloState> Client::reusable() const {
  if (phase_ != Phase::done || !in_sync_ || !reader_.between_replies()) return std::nullopt;
  return lhlo_;
}

Step Client::next(TimePoint now) {
  if (seen_) spent_[static_cast<std::size_t>(seen_stage_)] += now - *seen_;
  seen_ = now;
  if (phase_ == Phase::body && out_.empty() && encoder_->window().empty()) enter(Phase::before_dot, Stage::dot);
  if (phase_ == Phase::before_dot && !encoder_->complete()) {
    stage_ = Stage::input;
    fail_rest("the mail cannot be read again");
  }
  if (phase_ == Phase::before_dot && now >= patience_.dot_by) fail_rest("no time is left to send the final dot");
  seen_stage_ = stage_;
  if (std::exchange(fresh_, false)) since_ = now;
  if (!out_.empty()) return Send{std::string_view(out_).substr(out_sent_), until()};
  switch (phase_) {
    case Phase::body:
      return Send{encoder_->window(), until()};
    case Phase::talk:
    case Phase::before_dot:
    case Phase::dot:
      return Await{until()};
    case Phase::leave:
      phase_ = Phase::done;
      break;
    case Phase::tls:
    case Phase::done:
      break;
  }
  return Done{};
}

void Client::sent(std::size_t n) {
  if (out_.empty()) {
    encoder_->consume(n);
    fresh_ = true;
    return;
  }
  if (phase_ == Phase::dot) dot_sent_ += n;
  if (phase_ == Phase::talk) commands_sent_ += n;
  out_sent_ += n;
  if (out_sent_ == out_.size()) {
    out_.clear();
    out_sent_ = 0;
  }
}

void Client::receive(std::string_view bytes) {
  reader_.feed(bytes, [this](Result<Reply> reply) {
    if (phase_ == Phase::leave || phase_ == Phase::done) {
      in_sync_ = false;
      return;
    }
    fresh_ = true;
    if (reply) on_reply(*reply);
    else lose(reply.error().what);
  });
}

void Client::end(const Ending& ending) {
  if (ending.kind == Ending::Kind::timed_out) fail_rest(words(ending, stage_));
  else lose(words(ending, stage_));
}

void Client::tls_started() {
  // An unfinished line that came before TLS would be read as the beginning of a line under TLS.
  if (!reader_.between_replies()) return lose("the server spoke before the TLS handshake");
  phase_ = Phase::talk;
  lhlo_ = {.tls = true};
  say("LHLO " + transaction_.helo, {Asked::lhlo});
}

void Client::permit_dot(std::string_view refusal) {
  if (!refusal.empty()) return fail_rest(refusal);
  out_ = encoder_->end();
  enter(Phase::dot, Stage::dot);
}

Stage Client::stage_of(Asked asked) {
  switch (asked) {
    case Asked::banner:
      return Stage::banner;
    case Asked::lhlo:
    case Asked::starttls:
    case Asked::xclient:
      return Stage::lhlo;
    case Asked::opening_rset:
    case Asked::mail:
      return Stage::mail;
    case Asked::rcpt:
      return Stage::rcpt;
    case Asked::data:
    case Asked::closing_rset:
      break;
  }
  return Stage::data;
}

void Client::on_reply(const Reply& reply) {
  const bool dot_has_left = phase_ == Phase::dot && dot_sent_ == encoder_->end().size();
  if (reply.code == 421) {
    stale_ = reused_ && dot_sent_ == 0 && !settled();
    for (auto& outcome : outcomes_) {
      if (!outcome) outcome = Outcome{stage_, reply, {}, dot_has_left};
    }
    return stop();
  }
  switch (phase_) {
    case Phase::talk:
      break;
    case Phase::tls:
      return lose("the server spoke before the TLS handshake");
    case Phase::dot:
      if (dot_has_left) return on_final(reply);
      return on_early(reply);
    case Phase::body:
    case Phase::before_dot:
      return on_early(reply);
    case Phase::leave:
    case Phase::done:
      return;
  }
  const Expected expected = expected_.front();
  if (expected.end > commands_sent_) return lose("the server answered before it was asked");
  expected_.pop_front();
  on_expected(expected, reply);
  if (phase_ == Phase::talk && expected_.empty()) go_on();
  if (phase_ == Phase::talk) stage_ = stage_of(expected_.front().asked);
}

void Client::on_expected(const Expected& expected, const Reply& reply) {
  switch (expected.asked) {
    case Asked::banner:
      return on_banner(reply);
    case Asked::lhlo:
      return on_lhlo(reply);
    case Asked::starttls:
      return on_starttls(reply);
    case Asked::xclient:
      return on_xclient(reply);
    case Asked::opening_rset:
      if (!reply.is(2)) lose("the server refuses RSET");
      return;
    case Asked::mail:
      if (!reply.is(2)) decide_rest(Stage::mail, reply);
      return;
    case Asked::rcpt:
      return on_rcpt(expected, reply);
    case Asked::data:
      return on_data(reply);
    case Asked::closing_rset:
      return reply.is(2) ? finish() : leave(quit);
  }
}

void Client::on_banner(const Reply& reply) {
  if (reply.is(2)) return say("LHLO " + transaction_.helo, {Asked::lhlo});
  decide_rest(Stage::banner, reply);
  leave(quit);
}

void Client::on_lhlo(const Reply& reply) {
  if (!reply.is(2)) {
    decide_rest(Stage::lhlo, reply);
    return leave(quit);
  }
  lhlo_ = {.tls = lhlo_.tls, .client = std::move(lhlo_.client)};
  for (std::size_t i = 1; i < reply.lines.size(); ++i) {  // the first line is the greeting
    std::string_view rest = reply.lines[i];
    const std::string_view word = take_word(rest);
    if (iequals(word, "PIPELINING")) lhlo_.pipelining = true;
    else if (iequals(word, "8BITMIME")) lhlo_.eightbitmime = true;
    else if (iequals(word, "SIZE")) lhlo_.size = true;
    else if (iequals(word, "CHUNKING")) lhlo_.chunking = true;
    else if (iequals(word, "DSN")) lhlo_.dsn = true;
    else if (iequals(word, "SMTPUTF8")) lhlo_.smtputf8 = true;
    else if (iequals(word, "STARTTLS")) lhlo_.starttls = true;
    else if (iequals(word, "XCLIENT")) {
      while (!rest.empty()) lhlo_.xclient.emplace_back(take_word(rest));
    }
  }
}

void Client::on_starttls(const Reply& reply) {
  if (reply.is(2)) return enter(Phase::tls, Stage::lhlo);
  decide_rest(Stage::lhlo, reply);
  leave(quit);
}

void Client::on_xclient(const Reply& reply) {
  if (reply.is(2)) {
    introduced_ = true;
    lhlo_ = {.tls = lhlo_.tls, .client = tellable(*transaction_.client, lhlo_.xclient)};
    return say("LHLO " + transaction_.helo, {Asked::lhlo});
  }
  // Without XCLIENT the server's log does not name the client, which is no failure. But the mail of one client must not be
  // delivered in the name of another.
  if (lhlo_.client) return lose("the server refuses XCLIENT");
  lhlo_.xclient.clear();
}

void Client::on_rcpt(const Expected& expected, const Reply& reply) {
  if (expected.orcpt && (reply.code == 501 || reply.code == 555)) {
    lhlo_.orcpt_refused = true;
    if (!outcomes_[expected.recipient]) return say_rcpt(expected.recipient, false);
  }
  if (transaction_.probe || !reply.is(2)) return decide(expected.recipient, Stage::rcpt, reply);
  accepted_.push_back(expected.recipient);
}

void Client::on_data(const Reply& reply) {
  if (!reply.is(3)) {
    decide_rest(Stage::data, reply);
    return finish();
  }
  // When MAIL was refused but a recipient was accepted, a lone dot could deliver an empty mail: the connection is closed instead.
  if (settled()) return accepted_.empty() ? leave(".\r\nQUIT\r\n") : stop();
  send_mail(Framing::dots);
}

// A reply while the mail is being sent. The transaction ends without the dot and the connection is closed, so nothing is
// delivered.
void Client::on_early(const Reply& reply) {
  if (!reply.is(4) && !reply.is(5)) return lose("the server answered before it had the whole mail");
  decide_rest(stage_, reply);
  stop();
}

void Client::on_final(const Reply& reply) {
  decide(accepted_[answered_++], Stage::dot, reply);
  if (answered_ == accepted_.size()) finish();
}

// Every command has had its reply: the next one.
void Client::go_on() {
  if (transaction_.starttls && !lhlo_.tls) {
    if (lhlo_.starttls) return say("STARTTLS", {Asked::starttls});
    return fail_rest("the server does not offer STARTTLS");
  }
  if (transaction_.client && !introduced_) {
    const ClientInfo client = tellable(*transaction_.client, lhlo_.xclient);
    if (lhlo_.client && !replaces(client, *lhlo_.client)) return lose("the connection speaks for another client");
    if (client != lhlo_.client.value_or(ClientInfo())) return say(xclient(client), {Asked::xclient});
  }
  say_transaction();
}

bool Client::chunked() const { return lhlo_.chunking && transaction_.mail.size() > 0; }

// Dovecot accepts ORCPT although it does not list DSN; other servers may refuse it. So without DSN, ORCPT is tried when there is
// a single recipient, because a server may count each refusal as an error of ours. After a refusal RCPT is sent again without it.
bool Client::wants_orcpt(const Recipient& recipient) const {
  if (transaction_.probe || orcpt(recipient).empty()) return false;
  return lhlo_.dsn || (transaction_.recipients.size() == 1 && !lhlo_.orcpt_refused);
}

// Whether DATA or BDAT must wait for all replies to RCPT.
bool Client::data_waits() const {
  const auto& recipients = transaction_.recipients;
  return chunked() ||
         std::any_of(recipients.begin(), recipients.end(), [this](const auto& recipient) { return wants_orcpt(recipient); });
}

// The next of MAIL, each RCPT, and DATA or RSET; with PIPELINING, all that are left.
void Client::say_transaction() {
  const std::size_t count = transaction_.recipients.size();
  // A probe ends with RSET even when nothing else is left to ask: Dovecot 2.4 counts recipients as deliveries until then.
  if (settled() && !(transaction_.probe && said_ == count + 1)) return finish();
  if (said_ == count + 1 && !transaction_.probe && chunked()) {
    out_ = "BDAT " + std::to_string(transaction_.mail.size()) + " LAST\r\n";
    return send_mail(Framing::chunk);
  }
  const std::size_t end = count + (transaction_.probe || !data_waits() ? 2 : 1);
  do {
    if (said_ == 0) say_mail();
    else if (said_ <= count) say_rcpt(said_ - 1, wants_orcpt(transaction_.recipients[said_ - 1]));
    else if (transaction_.probe) say("RSET", {Asked::closing_rset});
    else say("DATA", {Asked::data});
    ++said_;
  } while (lhlo_.pipelining && said_ < end);
}

void Client::say_mail() {
  std::string line = "MAIL FROM:<" + transaction_.sender + ">";
  if (lhlo_.smtputf8 && !is_ascii(transaction_)) line += " SMTPUTF8";
  if (lhlo_.eightbitmime && !transaction_.probe) line += " BODY=8BITMIME";
  if (lhlo_.size && !transaction_.probe) line += " SIZE=" + std::to_string(transaction_.mail.size());
  say(line, {Asked::mail});
}

void Client::say_rcpt(std::size_t recipient, bool with_orcpt) {
  const Recipient& to = transaction_.recipients[recipient];
  say("RCPT TO:<" + to.address + ">" + (with_orcpt ? orcpt(to) : ""), {Asked::rcpt, recipient, with_orcpt});
}

void Client::send_mail(Framing framing) {
  encoder_.emplace(transaction_.mail, framing);
  enter(Phase::body, Stage::body);
}

// Every reply has been read. The connection is not kept when a recipient was accepted and got no mail: in Dovecot 2.4 he would
// count as a delivery for as long as the connection lives.
void Client::finish() {
  in_sync_ = transaction_.keep && answered_ == accepted_.size();
  leave(in_sync_ ? std::string_view() : quit);
}

void Client::say(std::string_view line, Expected expected) {
  out_.append(line).append("\r\n");
  commands_said_ += line.size() + 2;
  expected.end = commands_said_;
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

// The connection cannot be used any more.
void Client::lose(std::string_view why) {
  stale_ = reused_ && dot_sent_ == 0 && !settled();
  fail_rest(why);
}

// Nothing more leaves, not even the rest of a dot.
void Client::stop() {
  phase_ = Phase::done;
  in_sync_ = false;
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
    case Stage::scan:
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
