#include "tests/support/smtpd_host.hpp"

#include <algorithm>
#include <charconv>

#include "base/dot_stuffing.hpp"
#include "smtpd/line.hpp"

namespace mailbridge::testing {
namespace {

using smtpd::parse_line;

std::string_view take(std::string_view& rest) {
  const std::size_t bar = rest.find('|');
  const std::string_view field = rest.substr(0, bar);
  rest.remove_prefix(bar == std::string_view::npos ? rest.size() : bar + 1);
  return field;
}

bool is_refusal(std::string_view text) {  // util.c, valid_smtp_response(), and what smtpd wants of reject
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return text.size() >= 5 && text.size() <= 512 && (text[0] == '4' || text[0] == '5') && digit(text[1]) && digit(text[2]) &&
         text[3] == ' ' && !text.starts_with("421") &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f && c != '"'; });
}

std::vector<std::string> body(const std::vector<std::string>& lines) {
  return {std::find(lines.begin(), lines.end(), std::string()), lines.end()};
}

// What is queued for recipients who have the mail.
bool is_marked(const std::vector<std::string>& lines) {
  return !lines.empty() && lines.front().starts_with("X-Mailbridge-Delivered: ");
}

}  // namespace

void SmtpdHost::said(std::string_view bytes) {
  in_.feed(bytes, [this](std::string_view line, bool) { line_said(line); });
}

void SmtpdHost::heard(std::string_view bytes) {
  out_.feed(bytes, [this](std::string_view line, bool cut) { line_heard(line, cut); });
}

void SmtpdHost::line_said(std::string_view line) {
  const auto parsed = parse_line(line);
  if (!parsed || std::holds_alternative<smtpd::Config>(parsed->event)) return;
  Session& session = sessions_[parsed->session_key];
  const auto is = [&]<class Event>(std::type_identity<Event>) { return std::get_if<Event>(&parsed->event); };
  session.token_first.insert(smtpd::dialect_of(parsed->version).answers_token_first);
  if (is(std::type_identity<smtpd::LinkConnect>())) {
    session.stream = Stream{};
    session.known = true;
  } else if (const auto* greeting = is(std::type_identity<smtpd::LinkGreeting>())) {
    if (!greeting->hostname.empty()) names_.insert("@" + std::string(greeting->hostname));
  } else if (is(std::type_identity<smtpd::LinkDisconnect>())) {
    session.known = false;
    session.stream = Stream{};
  } else if (is(std::type_identity<smtpd::TxBegin>()) || is(std::type_identity<smtpd::TxCommit>()) ||
             is(std::type_identity<smtpd::TxRollback>()) || is(std::type_identity<smtpd::TxReset>())) {
    session.stream = Stream{};
  } else if (const auto* data = is(std::type_identity<smtpd::DataLine>())) {
    session.tokens.emplace(data->token);
    if (!session.known) session.stream = Stream{};
    if (session.stream.ended) return;
    if (data->line == ".") session.stream.ended = true;
    else session.stream.in.emplace_back(unstuffed(data->line));
  } else if (const auto* commit = is(std::type_identity<smtpd::Commit>())) {
    session.tokens.emplace(commit->token);
    session.requests.push_back({Request::Phase::commit, std::string(commit->token)});
    if (!session.stream.dotted) session.stream.commit_came_early = true;
  } else if (const auto* rcpt = is(std::type_identity<smtpd::RcptTo>())) {
    session.tokens.emplace(rcpt->token);
    session.requests.push_back({Request::Phase::rcpt_to, std::string(rcpt->token)});
  } else if (const auto* other = is(std::type_identity<smtpd::OtherRequest>())) {
    session.tokens.emplace(other->token);
    session.requests.push_back({Request::Phase::other, std::string(other->token)});
  } else {
    return;
  }
}

