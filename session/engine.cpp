#include "session/engine.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <new>
#include <utility>

#include "base/dot_stuffing.hpp"
#include "base/text.hpp"
#include "mail/submission.hpp"
#include "rspamd/scan_request.hpp"

namespace mailbridge::session {
namespace {

// smtpd takes lines of 65,534 bytes from a client and puts less than 100 in front.
constexpr std::size_t max_smtpd_line = 128 * 1024;
// Enough to fill smtpd's socket; a message being written needs no second copy of itself.
constexpr std::size_t output_window = 64 * 1024;
// A larger message lets the others go first after each of these.
constexpr std::size_t output_turn = std::size_t{1024} * 1024;
constexpr std::size_t symbols_logged = 5;
// Far beyond what mail has; smtpd itself bounds a field, not the section.
constexpr std::size_t max_head = std::size_t{4} * 1024 * 1024;
// A body that rspamd rewrites may get another encoding or a footer: it may be twice as large as the message, and this.
constexpr std::size_t rewriting_slack = std::size_t{1024} * 1024;

constexpr std::string_view registrations =
    "register|report|smtp-in|link-connect\n"
    "register|report|smtp-in|link-greeting\n"
    "register|report|smtp-in|link-identify\n"
    "register|report|smtp-in|link-tls\n"
    "register|report|smtp-in|link-auth\n"
    "register|report|smtp-in|link-disconnect\n"
    "register|report|smtp-in|tx-begin\n"
    "register|report|smtp-in|tx-mail\n"
    "register|report|smtp-in|tx-rcpt\n"
    "register|report|smtp-in|tx-commit\n"
    "register|report|smtp-in|tx-rollback\n"
    "register|report|smtp-in|tx-reset\n"
    "register|report|smtp-in|protocol-server\n"
    "register|filter|smtp-in|data-line\n"
    "register|filter|smtp-in|commit\n";
constexpr std::string_view recipient_registrations =
    "register|report|smtp-in|tx-envelope\n"
    "register|report|smtp-in|protocol-client\n"  // the only place where SIZE= is told
    "register|filter|smtp-in|rcpt-to\n";

constexpr Duration ask_for_size_again = std::chrono::seconds(30);

constexpr std::string_view no_verdict = "451 4.3.0 Message could not be scanned, try again later";
constexpr std::string_view out_of_order = "451 4.3.0 Mail scanning is out of order, try again later";
constexpr std::string_view cut_off = "552 5.3.4 Message is larger than this server takes";
constexpr std::string_view line_too_long = "554 5.6.0 Message holds a line that is too long";
constexpr std::string_view head_too_large = "554 5.6.0 Message has a header section that is too large";
// smtpd's words for it (smtp_session.c, smtp_message_end).
constexpr std::string_view malformed = "550 5.7.1 Delivery not authorized, message refused: Message is not RFC 2822 compliant";
constexpr std::string_view no_storage = "451 4.3.1 Not enough storage for the message, try again later";

bool is_local(std::string_view src) { return src.starts_with("unix:") || src == "local"; }

// "192.0.2.1:25", "[2001:db8::1]:25", "unix:/var/run/smtpd.sock"; the local socket is this host.
std::string client_ip(std::string_view src) {
  if (is_local(src)) return "127.0.0.1";
  if (src.starts_with('[')) src = src.substr(1, src.find(']') - 1);
  else src = src.substr(0, src.rfind(':'));
  if (istarts_with(src, "IPv6:")) src.remove_prefix(5);
  return std::string(src);
}

// Whether smtpd adds a missing Date and Message-ID to what comes in on this listener (smtp_session.c, RFC5322_END_OF_HEADERS):
// the local socket, a loopback address, and port 587, where a mistake kept versions before 7.4 from it. `dest` is the address
// that the listener was given: 0.0.0.0 takes local connections, too, but is no loopback address.
bool completes(std::string_view dest) {
  return dest.starts_with("unix:") || dest == "local" || dest.starts_with("127.0.0.1:") || dest.starts_with("[::1]:") ||
         dest.ends_with(":587");
}

// "6.8.0p2-portable", "7.8.0".
bool is_since(std::string_view version, smtpd::Version since) {
  smtpd::Version is;
  const auto [dot, error] = std::from_chars(version.data(), version.data() + version.size(), is.major);
  if (error != std::errc() || dot == version.data() + version.size()) return false;
  std::from_chars(dot + 1, version.data() + version.size(), is.minor);
  return is >= since;
}

std::string milliseconds(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

std::string decimal(double value) {
  std::array<char, 32> text{};
  const bool plain = std::abs(value) < 1e15;  // scores are; other numbers stay short in their shortest form
  const auto [end, error] = plain ? std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed, 2)
                                  : std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), end};
}

