// Header edits: any message below smtpd's Received, any verdict. The input is the message, and after the first line "%%" the
// edits:
//
//   +ORDER NAME:VALUE   add_headers         -INDEX NAME   remove_headers      dVALUE    dkim-signature
//   sVALUE              rewrite subject     jNAME:VALUE   spam_header         aACTION   the action
//   n                   no_action           !WHAT         the scan failed     x         smtpd's own X-Spam on top
//
// In a VALUE, '~' stands for LF and '^' for CR. What must hold: the body is untouched; a field that nobody removed comes out as
// it went in, in its order; all other fields are ones we were told to add, well formed; no forgery stays below Received.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "mail/headers.hpp"
#include "mail/message.hpp"
#include "policy/decision.hpp"

namespace {

using namespace mailbridge;

constexpr std::string_view own_name = "mx.example.org";

void require(bool holds) {
  if (!holds) std::abort();
}

std::string_view take_line(std::string_view& rest) {
  const std::size_t lf = rest.find('\n');
  const std::string_view line = rest.substr(0, lf);
  rest.remove_prefix(lf == std::string_view::npos ? rest.size() : lf + 1);
  return line;
}

int take_number(std::string_view& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.starts_with(' ')) text.remove_prefix(1);
  return std::clamp(number, -rspamd::max_order, rspamd::max_order);
}

std::string value_of(std::string_view text) {
  std::string value(text);
  std::replace(value.begin(), value.end(), '~', '\n');
  std::replace(value.begin(), value.end(), '^', '\r');
  return value;
}

rspamd::AddHeader header_of(std::string_view text, int order) {
  const std::size_t colon = text.find(':');
  return {std::string(text.substr(0, colon)), colon == std::string_view::npos ? std::string() : value_of(text.substr(colon + 1)),
          order};
}

struct Script {
  bool marked = false;
  rspamd::ScanResult result = rspamd::Verdict{};
};

Script read_script(std::string_view script) {
  Script read;
  rspamd::Verdict verdict;
  verdict.action = "no action";
  while (!script.empty()) {
    std::string_view line = take_line(script);
    if (line.empty()) continue;
    const char kind = line[0];
    line.remove_prefix(1);
    if (kind == '+') {
      const int order = take_number(line);
      verdict.add_headers.push_back(header_of(line, order));
    } else if (kind == '-') {
      const int index = take_number(line);
      verdict.remove_headers.push_back({std::string(line), index});
    } else if (kind == 'd') {
      verdict.dkim_signatures.push_back(value_of(line));
    } else if (kind == 's') {
      verdict.action = "rewrite subject";
      verdict.subject = value_of(line);
    } else if (kind == 'j') {
      verdict.spam_headers.push_back(header_of(line, -1));
    } else if (kind == 'a' && !line.empty()) {
      verdict.action = line;
    } else if (kind == 'n') {
      verdict.no_action = true;
    } else if (kind == 'x') {
      read.marked = true;
    } else if (kind == '!') {
      read.result = tl::unexpected(rspamd::ScanFailure{rspamd::ScanFailure::Kind::unreachable, value_of(line)});
      return read;
    }
  }
  // Which of two subjects is rewritten is told in tests/policy/decision_test.cpp.
  if (verdict.action == "rewrite subject")
    std::erase_if(verdict.add_headers, [](const auto& header) { return iequals(header.name, "Subject"); });
  read.result = std::move(verdict);
  return read;
}

bool is_forgery(const mail::Field& field) {
  return iequals(field.name, "X-Spam") || istarts_with(field.name, "X-Spam-") || istarts_with(field.name, "X-Spamd-") ||
         istarts_with(field.name, "X-Rspamd-") ||
         (iequals(field.name, "Authentication-Results") && iequals(mail::authserv_id(mail::raw_value(field)), own_name));
}

bool is_mark(std::string_view name) { return iequals(name, "X-Mailbridge-Delivered"); }

// A field of ours: a name, a colon, and lines that are neither long nor blank.
void require_valid(std::string_view field) {
  require(field.find(':') < field.find_first_of(" \t\r"));
  for (bool first = true; !field.empty(); first = false) {
    std::string_view line = take_line(field);
    require(line.ends_with('\r'));
    line.remove_suffix(1);
    require(line.size() <= 997 && !trim(line).empty());
    require(first != (line[0] == ' ' || line[0] == '\t'));
    require(std::all_of(line.begin(), line.end(),
                        [](char c) { return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f); }));
  }
}

