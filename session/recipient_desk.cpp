#include "session/recipient_desk.hpp"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "base/text.hpp"
#include "mail/envelope.hpp"
#include "session/memory.hpp"

namespace mailbridge::session {
namespace {

using recipients::Mailbox;
using recipients::QuestionId;
using Turn = recipients::Tarpit::Turn;

constexpr std::string_view unknown_mailbox = "550 5.1.1 There is no such mailbox";
constexpr std::string_view full_later = "452 4.2.2 The mailbox is full, try again later";
constexpr std::string_view full_for_good = "552 5.2.2 The mailbox is full";
constexpr std::string_view no_room_later = "452 4.2.2 The mailbox has no room for a message of this size, try again later";
constexpr std::string_view no_room_for_good = "552 5.2.2 The mailbox has no room for a message of this size";
constexpr std::string_view unverified = "451 4.3.0 The recipient could not be verified, try again later";
constexpr std::string_view guessing = "421 4.7.0 Too many unknown recipients";

// The longest delay of an answer to RCPT. Clients wait for 5 minutes (RFC 5321 4.5.3.2.3).
constexpr Duration slowest = std::chrono::seconds(10);
// The postmaster may be an alias, of which Dovecot knows nothing, and must be accepted (RFC 5321 4.5.1).
bool is_postmaster(std::string_view address) { return iequals(address.substr(0, address.rfind('@')), "postmaster"); }

// True if the address that Dovecot would be asked about is the one that smtpd uses: nothing but a source route is left out.
bool is_plain(std::string_view text) {
  const std::size_t colon = text.substr(0, text.rfind('@')).find(':');
  if (colon != std::string_view::npos) text.remove_prefix(colon + 1);
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f && c != '<' && c != '>'; });
}

std::string_view refusal_of(std::optional<Mailbox> mailbox, std::string_view address, const RecipientPolicy& policy) {
  if (!mailbox) return {};
  switch (*mailbox) {
    case Mailbox::known:
      return {};
    case Mailbox::unknown:
      return policy.refuse_unknown && !is_postmaster(address) ? unknown_mailbox : std::string_view();
    case Mailbox::full:
      return policy.refuse_full ? full_for_good : full_later;
    case Mailbox::full_for_now:
      return full_later;
    case Mailbox::too_large:
      return policy.refuse_full ? no_room_for_good : no_room_later;
    case Mailbox::unsure:
      return policy.refuse_unverified ? unverified : std::string_view();
  }
  return {};
}

// Our own users are not counted: they may have an old address book.
bool is_counted(const Session& session) { return session.client.user.empty() && !session.client.local; }

}  // namespace

std::string_view no_room(bool for_good) { return for_good ? no_room_for_good : no_room_later; }

void RecipientDesk::use() {
  verifier_.use(shared_.settings.verify);
  tarpit_.use(2 * shared_.settings.recipients.max_unknown);
}

void RecipientDesk::asked(const Session& session, const smtpd::RcptTo& event, TimePoint now) {
  std::string address = mail::normalised_address(event.address, session.client.mta_name);
  const bool is_ours = is_plain(event.address) && verifier_.covers(address);
  const QuestionId id = next_id_++;
  try {
    questions_.emplace(
        id, Question{session.key, session.id, session.version, std::string(event.token), address, now + slowness(session)});
    if (is_ours) verifier_.ask(id, address, session.tx.announced, now);
  } catch (...) {
    verifier_.forget(id);
    questions_.erase(id);
    throw;
  }
  if (!is_ours) verified(id, std::nullopt, now);
}

void RecipientDesk::told(Session& session, const smtpd::TxRcpt& event, TimePoint now) {
  std::string address = mail::normalised_address(event.address, session.client.mta_name);
  if (std::exchange(session.tx.envelopes, 0) > 1) session.tx.expanded = true;
  if (event.result == "ok") session.tx.recipients.push_back(std::move(address));
  else if (event.result == "permfail" && address == session.left_to_smtpd && is_counted(session)) count_unknown(session, now);
}

void RecipientDesk::lookup_finished(recipients::LookupId id, Mailbox mailbox, std::string_view why, TimePoint now, bool ours) {
  if_memory_allows([&] { verifier_.lookup_finished(id, mailbox, why, now, ours); });
}

void RecipientDesk::tick(TimePoint now) {
  if_memory_allows([&] { verifier_.tick(now); });
}

void RecipientDesk::answer_slowed(TimePoint now) {
  while (!slowed_.empty() && slowed_.begin()->first <= now) {
    answer(slowed_.begin()->second);
    slowed_.erase(slowed_.begin());
  }
}

std::optional<TimePoint> RecipientDesk::next_deadline() const {
  const std::optional<TimePoint> next = verifier_.next_deadline();
  if (slowed_.empty()) return next;
  return std::min(next.value_or(TimePoint::max()), slowed_.begin()->first);
}

std::optional<RecipientDesk::Room> RecipientDesk::next(TimePoint now) {
  for (; verifier_.answer(); verifier_.drop_answer()) {
    const auto [id, mailbox] = *verifier_.answer();
    if (questions_.contains(id)) {
      verified(id, mailbox, now);
    } else if (auto asked = rooms_.extract(id)) {
      verifier_.drop_answer();
      return Room{asked.mapped().session_key, std::move(asked.mapped().address), mailbox};
    }
  }
  // A look-up that does not start is given up at its deadline.
  if_memory_allows([&] {
    for (recipients::StartLookup& lookup : verifier_.take_lookups()) shared_.commands.emplace_back(std::move(lookup));
    for (Note& said : verifier_.take_notes()) shared_.commands.emplace_back(std::move(said));
  });
  return std::nullopt;
}