std::string top_symbols(const std::vector<rspamd::Symbol>& symbols) {
  std::vector<const rspamd::Symbol*> top;
  top.reserve(symbols.size());
  for (const rspamd::Symbol& symbol : symbols) top.push_back(&symbol);
  const auto shown = top.begin() + static_cast<std::ptrdiff_t>(std::min(top.size(), symbols_logged));
  std::partial_sort(top.begin(), shown, top.end(), [](const rspamd::Symbol* a, const rspamd::Symbol* b) {
    return std::abs(a->score) != std::abs(b->score) ? std::abs(a->score) > std::abs(b->score) : a < b;
  });
  std::string text;
  for (auto symbol = top.begin(); symbol != shown; ++symbol) {
    if (!text.empty()) text += ',';
    text += (*symbol)->name + "(" + decimal((*symbol)->score) + ")";
  }
  return text;
}

}  // namespace

Engine::Engine(Settings settings, std::uint64_t random) : lines_(max_smtpd_line), verifier_(random) {
  use(std::move(settings));
  out_.reserve(output_window + max_smtpd_line);
}

void Engine::use(Settings settings) {
  settings_ = std::move(settings);
  verifier_.use(settings_.verify);
  tarpit_.use(2 * settings_.recipients.max_unknown);
  if (registered_ && !asked_about_recipients_ && !settings_.verify.domains.empty())
    note(Level::warn, "--verify is obeyed when smtpd is started again, for only then it can be asked for recipients");
  budget_->limit = settings_.memory;
  budget_->spool = settings_.spool;
  budget_->max_files = settings_.max_files;
  queue_.set_limits(settings_.max_scans, settings_.max_queue);
  for (auto& [id, scan] : waiting_) {
    scan.until = std::min(scan.until, *sessions_.at(scan.session_key).tx.scan_wanted + settings_.scan_timeout);
  }
  for (auto& [id, scan] : scans_) {
    scan.until = std::min(scan.until, *sessions_.at(scan.session_key).tx.scan_wanted + settings_.scan_timeout + grace);
  }
}

void Engine::receive(std::string_view bytes, TimePoint now) {
  lines_.feed(bytes, [&](std::string_view line, bool cut) {
    try {
      on_line(line, cut, now);
    } catch (const std::bad_alloc&) {
      if (const auto parsed = smtpd::parse_line(line)) forget(parsed->session_key);
      try {
        on_line(line, cut, now);
      } catch (const std::bad_alloc&) {  // a session that we shall not know, or nothing that matters
      }
    }
    take_from_verifier(now);
    start_scans(now);
  });
}

// What is on its way to smtpd stays.
void Engine::forget(std::uint64_t session_key) {
  const auto session = sessions_.find(session_key);
  if (session == sessions_.end()) return;
  const std::optional<ScanId> scan = session->second.tx.scan;
  const std::optional<recipients::DeliveryId> delivery = session->second.tx.delivery;
  const bool delivering = orphan_delivery(session->second.tx);
  forget_room_questions(session->second);
  const std::string id = std::move(session->second.id);
  sessions_.erase(session);
  const bool ran = scan && drop_scan(*scan);
  try {
    if (ran) commands_.emplace_back(CancelScan{*scan});
    if (delivering) commands_.emplace_back(recipients::CancelDelivery{*delivery});
    note(Level::error, "session=" + id + " is given up: out of memory");
  } catch (const std::bad_alloc&) {  // then nobody hears of it, and the scan ends by itself
  }
}

// Of nothing but the output's own memory, which has room in all likelihood; and never a part of a line.
void Engine::answer(std::string_view kind, smtpd::Version version, std::string_view session, std::string_view token,
                    std::string_view what, std::string_view text) {
  out_.reserve(out_.size() + kind.size() + session.size() + token.size() + what.size() + text.size() + 4);
  smtpd::append_answer_prefix(out_, kind, smtpd::dialect_of(version), session, token);
  out_ += what;
  out_ += text;
  out_ += '\n';
}

