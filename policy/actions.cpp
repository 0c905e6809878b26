#include "policy/actions.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>

#include "base/nearest.hpp"
#include "base/text.hpp"
#include "mail/headers.hpp"

namespace mailbridge::policy {
namespace {

constexpr std::size_t max_text = 400;      // bytes, as many as of rspamd's texts
constexpr std::size_t max_subject = 4096;  // bytes of the original subject; nobody reads a longer one

const ActionRule soft_reject{.kind = ActionKind::tempfail, .code = "451", .enhanced = "4.7.1", .default_text = "Try again later"};
const ActionRule hard_reject{
    .kind = ActionKind::reject, .code = "554", .enhanced = "5.7.1", .default_text = "Spam message rejected"};

std::string_view take_word(std::string_view& rest) {
  const std::size_t blank = rest.find(' ');
  const std::string_view word = rest.substr(0, blank);
  rest = trim(rest.substr(word.size()));
  return word;
}

bool is_code(std::string_view word) {
  return word.size() == 3 && std::all_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; });
}

Result<ActionRule> parse_rule(std::string_view text) {
  std::string_view rest = text;
  const std::string_view word = take_word(rest);
  if (word == "accept") {
    if (!rest.empty()) return fail(Errc::malformed, "nothing can follow accept");
    return ActionRule{};
  }
  if (word == "header") {
    ActionRule rule{.kind = ActionKind::header};
    if (rest.empty()) return rule;
    const std::size_t colon = rest.find(':');
    rule.header_name = trim(rest.substr(0, colon));
    rule.header_value = colon == std::string_view::npos ? std::string_view{} : trim(rest.substr(colon + 1));
    if (rule.header_value.empty() || mail::make_field(rule.header_name, rule.header_value).empty())
      return fail(Errc::malformed, "header wants NAME: VALUE, not " + std::string(rest));
    return rule;
  }
  if (word == "subject") return ActionRule{.kind = ActionKind::subject, .subject = std::string(rest)};
  if (word == "tempfail") {
    ActionRule rule = soft_reject;
    rule.text = rest;
    return rule;
  }
  if (word == "reject") {
    ActionRule rule = hard_reject;
    std::string_view after = rest;
    if (const std::string_view code = take_word(after); is_code(code)) {
      if (code[0] != '5' || code[1] > '5')
        return fail(Errc::malformed, "reject wants a code from 500 to 559, not " + std::string(code));
      rule.code = code;
      rest = after;
    }
    if (const std::size_t size = enhanced_code_size(rest, '5'); size > 0) {
      rule.enhanced = rest.substr(0, size);
      rest = trim(rest.substr(size));
    }
    rule.text = rest;
    return rule;
  }
  constexpr std::string_view words[] = {"accept", "header", "subject", "tempfail", "reject"};
  return fail(Errc::malformed, "one of accept, header, subject, tempfail and reject is wanted, not " + std::string(word) +
                                   suggestion(word, words));
}

}  // namespace

Result<std::pair<std::string, ActionRule>> parse_action(std::string_view text) {
  const std::size_t equals = text.find('=');
  const std::string name(trim(text.substr(0, equals)));
  if (equals == std::string_view::npos || name.empty())
    return fail(Errc::malformed, "NAME=DO is wanted, not " + std::string(text));
  // rspamd's configuration may write these names with an underscore, but its replies do not. (milter.no_action is something
  // else.)
  for (const std::string_view known : {"no action", "add header", "rewrite subject", "soft reject"}) {
    std::string written(known);
    std::replace(written.begin(), written.end(), ' ', '_');
    if (iequals(name, written))
      return fail(Errc::malformed, name + " is called \"" + std::string(known) + "\" in rspamd's replies");
  }
  // An action of nearly the same name could exist, but nobody would have chosen such a name: it is a mistake in writing.
  constexpr std::string_view rspamds[] = {"reject", "rewrite subject", "add header", "soft reject", "greylist", "no action"};
  const std::string_view meant = nearest(name, rspamds);
  if (!meant.empty() && name != meant && distance(name, meant) <= (meant.size() < 10 ? 1 : 2))
    return fail(Errc::malformed, name + " is no action of rspamd's" + suggestion(name, rspamds));
  const std::string_view what = trim(text.substr(equals + 1));
  if (what.size() > max_text || printable(what, max_text) != what)
    return fail(Errc::malformed, name + ": printable ASCII without double quotes is wanted, 400 bytes at most");
  auto rule = parse_rule(what);
  if (!rule) return fail(Errc::malformed, name + ": " + rule.error().what);
  if (rule->kind == ActionKind::subject && rule->subject.empty() && name != "rewrite subject") rule->subject = spam_subject;
  return std::pair(name, std::move(*rule));
}

std::string expand_subject(std::string_view subject, std::string_view original, double score) {
  original = trim(original);
  if (original.size() > max_subject)
    original = trim(original.substr(0, std::min(max_subject, original.find_last_of(" \t", max_subject))));
  std::string out;
  for (std::size_t i = 0; i < subject.size(); ++i) {
    const char next = subject[i] == '%' && i + 1 < subject.size() ? subject[i + 1] : '\0';
    if (next == 's') {
      out += original;
    } else if (next == 'd') {
      char figures[32];
      std::snprintf(figures, sizeof figures, "%.2f", std::clamp(score, -1e9, 1e9));
      out += figures;
    } else {
      out += subject[i];
      if (next != '%') continue;
    }
    ++i;
  }
  return std::string(trim(out));
}

ActionMap::ActionMap()
    : rules_{{"no action", {}},
             {"greylist", {}},
             {"add header", {.kind = ActionKind::header}},
             {"rewrite subject", {.kind = ActionKind::subject}},
             {"soft reject", soft_reject},
             {"reject", hard_reject}} {}

const ActionRule* ActionMap::find(std::string_view action) const {
  const auto rule = rules_.find(action);
  return rule == rules_.end() ? nullptr : &rule->second;
}

}  // namespace mailbridge::policy
