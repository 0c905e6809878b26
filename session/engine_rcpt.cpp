// The engine's part about recipients: who is verified at RCPT, what is said about it, and what becomes of a session or a client
// that guesses; and whether there is room for what has come.
#include <algorithm>
#include <new>
#include <utility>

#include "base/text.hpp"
#include "session/engine.hpp"

namespace mailbridge::session {
namespace {

constexpr std::string_view unknown_mailbox = "550 5.1.1 There is no such mailbox";
constexpr std::string_view full_later = "452 4.2.2 The mailbox is full, try again later";
constexpr std::string_view full_for_good = "552 5.2.2 The mailbox is full";
constexpr std::string_view no_room_later = "452 4.2.2 The mailbox has no room for a message of this size, try again later";
constexpr std::string_view no_room_for_good = "552 5.2.2 The mailbox has no room for a message of this size";
constexpr std::string_view unverified = "451 4.3.0 The recipient could not be verified, try again later";
constexpr std::string_view guessing = "421 4.7.0 Too many unknown recipients";

// The slowest answer to RCPT. Clients wait for 5 minutes (RFC 5321 4.5.3.2.3).
constexpr Duration slowest = std::chrono::seconds(10);
// Of one session, a line each; the others are one line together, when it ends.
constexpr std::size_t refusals_logged = 20;

// Who does not exist in Dovecot may be an alias, but must be taken (RFC 5321 4.5.1).
bool is_postmaster(std::string_view address) { return iequals(address.substr(0, address.rfind('@')), "postmaster"); }

// What Dovecot would be asked about is the address that smtpd sees: nothing was left out but a source route.
bool is_plain(std::string_view text) {
  const std::size_t colon = text.substr(0, text.rfind('@')).find(':');
  if (colon != std::string_view::npos) text.remove_prefix(colon + 1);
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f && c != '<' && c != '>'; });
}

std::string_view refusal_of(std::optional<recipients::Mailbox> mailbox, std::string_view address, const RecipientPolicy& policy) {
  if (!mailbox) return {};
  switch (*mailbox) {
    case recipients::Mailbox::known:
      return {};
    case recipients::Mailbox::unknown:
      return policy.refuse_unknown && !is_postmaster(address) ? unknown_mailbox : std::string_view();
    case recipients::Mailbox::full:
      return policy.refuse_full ? full_for_good : full_later;
    case recipients::Mailbox::full_for_now:
      return full_later;
    case recipients::Mailbox::too_large:
      return policy.refuse_full ? no_room_for_good : no_room_later;
    case recipients::Mailbox::unsure:
      return policy.refuse_unverified ? unverified : std::string_view();
  }
  return {};
}

}  // namespace

void Engine::on_rcpt_to(Session& session, const smtpd::RcptTo& event, TimePoint now) {
  std::string address = mail::normalised_address(event.address, session.client.mta_name);
  const bool asked = is_plain(event.address) && verifier_.covers(address);
  const recipients::QuestionId id = next_question_++;
  try {
    rcpts_.emplace(
        id, RcptQuestion{session.key, session.id, session.version, std::string(event.token), address, now + slowness(session)});
    if (asked) verifier_.ask(id, address, session.tx.announced, now);
  } catch (const std::bad_alloc&) {  // the line comes once more
    verifier_.forget(id);
    rcpts_.erase(id);
    throw;
  }
  if (!asked) rcpt_verified(id, std::nullopt, now);
}

void Engine::lookup_finished(recipients::LookupId id, recipients::Mailbox mailbox, std::string_view why, TimePoint now,
                             bool ours) {
  try {
    verifier_.lookup_finished(id, mailbox, why, now, ours);
  } catch (const std::bad_alloc&) {  // who waits for it is answered at the deadline
  }
  take_from_verifier(now);
}

void Engine::tick_verifier(TimePoint now) {
  try {
    verifier_.tick(now);
  } catch (const std::bad_alloc&) {  // until the next time
  }
  take_from_verifier(now);
  while (!slowed_.empty() && slowed_.begin()->first <= now) {
    answer_rcpt(slowed_.begin()->second);
    slowed_.erase(slowed_.begin());
  }
}