void Engine::on_line(std::string_view text, bool cut, TimePoint now) {
  if (const auto data = repeated_.match(text)) {
    if (const auto session = sessions_.find(repeated_.session_key()); session != sessions_.end()) {
      return on_data_line(session->second, *data, cut, now);
    }
  }
  if (const auto reply = smtpd::reply_in(text)) return on_reply(*reply);
  const auto line = smtpd::parse_line(text);
  if (!line) return note(Level::error, line.error().what);
  if (const auto* config = std::get_if<smtpd::Config>(&line->event)) return on_config(*config);
  if (const auto* connect = std::get_if<smtpd::LinkConnect>(&line->event)) {
    Session& session = sessions_[line->session_key];
    end_session(session, "superseded");
    session = Session{};
    session.key = line->session_key;
    session.id = line->session;
    session.version = line->version;
    session.client.ip = client_ip(connect->src);
    session.client.local = is_local(connect->src);
    session.listener = connect->dest;
    session.completed = completes(connect->dest);
    if (connect->fcrdns == "pass" && connect->rdns != "<unknown>") session.client.hostname = connect->rdns;
    return;
  }
  const auto found = sessions_.find(line->session_key);
  Session* session = found == sessions_.end() ? nullptr : &found->second;

  struct Visitor {
    Engine& engine;
    const smtpd::SmtpdLine& line;
    Session* session;
    bool cut;
    TimePoint now;

    void operator()(const smtpd::Config&) const {}
    void operator()(const smtpd::LinkConnect&) const {}
    void operator()(const smtpd::OtherReport&) const {}
    void operator()(const smtpd::LinkGreeting& event) const {
      if (session) session->client.mta_name = event.hostname;
    }
    void operator()(const smtpd::LinkIdentify& event) const {
      if (session) engine.on_identify(*session, event, now);
    }
    void operator()(const smtpd::LinkTls& event) const {
      if (!session) return;
      session->client.tls_version = event.version;
      session->client.tls_cipher = event.cipher;
    }
    void operator()(const smtpd::LinkAuth& event) const {
      if (session && event.result == "pass") session->client.user = event.user;
    }
    void operator()(const smtpd::LinkDisconnect&) const {
      if (!session) return;
      engine.end_session(*session, "disconnected");
      engine.sessions_.erase(line.session_key);
    }
    void operator()(const smtpd::TxBegin& event) const {
      if (!session) return;
      engine.end_transaction(*session, "superseded");
      session->tx.msgid = event.msgid;
    }
    void operator()(const smtpd::TxMail& event) const {
      if (!session || event.result != "ok") return;
      session->tx.sender = mail::normalised_address(event.address, session->client.mta_name);
      session->tx.announced = session->announced;
    }
    void operator()(const smtpd::TxEnvelope&) const {
      if (session) ++session->tx.envelopes;
    }
    void operator()(const smtpd::TxRcpt& event) const {
      if (session) engine.on_tx_rcpt(*session, event, now);
    }
    void operator()(const smtpd::ProtocolClient& event) const {
      if (session && istarts_with(event.command, "MAIL")) session->announced = smtpd::announced_size(event.command);
    }
    void operator()(const smtpd::TxCommit&) const {
      if (session) engine.end_transaction(*session, "committed");
    }
    void operator()(const smtpd::TxRollback&) const {
      if (session) engine.end_transaction(*session, "rolled-back");
    }
    void operator()(const smtpd::TxReset&) const {
      if (session) engine.end_transaction(*session, "reset");
    }
    void operator()(const smtpd::DataLine& event) const {
      if (session) {
        engine.repeated_.remember(line, event);
        return engine.on_data_line(*session, event, cut, now);
      }
      // A session that is gone, or one whose beginning we never saw: nothing is kept of it, and its message is refused.
      if (!is_end_of_data(event.line)) return;
      engine.answer("filter-dataline", line.version, line.session, event.token, ".");
    }
    void operator()(const smtpd::Commit& event) const {
      const std::string_view refusal = session ? engine.on_commit(*session) : no_verdict;
      const std::string_view what = refusal.empty() ? "proceed" : "reject|";
      engine.answer("filter-result", line.version, line.session, event.token, what, refusal);
    }
    void operator()(const smtpd::RcptTo& event) const {
      if (session) return engine.on_rcpt_to(*session, event, now);
      engine.answer("filter-result", line.version, line.session, event.token, "proceed");
    }
    void operator()(const smtpd::OtherRequest& event) const {
      engine.answer("filter-result", line.version, line.session, event.token, "proceed");
      engine.note(Level::warn, "smtpd asked about a phase that was not registered: " + printable(event.phase, 40));
    }
  };
  std::visit(Visitor{*this, *line, session, cut, now}, line->event);
}