// It is known now whether Dovecot has a mailbox for the recipient. A client that guesses is answered with a delay, if memory
// allows.
void RecipientDesk::verified(QuestionId id, std::optional<Mailbox> mailbox, TimePoint now) {
  Question& question = questions_.at(id);
  question.mailbox = mailbox;
  bool slowed = false;
  if_memory_allows([&] {
    Session* session = shared_.find(question.session_key);
    if (session && is_counted(*session)) take_turn(question, *session, now);
    if (question.not_before > now) slowed = slowed_.emplace(question.not_before, id).second;
  });
  if (!slowed) answer(id);
}

void RecipientDesk::take_turn(Question& question, Session& session, TimePoint now) {
  if (question.mailbox == Mailbox::unknown &&
      !refusal_of(question.mailbox, question.address, shared_.settings.recipients).empty()) {
    count_unknown(session, now);
  }
  const Turn turn = tarpit_.take_turn(session.client.ip, now);
  question.not_before = std::max(question.not_before, turn.at);
  question.turn = turn.answer;
}

void RecipientDesk::answer(QuestionId id) {
  const auto asked = questions_.find(id);
  const Question& question = asked->second;
  const RecipientPolicy& policy = shared_.settings.recipients;
  Session* session = shared_.find(question.session_key);
  std::optional<Mailbox> mailbox = question.mailbox;
  // A server that knows sizes says "full" of a message that is too large, too.
  if (mailbox == Mailbox::full && shared_.settings.verify.sizes && session && session->tx.announced > 0)
    mailbox = Mailbox::too_large;
  std::string_view refusal = refusal_of(mailbox, question.address, policy);
  const std::size_t most = 2 * policy.max_unknown;
  const bool turned_away =
      question.turn == Turn::Answer::none || (question.turn == Turn::Answer::when_it_exists && refusal == unknown_mailbox);
  const bool ends = session && (turned_away || (most > 0 && session->unknown >= most));
  if (ends) refusal = guessing;
  shared_.output.answer("filter-result", question.version, question.session, question.token,
                        refusal.empty() ? "proceed"
                        : ends          ? "disconnect|"
                                        : "reject|",
                        refusal);
  const auto answered = questions_.extract(asked);
  if (session && question.mailbox) if_memory_allows([&] { remember(*session, question, refusal); });
}

void RecipientDesk::remember(Session& session, const Question& question, std::string_view refusal) {
  shared_.counters.add("rcpt", to_string(*question.mailbox));
  if (!refusal.empty()) return note_refused(session, question, refusal);
  if (question.mailbox == Mailbox::known) session.tx.verified.insert(question.address);
  if (question.mailbox == Mailbox::unsure) ++session.tx.unverified;
  if (question.mailbox == Mailbox::unknown) session.left_to_smtpd = question.address;
}

void RecipientDesk::note_refused(Session& session, const Question& question, std::string_view refusal) {
  if (++session.refused > refusals_logged) return;
  std::string line;
  append_field(line, "session", session.id);
  append_field(line, "ip", session.client.ip);
  append_field(line, "from", session.tx.sender);
  append_field(line, "rcpt", question.address);
  append_field(line, "verified", to_string(*question.mailbox));
  append_field(line, "answer", refusal);
  shared_.note(Level::info, std::move(line));
}

void RecipientDesk::count_unknown(Session& session, TimePoint now) {
  ++session.unknown;
  if (shared_.settings.classes.networks.contain(session.client.ip) || !tarpit_.count(session.client.ip, now)) return;
  std::string line;
  append_field(line, "ip", session.client.ip);
  append_field(line, "note", "too many unknown recipients: answered slower from now on");
  shared_.note(Level::info, std::move(line));
}

// How long a question of the session waits for its answer at least.
Duration RecipientDesk::slowness(const Session& session) const {
  const std::size_t most = shared_.settings.recipients.max_unknown;
  if (most == 0 || session.unknown < most) return {};
  return std::min<Duration>(slowest, std::chrono::seconds(session.unknown - most + 1));
}

void RecipientDesk::ask_for_room(Session& session, TimePoint now) {
  Transaction& tx = session.tx;
  std::unordered_set<std::string_view> asked;
  for (const std::string& address : tx.recipients) {
    if (!shared_.settings.verify.sizes || !verifier_.covers(address) || !tx.verified.contains(address)) continue;
    if (!asked.insert(address).second) continue;
    const QuestionId id = next_id_++;
    rooms_.emplace(id, RoomQuestion{session.key, address});
    ++tx.asked_for_room;
    verifier_.ask(id, address, tx.size, now);
  }
}

void RecipientDesk::forget_room(Session& session) {
  if (session.tx.asked_for_room == 0) return;
  session.tx.asked_for_room = 0;
  std::erase_if(rooms_, [&](const auto& question) {
    if (question.second.session_key != session.key) return false;
    verifier_.forget(question.first);
    return true;
  });
}

}  // namespace mailbridge::session