void Engine::take_from_verifier(TimePoint now) {
  try {
    for (; verifier_.answer(); verifier_.drop_answer()) {
      const auto [id, mailbox] = *verifier_.answer();
      if (rcpts_.contains(id)) rcpt_verified(id, mailbox, now);
      else room_known(id, mailbox, now);
    }
    for (recipients::StartLookup& lookup : verifier_.take_lookups()) commands_.emplace_back(std::move(lookup));
    for (Note& said : verifier_.take_notes()) commands_.emplace_back(std::move(said));
  } catch (const std::bad_alloc&) {  // a look-up that did not start is given up at its deadline
  }
}

void Engine::rcpt_verified(recipients::QuestionId id, std::optional<recipients::Mailbox> mailbox, TimePoint now) {
  RcptQuestion& question = rcpts_.at(id);
  question.mailbox = mailbox;
  const auto found = sessions_.find(question.session_key);
  try {
    if (found != sessions_.end() && is_counted(found->second)) {
      Session& session = found->second;
      if (mailbox == recipients::Mailbox::unknown && !refusal_of(mailbox, question.address, settings_.recipients).empty())
        count_unknown(session, now);
      const recipients::Tarpit::Turn turn = tarpit_.take_turn(session.client.ip, now);
      question.not_before = std::max(question.not_before, turn.at);
      question.turn = turn.answer;
    }
    if (question.not_before > now) return void(slowed_.emplace(question.not_before, id));
  } catch (const std::bad_alloc&) {  // then at once
  }
  answer_rcpt(id);
}

void Engine::answer_rcpt(recipients::QuestionId id) {
  const auto asked = rcpts_.find(id);
  const RcptQuestion& question = asked->second;
  const auto found = sessions_.find(question.session_key);
  Session* session = found == sessions_.end() ? nullptr : &found->second;
  std::optional<recipients::Mailbox> mailbox = question.mailbox;
  // Who knows sizes says of both that there is no room.
  if (mailbox == recipients::Mailbox::full && settings_.verify.sizes && session && session->tx.announced > 0)
    mailbox = recipients::Mailbox::too_large;
  std::string_view refusal = refusal_of(mailbox, question.address, settings_.recipients);
  const std::size_t most = 2 * settings_.recipients.max_unknown;
  const bool turned_away = question.turn == recipients::Tarpit::Turn::Answer::none ||
                           (question.turn == recipients::Tarpit::Turn::Answer::when_it_exists && refusal == unknown_mailbox);
  const bool ends = session && (turned_away || (most > 0 && session->unknown >= most));
  if (ends) refusal = guessing;
  answer("filter-result", question.version, question.session, question.token,
         refusal.empty() ? "proceed"
         : ends          ? "disconnect|"
                         : "reject|",
         refusal);
  const auto answered = rcpts_.extract(asked);
  if (!session || !question.mailbox) return;
  try {
    counters_.add("rcpt", to_string(*question.mailbox));
    if (!refusal.empty()) return count_refused(*session, question, refusal);
    if (question.mailbox == recipients::Mailbox::known) session->tx.verified.insert(question.address);
    if (question.mailbox == recipients::Mailbox::unsure) ++session->tx.unverified;
    if (question.mailbox == recipients::Mailbox::unknown) session->left_to_smtpd = question.address;
  } catch (const std::bad_alloc&) {  // smtpd has its answer
  }
}

void Engine::count_refused(Session& session, const RcptQuestion& question, std::string_view refusal) {
  if (++session.refused > refusals_logged) return;
  std::string line;
  append_field(line, "session", session.id);
  append_field(line, "ip", session.client.ip);
  append_field(line, "from", session.tx.sender);
  append_field(line, "rcpt", question.address);
  append_field(line, "verified", to_string(*question.mailbox));
  append_field(line, "answer", refusal);
  note(Level::info, std::move(line));
}

// Our own users may have an old address book.
bool Engine::is_counted(const Session& session) const { return session.client.user.empty() && !session.client.local; }