void Engine::on_config(const smtpd::Config& config) {
  if (config.key == "admd") admd_ = config.value;
  if (config.key == "smtpd-version") {
    smtpd_version_ = config.value;
    smtpd_escapes_in_quotes_ = is_since(smtpd_version_, {7, 5});
  }
  if (config.key != "ready" || registered_) return;
  asked_about_recipients_ = !settings_.verify.domains.empty();
  out_.append(registrations).append(asked_about_recipients_ ? recipient_registrations : "").append("register|ready\n");
  registered_ = true;
  note(Level::info, "registered with OpenSMTPD " + printable(smtpd_version_, 40));
}

// smtpd's limit is the same for all sessions, and its reply to EHLO the only place where it is told.
void Engine::on_reply(std::string_view reply) {
  constexpr std::string_view keyword = "250-SIZE ";
  if (!reply.starts_with(keyword)) return;
  std::size_t size = 0;
  const auto [end, error] = std::from_chars(reply.data() + keyword.size(), reply.data() + reply.size(), size);
  if (error == std::errc{} && end == reply.data() + reply.size()) smtpd_max_size_ = size;
}

// A client that says HELO does not hear of SIZE, and neither would we.
void Engine::on_identify(Session& session, const smtpd::LinkIdentify& event, TimePoint now) {
  session.client.helo = event.name;
  if (event.method == "EHLO" || smtpd_max_size_ || !settings_.delivery) return;
  if (asked_for_size_ && now < *asked_for_size_ + ask_for_size_again) return;
  commands_.emplace_back(AskForSize{session.listener});
  asked_for_size_ = now;
}

void Engine::on_data_line(Session& session, const smtpd::DataLine& event, bool cut, TimePoint now) {
  Transaction& tx = session.tx;
  if (tx.ended || tx.answered) return;
  tx.data_token = event.token;
  if (!cut && is_end_of_data(event.line)) {
    tx.ended = true;
    return end_of_data(session, now);
  }
  tx.size += unstuffed(event.line).size() + 2;
  tx.client_part.line(event.line);
  if (!tx.unfit.empty()) return;
  if (!settings_.out_of_order.empty()) return give_up(tx, out_of_order);
  if (cut || event.line.size() > smtpd::max_dataline) return give_up(tx, line_too_long);
  if (tx.client_part.continues_trace()) return give_up(tx, malformed);
  tx.longest = std::max(tx.longest, event.line.size());
  if (!tx.message) tx.message = std::make_shared<mail::Message>(budget_);
  tx.message->append_line(unstuffed(event.line));
  if (tx.message->head().size() > max_head) return give_up(tx, head_too_large);
  if (!tx.message->failed()) return;
  note_lost(session, *tx.message);
  give_up(tx, no_storage);
}

// Its memory and file are free at once, and the rest of it goes by.
void Engine::give_up(Transaction& tx, std::string_view refusal) {
  tx.unfit = refusal;
  tx.message.reset();
}

void Engine::note_lost(const Session& session, const mail::Message& message) {
  note(Level::error, "session=" + session.id + " msgid=" + printable(session.tx.msgid, 16) +
                         " the message is deferred: " + printable(settings_.spool, 200) + ": " + message.failure().message());
}