// What the policy is to do, said once more and in another way.
class Expected {
 public:
  Expected(const mail::HeaderSection& section, std::size_t received, const rspamd::ScanResult& result)
      : fields_(section.fields), received_(received) {
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      if (is_mark(fields_[i].name) || (i >= received_ && is_forgery(fields_[i]))) removed_.insert(i);
    }
    if (result) apply(*result);
    else want("X-Spam-Error", "unreachable: " + printable(result.error().what, 200));
  }

  void compare(const mail::HeaderSection& after) {
    std::size_t next = skip_removed(0);
    for (const mail::Field& field : after.fields) {
      if (next < fields_.size() && field.raw == fields_[next].raw) {
        next = skip_removed(next + 1);
        continue;
      }
      require_valid(field.raw);
      auto found = wanted_.find(std::string(field.raw));
      if (found != wanted_.end()) {
        wanted_.erase(found);
        continue;
      }
      found = allowed_.find(std::string(field.raw));
      require(found != allowed_.end());
      allowed_.erase(found);
    }
    require(next == fields_.size());
    require(wanted_.empty());
  }

 private:
  void apply(const rspamd::Verdict& verdict) {
    for (const auto& [name, index] : verdict.remove_headers) remove(name, index);
    for (const auto& [name, value, order] : verdict.add_headers) want(name, value);
    for (const auto& signature : verdict.dkim_signatures) want("DKIM-Signature", signature);
    if (verdict.action == "add header") {
      std::vector<rspamd::AddHeader> marks = verdict.spam_headers;
      if (marks.empty() && !verdict.no_action) marks.push_back({"X-Spam", "Yes", -1});
      for (const auto& [name, value, order] : marks) {
        remove(name, 0);
        allowed_.insert(mail::make_field(name, value));
      }
    }
    if (verdict.action == "rewrite subject" && !verdict.no_action) {
      std::string_view old;
      for (std::size_t i = fields_.size(); i-- > 0;) {
        if (!iequals(fields_[i].name, "Subject")) continue;
        removed_.insert(i);
        old = mail::raw_value(fields_[i]);
      }
      const std::string made = verdict.subject.empty() ? policy::expand_subject(policy::spam_subject, old, 0) : verdict.subject;
      wanted_.insert(mail::make_field("Subject", made, mail::encoded_width));
    }
    allowed_.insert(mail::make_field("X-Rspamd-Action", header_line(verdict.action, 200)));
  }

  void remove(std::string_view name, int index) {
    std::vector<std::size_t> named;
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      if (iequals(fields_[i].name, name)) named.push_back(i);
    }
    if (index < 0) std::reverse(named.begin(), named.end());
    for (std::size_t k = 0; k < named.size(); ++k) {
      const bool is_it = index == 0 || k + 1 == static_cast<std::size_t>(std::abs(index));
      const bool smtpds = named[k] == received_ || (named[k] < received_ && iequals(name, "X-Spam"));
      if (is_it && !smtpds) removed_.insert(named[k]);
    }
  }

  void want(std::string_view name, std::string_view value) {
    if (is_mark(name)) return;
    if (std::string made = mail::make_field(name, value); !made.empty()) wanted_.insert(std::move(made));
  }

  std::size_t skip_removed(std::size_t i) const {
    while (removed_.contains(i)) ++i;
    return i;
  }

  const std::vector<mail::Field>& fields_;
  const std::size_t received_;
  std::set<std::size_t> removed_;
  std::multiset<std::string> wanted_;
  std::multiset<std::string> allowed_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<std::string_view> lines;
  while (!rest.empty()) {
    const std::string_view line = take_line(rest);
    if (line == "%%") break;
    lines.push_back(line);
  }
  const Script script = read_script(rest);
  mail::Message message;
  if (script.marked) message.append_line("X-Spam: Yes");
  message.append_line("Received: from client.example.net");
  for (const std::string_view line : lines) message.append_line(line);
  const std::string_view before = message.head();
  const mail::HeaderSection section = mail::parse_headers(before);

  const policy::Decision decision =
      policy::decide(before, script.result, {.on_failure = {.unreachable = policy::OnError::accept}, .actions = {}},
                     policy::Enforcement::all, {own_name, "greeting.example.org"});
  if (!decision.refusal.empty()) return 0;
  require(decision.body_from == section.size);
  const mail::HeaderSection after = mail::parse_headers(decision.header_bytes);
  require(std::none_of(after.fields.begin(), after.fields.end(), [](const mail::Field& field) { return is_mark(field.name); }));
  require(after.size == decision.header_bytes.size());
  Expected(section, script.marked ? 1 : 0, script.result).compare(after);
  return 0;
}