void Engine::count_unknown(Session& session, TimePoint now) {
  ++session.unknown;
  if (settings_.classes.networks.contain(session.client.ip) || !tarpit_.count(session.client.ip, now)) return;
  std::string line;
  append_field(line, "ip", session.client.ip);
  append_field(line, "note", "too many unknown recipients: answered slower from now on");
  note(Level::info, std::move(line));
}

Duration Engine::slowness(const Session& session) const {
  const std::size_t most = settings_.recipients.max_unknown;
  if (most == 0 || session.unknown < most) return {};
  return std::min<Duration>(slowest, std::chrono::seconds(session.unknown - most + 1));
}

void Engine::on_tx_rcpt(Session& session, const smtpd::TxRcpt& event, TimePoint now) {
  std::string address = mail::normalised_address(event.address, session.client.mta_name);
  if (std::exchange(session.tx.envelopes, 0) > 1) session.tx.expanded = true;
  if (event.result == "ok") session.tx.recipients.push_back(std::move(address));
  else if (event.result == "permfail" && address == session.left_to_smtpd && is_counted(session)) count_unknown(session, now);
}

// Of each recipient that was verified, now that the size is known. It goes on beside the scan.
void Engine::ask_for_room(Session& session, TimePoint now) {
  Transaction& tx = session.tx;
  std::unordered_set<std::string> asked;
  for (const std::string& address : tx.recipients) {
    if (!settings_.verify.sizes || !verifier_.covers(address) || !tx.verified.contains(address)) continue;
    if (!asked.insert(address).second) continue;
    const recipients::QuestionId id = next_question_++;
    rooms_.emplace(id, RoomQuestion{session.key, address});
    ++tx.asked_for_room;
    verifier_.ask(id, address, tx.size, now);
  }
}

void Engine::room_known(recipients::QuestionId id, recipients::Mailbox mailbox, TimePoint now) {
  const auto node = rooms_.extract(id);
  if (node.empty()) return;
  Session& session = sessions_.at(node.mapped().session_key);
  try {
    take_room(session, node.mapped().address, mailbox, now);
  } catch (const std::bad_alloc&) {
    abandon(session);
  }
}

void Engine::take_room(Session& session, const std::string& address, recipients::Mailbox mailbox, TimePoint now) {
  Transaction& tx = session.tx;
  --tx.asked_for_room;
  counters_.add("room", to_string(mailbox));
  if (mailbox == recipients::Mailbox::full || mailbox == recipients::Mailbox::full_for_now ||
      mailbox == recipients::Mailbox::too_large)
    tx.full.insert(address);
  if (mailbox == recipients::Mailbox::full_for_now) tx.full_for_now = true;
  if (mailbox != recipients::Mailbox::known && mailbox != recipients::Mailbox::unsure) tx.verified.erase(address);
  if (tx.asked_for_room > 0) return;
  if (!tx.full.empty()) append_field(tx.log, "full", std::to_string(tx.full.size()));
  const bool for_nobody = std::all_of(tx.recipients.begin(), tx.recipients.end(),
                                      [&](const std::string& recipient) { return tx.full.contains(recipient); });
  if (for_nobody) {
    cancel_scan(tx);
    refuse(session, settings_.recipients.refuse_full && !tx.full_for_now ? no_room_for_good : no_room_later);
  } else if (tx.decision) {
    pass_on(session, now);
  }
}

void Engine::forget_room_questions(Session& session) {
  if (session.tx.asked_for_room == 0) return;
  session.tx.asked_for_room = 0;
  std::erase_if(rooms_, [&](const auto& question) {
    if (question.second.session_key != session.key) return false;
    verifier_.forget(question.first);
    return true;
  });
}

void Engine::end_session(Session& session, std::string_view became) {
  end_transaction(session, became);
  if (session.refused <= refusals_logged) return;
  std::string line;
  append_field(line, "session", session.id);
  append_field(line, "ip", session.client.ip);
  append_field(line, "rcpts_refused", std::to_string(session.refused));
  append_field(line, "unknown", std::to_string(session.unknown));
  note(Level::info, std::move(line));
}

}  // namespace mailbridge::session