void Engine::end_of_data(Session& session, TimePoint now) {
  Transaction& tx = session.tx;
  const mail::Envelope& client = session.client;
  if (settings_.submission) complete(session);
  std::string& log = tx.log;
  append_field(log, "session", session.id);
  append_field(log, "msgid", tx.msgid);
  append_field(log, "ip", client.ip);
  append_field(log, "from", tx.sender);
  append_field(log, "rcpts", std::to_string(tx.recipients.size()));
  if (asked_about_recipients_) {
    const auto verified = std::count_if(tx.recipients.begin(), tx.recipients.end(),
                                        [&](const std::string& address) { return tx.verified.contains(address); });
    append_field(log, "verified", std::to_string(verified));
  }
  if (tx.unverified > 0) append_field(log, "unverified", std::to_string(tx.unverified));
  append_field(log, "size", std::to_string(tx.size));
  if (!settings_.out_of_order.empty()) {
    tx.log_level = Level::error;
    append_field(log, "out_of_order", settings_.out_of_order);
    return refuse(session, out_of_order);
  }
  if (!tx.unfit.empty()) return refuse(session, tx.unfit);
  if (smtpd::dialect_of(session.version).cuts_long_lines && tx.longest > smtpd::cut_dataline) {
    note(Level::warn, "session=" + session.id + " msgid=" + printable(tx.msgid, 16) + " a line of " + std::to_string(tx.longest) +
                          " bytes will be cut to 1997 by this version of smtpd");
  }
  ask_for_room(session, now);
  examine(session, now);
}

// Whether it is to be scanned, and how.
void Engine::examine(Session& session, TimePoint now) {
  Transaction& tx = session.tx;
  const auto without_scan = [&](std::string_view why) {
    append_field(tx.log, "scan", why);
    counters_.add("scan", why);
  };
  if (!tx.message) tx.message = std::make_shared<mail::Message>(budget_);
  const policy::ClassSet holds = settings_.classes.of(envelope_of(session));
  if (const auto skipped = settings_.classes.skip.first_of(holds)) {
    without_scan("skipped");
    append_field(tx.log, "class", to_string(*skipped));
    return pass_unscanned(session, now);
  }
  if (tx.client_part.empty()) {  // there is nothing that rspamd could judge, and it does not
    without_scan("empty");
    return pass_unscanned(session, now);
  }
  // smtpd is about to refuse it. So do we, for if it were complete after all it must pass neither unscanned nor empty.
  if (smtpd_max_size_ && tx.client_part.may_be_cut(*smtpd_max_size_)) {
    without_scan("cut-off");
    return refuse(session, cut_off);
  }
  if (settings_.monitor) tx.enforcement = policy::Enforcement::none;
  else if (settings_.classes.soften.first_of(holds)) tx.enforcement = policy::Enforcement::softened;
  tx.settings_id = settings_.classes.settings_id_for(holds);
  if (tx.size > settings_.max_size) {
    const std::string what = std::to_string(tx.size) + " bytes are more than " + std::to_string(settings_.max_size);
    return decide(session, tl::unexpected(rspamd::ScanFailure{rspamd::ScanFailure::Kind::too_large, what}), now);
  }
  queue_scan(session, now);
}

// Before the scan, so that rspamd sees, and signs, what leaves.
void Engine::complete(Session& session) {
  Transaction& tx = session.tx;
  if (!tx.message || (!session.completed && session.client.user.empty())) return;
  auto completed = as_submitted(session, tx.message->head());
  if (!completed) return;
  tx.message->replace_head(std::move(*completed));
  tx.size = tx.message->size();
}

// As smtpd will have it, or nothing when that is no other.
std::optional<std::string> Engine::as_submitted(const Session& session, std::string_view head) const {
  const mail::Envelope& client = session.client;
  const std::string& msgid = session.tx.msgid;
  if (client.mta_name.empty()) return std::nullopt;
  const std::string_view date = session.completed ? mail::received_date(head, msgid) : std::string_view();
  const std::string message_id =
      session.completed && !msgid.empty() ? "<" + msgid + "." + session.id + "@" + client.mta_name + ">" : "";
  return mail::as_submitted(head, {client.mta_name, date, message_id, smtpd_escapes_in_quotes_, smtpd::max_dataline});
}

mail::Envelope Engine::envelope_of(const Session& session) const {
  mail::Envelope envelope = session.client;
  envelope.sender = session.tx.sender;
  envelope.recipients = session.tx.recipients;
  envelope.queue_id = session.tx.msgid;
  return envelope;
}

