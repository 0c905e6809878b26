#include "session/engine.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include "base/dot_stuffing.hpp"
#include "base/text.hpp"
#include "mail/envelope.hpp"
#include "session/memory.hpp"
#include "smtpd/listener.hpp"

namespace mailbridge::session {
namespace {

// smtpd takes lines of 65,534 bytes from a client and puts less than 100 in front.
constexpr std::size_t max_smtpd_line = 128 * 1024;
constexpr Duration ask_for_size_again = std::chrono::seconds(30);
// Since this version smtpd honours a backslash in a quoted string when it splits lists of addresses.
constexpr smtpd::Version escapes_in_quotes_since{7, 5};

}  // namespace

Engine::Engine(Settings settings, std::uint64_t random) : recipients_(shared_, random), lines_(max_smtpd_line) {
  use(std::move(settings));
}

void Engine::use(Settings settings) {
  shared_.settings = std::move(settings);
  const Settings& used = shared_.settings;
  recipients_.use();
  if (registered_ && !shared_.asked_about_recipients && !used.verify.domains.empty()) {
    shared_.note(Level::warn, "--verify is obeyed when smtpd is started again, for only then it can be asked for recipients");
  }
  shared_.budget->limit = used.memory;
  shared_.budget->spool = used.spool;
  shared_.budget->max_files = used.max_files;
  scans_.use(used.max_scans, used.max_queue, used.scan_timeout);
}

void Engine::receive(std::string_view bytes, TimePoint now) {
  lines_.feed(bytes, [&](std::string_view line, bool cut) {
    const auto hear = [&] { on_line(line, cut, now); };
    within_memory(hear, [&] {
      if (const auto parsed = smtpd::parse_line(line)) transactions_.forget(parsed->session_key);
      if_memory_allows(hear);  // the session is gone, so this is a line of an unknown one
    });
    transactions_.go_on(now);
  });
}

void Engine::scan_finished(ScanId id, const rspamd::ScanResult& result, TimePoint now, std::string_view server) {
  transactions_.scan_finished(id, result, server, now);
  transactions_.go_on(now);
}

void Engine::lookup_finished(recipients::LookupId id, recipients::Mailbox mailbox, std::string_view why, TimePoint now,
                             bool ours) {
  recipients_.lookup_finished(id, mailbox, why, now, ours);
  transactions_.go_on(now);
}

void Engine::delivery_finished(recipients::DeliveryId id, const std::vector<lmtp::Outcome>& outcomes, std::string_view server,
                               TimePoint now) {
  transactions_.delivery_finished(id, outcomes, server, now);
}

void Engine::tick(TimePoint now) { transactions_.tick(now); }

std::optional<TimePoint> Engine::next_deadline() const {
  std::optional<TimePoint> next;
  for (const auto& due : {recipients_.next_deadline(), scans_.next_deadline(), deliveries_.next_deadline()}) {
    if (due) next = std::min(next.value_or(*due), *due);
  }
  return next;
}

void Engine::end_of_input() {
  for (auto& [key, session] : shared_.sessions) end_session(session, "disconnected");
  shared_.sessions.clear();
  deliveries_.end_of_input();
}

std::string_view Engine::output() {
  return shared_.output.window([this](std::uint64_t key, const mail::Message& message) { transactions_.lost(key, message); });
}

std::vector<Command> Engine::take_commands() { return std::exchange(shared_.commands, {}); }

// ---- what smtpd says

void Engine::on_line(std::string_view text, bool cut, TimePoint now) {
  if (const auto data = repeated_.match(text)) {
    if (Session* session = shared_.find(repeated_.session_key())) {
      return transactions_.data_line(*session, *data, cut, now);
    }
  }
  if (const auto reply = smtpd::reply_in(text)) {
    if (const auto size = smtpd::size_limit_in(*reply)) shared_.smtpd.max_size = size;
    return;
  }
  const auto line = smtpd::parse_line(text);
  if (!line) return shared_.note(Level::error, line.error().what);
  const Said said{*line, shared_.find(line->session_key), cut, now};
  std::visit([&](const auto& event) { on(event, said); }, line->event);
}

void Engine::on(const smtpd::Config& event, const Said&) {
  if (event.key == "admd") shared_.smtpd.admd = event.value;
  if (event.key == "smtpd-version") {
    shared_.smtpd.version = event.value;
    shared_.smtpd.escapes_in_quotes = smtpd::is_since(event.value, escapes_in_quotes_since);
  }
  if (event.key != "ready" || registered_) return;
  shared_.asked_about_recipients = !shared_.settings.verify.domains.empty();
  shared_.output.registrations(shared_.asked_about_recipients);
  registered_ = true;
  shared_.note(Level::info, "registered with OpenSMTPD " + printable(shared_.smtpd.version, 40));
}

void Engine::on(const smtpd::LinkConnect& event, const Said& said) {
  Session& session = shared_.sessions[said.line.session_key];
  end_session(session, "superseded");
  session = Session{};
  session.key = said.line.session_key;
  session.id = said.line.session;
  session.version = said.line.version;
  session.client.ip = smtpd::client_ip(event.src);
  session.client.local = smtpd::is_local(event.src);
  session.listener = event.dest;
  session.completed = smtpd::completes(event.dest);
  if (event.fcrdns == "pass" && event.rdns != "<unknown>") session.client.hostname = event.rdns;
}

void Engine::on(const smtpd::LinkGreeting& event, const Said& said) {
  if (said.session) said.session->client.mta_name = event.hostname;
}

// smtpd tells its limit of sizes in its reply to EHLO alone. After HELO it is not known, and --deliver needs it.
void Engine::on(const smtpd::LinkIdentify& event, const Said& said) {
  if (!said.session) return;
  said.session->client.helo = event.name;
  if (event.method == "EHLO" || shared_.smtpd.max_size || !shared_.settings.delivery) return;
  if (asked_for_size_ && said.now < *asked_for_size_ + ask_for_size_again) return;
  shared_.commands.emplace_back(AskForSize{said.session->listener});
  asked_for_size_ = said.now;
}

void Engine::on(const smtpd::LinkTls& event, const Said& said) {
  if (!said.session) return;
  said.session->client.tls_version = event.version;
  said.session->client.tls_cipher = event.cipher;
}

void Engine::on(const smtpd::LinkAuth& event, const Said& said) {
  if (said.session && event.result == "pass") said.session->client.user = event.user;
}

void Engine::on(const smtpd::LinkDisconnect&, const Said& said) {
  if (!said.session) return;
  end_session(*said.session, "disconnected");
  shared_.sessions.erase(said.line.session_key);
}

void Engine::on(const smtpd::TxBegin& event, const Said& said) {
  if (!said.session) return;
  transactions_.end(*said.session, "superseded");
  said.session->tx.msgid = event.msgid;
}

void Engine::on(const smtpd::TxMail& event, const Said& said) {
  if (!said.session || event.result != "ok") return;
  said.session->tx.sender = mail::normalised_address(event.address, said.session->client.mta_name);
  said.session->tx.announced = said.session->announced;
}

void Engine::on(const smtpd::TxEnvelope&, const Said& said) {
  if (said.session) ++said.session->tx.envelopes;
}

void Engine::on(const smtpd::TxRcpt& event, const Said& said) {
  if (said.session) recipients_.told(*said.session, event, said.now);
}

void Engine::on(const smtpd::TxCommit&, const Said& said) { end_transaction(said, "committed"); }
void Engine::on(const smtpd::TxRollback&, const Said& said) { end_transaction(said, "rolled-back"); }
void Engine::on(const smtpd::TxReset&, const Said& said) { end_transaction(said, "reset"); }

void Engine::on(const smtpd::ProtocolClient& event, const Said& said) {
  if (said.session && istarts_with(event.command, "MAIL")) said.session->announced = smtpd::announced_size(event.command);
}

void Engine::on(const smtpd::OtherReport&, const Said&) {}

void Engine::on(const smtpd::DataLine& event, const Said& said) {
  if (said.session) {
    repeated_.remember(said.line, event);
    return transactions_.data_line(*said.session, event, said.cut, said.now);
  }
  // Nothing is kept of a message without its session, and its commit is refused.
  if (!is_end_of_data(event.line)) return;
  shared_.output.answer("filter-dataline", said.line.version, said.line.session, event.token, ".");
}

void Engine::on(const smtpd::Commit& event, const Said& said) {
  const std::string_view refusal = said.session ? transactions_.commit(*said.session) : no_verdict;
  answer(said, event.token, refusal.empty() ? "proceed" : "reject|", refusal);
}

void Engine::on(const smtpd::RcptTo& event, const Said& said) {
  if (said.session) return recipients_.asked(*said.session, event, said.now);
  answer(said, event.token, "proceed");
}

void Engine::on(const smtpd::OtherRequest& event, const Said& said) {
  answer(said, event.token, "proceed");
  shared_.note(Level::warn, "smtpd asked about a phase that was not registered: " + printable(event.phase, 40));
}

void Engine::answer(const Said& said, std::string_view token, std::string_view what, std::string_view text) {
  shared_.output.answer("filter-result", said.line.version, said.line.session, token, what, text);
}

void Engine::end_transaction(const Said& said, std::string_view became) {
  if (said.session) transactions_.end(*said.session, became);
}

void Engine::end_session(Session& session, std::string_view became) {
  transactions_.end(session, became);
  if (session.refused <= refusals_logged) return;
  std::string line;
  append_field(line, "session", session.id);
  append_field(line, "ip", session.client.ip);
  append_field(line, "rcpts_refused", std::to_string(session.refused));
  append_field(line, "unknown", std::to_string(session.unknown));
  shared_.note(Level::info, std::move(line));
}

}  // namespace mailbridge::session