void SmtpdHost::line_heard(std::string_view line, bool cut) {
  if (cut) return broken("an endless line", line);
  std::string_view rest = line;
  const std::string_view kind = take(rest);
  if (kind == "register") {
    if (ready_) broken("a registration after register|ready", line);
    ready_ = ready_ || rest == "ready";
    return;
  }
  const bool data = kind == "filter-dataline";
  if (!data && kind != "filter-result") return broken("a line smtpd does not know", line);
  const std::string first(take(rest));
  const std::string second(take(rest));
  std::string token;
  Session* meant = nullptr;  // with versions mixed, as only a fuzzer does, there can be two: then the one that waits for this
  for (auto& [key, session] : sessions_) {
    for (const bool token_first : session.token_first) {
      const std::string& id = token_first ? second : first;
      std::uint64_t value = 0;
      const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), value, 16);
      if (error != std::errc{} || end != id.data() + id.size() || value != key) continue;
      if (!session.tokens.contains(token_first ? first : second)) continue;
      const bool waits = data ? session.stream.ended && !session.stream.dotted : !session.requests.empty();
      if (meant && !waits) continue;
      meant = &session;
      token = token_first ? first : second;
    }
  }
  if (!meant) return broken("a session or token that smtpd never sent", line);
  data ? data_line(*meant, rest) : result(*meant, token, rest);
}

void SmtpdHost::data_line(Session& session, std::string_view line) {
  Stream& stream = session.stream;
  if (line.size() > smtpd::max_dataline) broken("a data-line that smtpd chokes on");
  if (!stream.ended) return broken("a data-line before the end of data", line);
  if (stream.dotted) return broken("a data-line after our own '.'", line);
  if (line == ".") {
    stream.dotted = true;
    header(stream);
    if (!is_marked(stream.out)) return;
    std::string& head = marked_.emplace_back();
    for (const std::string& text : stream.out) {
      if (text.empty()) break;
      head.append(text).append("\n");
    }
  } else {
    stream.out.emplace_back(unstuffed(line));
  }
}

// What was added is fields of RFC 5322; what came from smtpd may be anything, and a name without a domain may have got one.
void SmtpdHost::header(const Stream& stream) {
  const auto without_domains = [this](std::string line) {
    for (const std::string& name : names_) {
      for (std::size_t at = line.find(name); at != std::string::npos; at = line.find(name, at)) line.erase(at, name.size());
    }
    return line;
  };
  std::set<std::string> came;
  for (const std::string& line : stream.in) came.insert(without_domains(line));
  for (auto line = stream.out.begin(); line != stream.out.end() && !line->empty(); ++line) {
    if (came.contains(without_domains(*line))) continue;
    const auto blank = [](char c) { return c == ' ' || c == '\t'; };
    const bool folded = blank(line->front()) && !std::all_of(line->begin(), line->end(), blank);
    const auto colon = std::find(line->begin(), line->end(), ':');
    const bool named = colon != line->begin() && colon != line->end() &&
                       std::all_of(line->begin(), colon, [](char c) { return c > 0x20 && c < 0x7f; });
    const bool clean =
        std::none_of(line->begin(), line->end(), [](char c) { return (c >= 0 && c < 0x20 && c != '\t') || c == 0x7f; });
    if (!(folded || named) || !clean || line->size() > 998) broken("a header line that is none", *line);
  }
}

void SmtpdHost::result(Session& session, std::string_view token, std::string_view verdict) {
  const auto request = std::find_if(session.requests.begin(), session.requests.end(),
                                    [&](const Request& waiting) { return waiting.token == token; });
  if (request == session.requests.end()) return broken("an answer that nobody asked for", verdict);
  const bool is_commit = request->phase == Request::Phase::commit;
  const bool is_rcpt_to = request->phase == Request::Phase::rcpt_to;
  session.requests.erase(request);
  if (is_rcpt_to && verdict == "disconnect|421 4.7.0 Too many unknown recipients") return;
  if (verdict.starts_with("reject|")) {
    if (!is_refusal(verdict.substr(7))) broken("a refusal that smtpd does not take", verdict);
    if (is_commit && is_marked(session.stream.out)) broken("a message that was delivered, and is refused", verdict);
    return;
  }
  if (verdict != "proceed") return broken("an answer smtpd does not know", verdict);
  const Stream& stream = session.stream;
  if (is_commit && stream.dotted && !bodies_may_change_ && body(stream.in) != body(stream.out)) broken("a body that was altered");
}

void SmtpdHost::settled() {
  for (const auto& [key, session] : sessions_) {
    const Stream& stream = session.stream;
    if (!session.requests.empty()) broken("a request without an answer");
    if (stream.ended && !stream.dotted && !stream.commit_came_early) broken("a message without an end");
  }
}

void SmtpdHost::broken(std::string what, std::string_view line) {
  if (!line.empty()) what += ": " + std::string(line.substr(0, 200));
  violations_.push_back(std::move(what));
}

}  // namespace mailbridge::testing