void Engine::queue_scan(Session& session, TimePoint now) {
  const ScanId id = next_scan_++;
  waiting_.emplace(id, Scan{session.key, now + settings_.scan_timeout});
  session.tx.scan = id;
  session.tx.scan_wanted = now;
  if (const auto gone = queue_.add(id, session.client.ip)) {
    give_up_scan(*gone, rspamd::ScanFailure::Kind::overload, "too many scans are under way: no room to wait", now);
  }
}

void Engine::give_up_scan(ScanId id, rspamd::ScanFailure::Kind kind, std::string_view why, TimePoint now) {
  const auto waiting = waiting_.find(id);
  Session& session = sessions_.at((waiting != waiting_.end() ? waiting->second : scans_.at(id)).session_key);
  session.tx.scan.reset();
  const bool ran = drop_scan(id);
  try {
    if (ran) commands_.emplace_back(CancelScan{id});
    decide(session, tl::unexpected(rspamd::ScanFailure{kind, std::string(why)}), now);
  } catch (const std::bad_alloc&) {
    abandon(session);
  }
}

void Engine::start_scans(TimePoint now) {
  while (!waiting_.empty() && waiting_.begin()->second.until <= now) {
    give_up_scan(waiting_.begin()->first, rspamd::ScanFailure::Kind::overload, "too many scans are under way: no turn in time",
                 now);
  }
  while (const auto id = queue_.next()) {
    scans_.insert(waiting_.extract(*id));
    Scan& scan = scans_.at(*id);
    Session& session = sessions_.at(scan.session_key);
    try {
      start_scan(session, scan, *id, now);
    } catch (const std::bad_alloc&) {
      abandon(session);
    }
  }
}

void Engine::start_scan(Session& session, Scan& scan, ScanId id, TimePoint now) {
  Transaction& tx = session.tx;
  rspamd::ScanRequest request =
      rspamd::scan_request(envelope_of(session), {tx.settings_id, session.id, settings_.request_headers});
  if (!std::exchange(scan.begun, true)) {
    if (request.recipients_left_out > 0) append_field(tx.log, "rcpts_not_scanned", std::to_string(request.recipients_left_out));
    if (now > *tx.scan_wanted) append_field(tx.log, "queue_ms", milliseconds(now - *tx.scan_wanted));
  }
  std::optional<rspamd::BodyBounds> rewritten_bounds;
  if (settings_.allow_rewritten_body && tx.enforcement != policy::Enforcement::none) {
    rewritten_bounds = {budget_, 2 * tx.message->size() + rewriting_slack, smtpd::max_dataline};
  }
  commands_.emplace_back(StartScan{id, std::move(request.headers), tx.message, scan.until, std::move(rewritten_bounds)});
  scan.until += grace;
}

// Whether a scan that could not begin can wait for another one to end.
bool Engine::put_back(ScanId id, std::string_view why) {
  if (scans_.size() < 2) return false;
  Scan& scan = scans_.at(id);
  Session& session = sessions_.at(scan.session_key);
  try {
    if (!std::exchange(scan.lacked, true)) append_field(session.tx.log, "lacking", why);
    queue_.put_back(id, session.client.ip);
  } catch (const std::bad_alloc&) {
    return false;
  }
  scan.until -= grace;
  waiting_.insert(scans_.extract(id));
  return true;
}

// Whether it ran.
bool Engine::drop_scan(ScanId id) {
  if (waiting_.erase(id) > 0) queue_.remove(id);
  if (scans_.erase(id) == 0) return false;
  queue_.ended();
  return true;
}

void Engine::scan_finished(ScanId id, const rspamd::ScanResult& result, TimePoint now, std::string_view server) {
  const auto scan = scans_.find(id);
  if (scan == scans_.end()) return;
  Session& session = sessions_.at(scan->second.session_key);
  const bool short_of_something = !result && result.error().kind == rspamd::ScanFailure::Kind::overload;
  if (short_of_something && !session.tx.message->failed() && put_back(id, result.error().what)) return start_scans(now);
  drop_scan(id);
  session.tx.scan.reset();
  try {
    if (!server.empty()) append_field(session.tx.log, "server", server);
    decide(session, result, now);
  } catch (const std::bad_alloc&) {
    abandon(session);
  }
  start_scans(now);
}

// The memory ran out when its lines had all come.
void Engine::abandon(Session& session) {
  session.tx.message.reset();
  answer("filter-dataline", session.version, session.id, session.tx.data_token, ".");
  forget(session.key);
}

void Engine::tick(TimePoint now) {
  tick_verifier(now);
  start_scans(now);
  while (!scans_.empty() && scans_.begin()->second.until <= now) {
    give_up_scan(scans_.begin()->first, rspamd::ScanFailure::Kind::timed_out, "no verdict in time", now);
    start_scans(now);
  }
  give_up_deliveries(now);
}

std::optional<TimePoint> Engine::next_deadline() const {
  std::optional<TimePoint> next = verifier_.next_deadline();
  if (!slowed_.empty() && (!next || slowed_.begin()->first < *next)) next = slowed_.begin()->first;
  for (const auto* scans : {&waiting_, &scans_}) {
    if (!scans->empty() && (!next || scans->begin()->second.until < *next)) next = scans->begin()->second.until;
  }
  if (!deliveries_.empty() && (!next || deliveries_.begin()->second.until < *next)) next = deliveries_.begin()->second.until;
  return next;
}

void Engine::decide(Session& session, const rspamd::ScanResult& result, TimePoint now) {
  Transaction& tx = session.tx;
  if (tx.message->failed()) {  // rspamd did not see all of it
    note_lost(session, *tx.message);
    return refuse(session, no_storage);
  }
  policy::Decision decision =
      policy::decide(tx.message->head(), result, settings_.policy, tx.enforcement, {admd_, session.client.mta_name},
                     tx.scan_wanted ? now - *tx.scan_wanted : Duration());
  const bool applied = result && result->rewritten_body && *result->rewritten_body && decision.refusal.empty();
  if (result) {
    append_field(tx.log, "action", result->action);
    counters_.add("action", result->action);
    append_field(tx.log, "score", decimal(result->score) + "/" + decimal(result->required_score));
    append_field(tx.log, "symbols", top_symbols(result->symbols));
    if (result->has_rewritten_body) {
      append_field(tx.log, applied ? "applied" : "not_applied", "rewritten body");
      if (!applied) counters_.add("not_applied", "rewritten body");
    }
    for (const std::string& name : result->unsupported) {
      append_field(tx.log, "not_applied", name);
      counters_.add("not_applied", name);
    }
  }
  if (!result || decision.body_unusable) {
    const std::string_view error = to_string(result ? rspamd::ScanFailure::Kind::unreadable : result.error().kind);
    tx.log_level = Level::warn;
    append_field(tx.log, "error", error);
    counters_.add("error", error);
    append_field(tx.log, "reason", result ? result->rewritten_body.error().what : result.error().what);
  }
  for (const std::string& name : decision.dropped_headers) append_field(tx.log, "header_dropped", name);
  if (tx.scan_wanted) append_field(tx.log, "scan_ms", milliseconds(now - *tx.scan_wanted));
  if (!decision.refusal.empty()) return refuse(session, decision.refusal);
  if (applied) {
    tx.message = *result->rewritten_body;
    decision.body_from = 0;
  }
  proceed(session, std::move(decision), now);
}

void Engine::pass_unscanned(Session& session, TimePoint now) {
  proceed(session, policy::pass_unscanned(session.tx.message->head(), {admd_, session.client.mta_name}), now);
}

void Engine::proceed(Session& session, policy::Decision decision, TimePoint now) {
  Transaction& tx = session.tx;
  if (!decision.not_said.empty()) append_field(tx.log, "instead_of", decision.not_said);
  tx.decision = std::move(decision);
  if (tx.asked_for_room == 0) pass_on(session, now);
}

void Engine::emit(Session& session, std::string mark) {
  Transaction& tx = session.tx;
  policy::Decision decision = *std::exchange(tx.decision, std::nullopt);
  std::string prefix;
  smtpd::append_answer_prefix(prefix, "filter-dataline", smtpd::dialect_of(session.version), session.id, tx.data_token);
  std::string head = std::move(mark.append(decision.header_bytes));
  emissions_.push_back({session.key, std::move(prefix), std::move(head), 0, std::move(tx.message), decision.body_from});
  tx.answered = true;
}

// Nothing of a refused message goes back: smtpd would only throw it away.
void Engine::refuse(Session& session, std::string_view refusal) {
  Transaction& tx = session.tx;
  tx.refusal = refusal;
  tx.message.reset();
  tx.decision.reset();
  forget_room_questions(session);
  if (tx.ended) answer("filter-dataline", session.version, session.id, tx.data_token, ".");
  tx.answered = true;
}

std::string_view Engine::on_commit(Session& session) {
  Transaction& tx = session.tx;
  if (!tx.answered) {  // smtpd asks only after our "."
    cancel_scan(tx);
    cancel_delivery(tx);
    refuse(session, no_verdict);
  }
  return tx.refusal;
}

void Engine::cancel_scan(Transaction& tx) {
  if (!tx.scan) return;
  const ScanId id = *std::exchange(tx.scan, std::nullopt);
  if (drop_scan(id)) commands_.emplace_back(CancelScan{id});
}

void Engine::end_transaction(Session& session, std::string_view became) {
  Transaction& tx = session.tx;
  cancel_scan(tx);
  cancel_delivery(tx);
  forget_room_questions(session);
  std::erase_if(emissions_, [&](const Emission& emission) { return emission.session_key == session.key; });
  if (!tx.log.empty()) {
    append_field(tx.log, "answer", !tx.answered ? "none" : tx.refusal.empty() ? "proceed" : tx.refusal);
    const char* answer = !tx.answered ? "none" : tx.refusal.empty() ? "proceed" : tx.refusal[0] == '4' ? "tempfail" : "reject";
    counters_.add("mails");
    counters_.add("answer", answer);
    counters_.add("result", became);
    append_field(tx.log, "result", became);
    if (tx.delivered > 0 && became != "committed") {
      tx.log_level = Level::error;
      append_field(tx.log, "note", "delivered, but not taken by smtpd: the client may send it again");
    }
    note(tx.log_level, std::move(tx.log));
  }
  tx = Transaction{};
}

void Engine::end_of_input() {
  for (auto& [key, session] : sessions_) end_session(session, "disconnected");
  sessions_.clear();
  for (const auto& [id, delivery] : deliveries_) tell_of_orphan(delivery, {}, {});
  deliveries_.clear();
}

std::string_view Engine::output() {
  refill();
  return std::string_view(out_).substr(out_from_);
}

void Engine::written(std::size_t n) {
  out_from_ += n;
  if (out_from_ < out_.size()) return;
  out_.clear();
  out_from_ = 0;
}

void Engine::refill() {
  while (!emissions_.empty() && out_.size() - out_from_ < output_window) {
    if (out_from_ > 0) {
      out_.erase(0, out_from_);
      out_from_ = 0;
    }
    Emission& emission = emissions_.front();
    const bool in_head = emission.head_offset < emission.head.size();
    std::string_view piece = in_head            ? std::string_view(emission.head).substr(emission.head_offset)
                             : emission.message ? emission.message->from(emission.offset)
                                                : std::string_view();
    if (piece.empty()) {
      const auto session = sessions_.find(emission.session_key);
      if (emission.message && emission.message->failed() &&
          session != sessions_.end()) {  // the commit of a forgotten one is refused anyway
        note_lost(session->second, *emission.message);
        session->second.tx.refusal = no_storage;
      }
      out_.reserve(out_.size() + emission.prefix.size() + 2);
      out_ += emission.prefix;
      out_ += ".\n";
      emissions_.pop_front();
      continue;
    }
    std::size_t& offset = in_head ? emission.head_offset : emission.offset;
    const std::size_t before = offset;
    while (!piece.empty() && out_.size() - out_from_ < output_window) {
      const std::size_t lf = piece.find('\n');                      // every line of ours ends in CRLF
      out_.reserve(out_.size() + emission.prefix.size() + lf + 2);  // a line goes in whole or not at all
      const std::string_view line = piece.substr(0, lf - 1);
      out_ += emission.prefix;
      if (needs_dot(line)) out_ += '.';
      out_ += line;
      out_ += '\n';
      offset += lf + 1;
      piece.remove_prefix(lf + 1);
    }
    emission.turn += offset - before;
    if (emission.turn < output_turn) continue;
    emission.turn = 0;
    emissions_.splice(emissions_.end(), emissions_, emissions_.begin());
  }
}

std::vector<Command> Engine::take_commands() { return std::exchange(commands_, {}); }

void Engine::note(Level level, std::string text) { commands_.emplace_back(Note{level, std::move(text)}); }

}  // namespace mailbridge::session
