#include "policy/decision.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "lmtp/mark.hpp"
#include "mail/headers.hpp"

namespace mailbridge::policy {
namespace {

constexpr std::size_t max_refusal_text =
    400;  // bytes; a reply line has 512 (RFC 5321 4.5.3.1.5), and smtpd's buffers for messages have 16 KiB
constexpr std::size_t max_error_text = 200;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The index of smtpd's own Received field. It is the first one, because the lines of the client stand below it. 0 if there is
// none.
std::size_t own_received(const mail::HeaderSection& section) {
  for (std::size_t i = 0; i < section.fields.size(); ++i) {
    if (iequals(section.fields[i].name, "Received")) return i;
  }
  return 0;
}

bool is_forged(const mail::Field& field, const OwnNames& names) {
  if (field.name.empty() || std::string_view("XxAa").find(field.name[0]) == std::string_view::npos) return false;
  if (iequals(field.name, "X-Spam")) return true;
  for (const std::string_view prefix : {"X-Spam-", "X-Spamd-", "X-Rspamd-"}) {
    if (istarts_with(field.name, prefix)) return true;
  }
  if (!iequals(field.name, "Authentication-Results")) return false;
  const std::string id = mail::authserv_id(mail::raw_value(field));
  return !id.empty() && (iequals(id, names.admd) || iequals(id, names.greeting));
}

// An agent takes a message with this field for delivered, so nobody else may add it.
bool is_mark(std::string_view name) { return iequals(name, lmtp::mark_name); }

class HeaderDecision {
 public:
  HeaderDecision(std::string_view message, const OwnNames& names)
      : section_(mail::parse_headers(message)), removed_(section_.fields.size()), received_(own_received(section_)) {
    for (std::size_t i = 0; i < section_.fields.size(); ++i) {
      removed_[i] = is_mark(section_.fields[i].name) || (i >= received_ && is_forged(section_.fields[i], names));
    }
  }

  // `name` must outlive the editor.
  void remove(std::string_view name, int index) { removals_.push_back({name, index}); }

  // Two fields stay whatever rspamd wants removed: the X-Spam field above smtpd's Received field, which smtpd wrote for an
  // earlier filter's `junk`, and that Received field (RFC 5321 4.4).
  mail::HeaderEditor editor() {
    mail::mark_removed(section_, removals_, removed_);
    for (std::size_t i = 0; i < received_; ++i) {
      if (iequals(section_.fields[i].name, "X-Spam")) removed_[i] = false;
    }
    if (received_ < section_.fields.size() && iequals(section_.fields[received_].name, "Received")) removed_[received_] = false;
    return {section_, removed_, received_};
  }

  // The value of the first Subject field, with its folds.
  std::string_view subject() const {
    const auto field = std::find_if(section_.fields.begin(), section_.fields.end(),
                                    [](const mail::Field& one) { return iequals(one.name, "Subject"); });
    return field == section_.fields.end() ? std::string_view{} : mail::raw_value(*field);
  }

  bool marked_by_smtpd() const {
    return std::any_of(section_.fields.begin(), section_.fields.begin() + static_cast<std::ptrdiff_t>(received_),
                       [](const mail::Field& field) { return iequals(field.name, "X-Spam"); });
  }

  std::size_t body_from() const { return section_.size; }

 private:
  mail::HeaderSection section_;
  std::vector<bool> removed_;
  std::size_t received_;
  std::vector<mail::Removal> removals_;
};

// RFC 3463: X.3.0 other mail system status, X.3.2 system not accepting messages, X.3.4 message too big for system.
std::string refusal_of(rspamd::ScanFailure::Kind kind, OnError on_error) {
  if (on_error == OnError::accept) return {};
  const bool later = on_error == OnError::tempfail;
  switch (kind) {
    case rspamd::ScanFailure::Kind::overload:
      return later ? "451 4.3.2 Too many messages are being scanned, try again later"
                   : "554 5.3.2 Too many messages are being scanned";
    case rspamd::ScanFailure::Kind::too_large:
      return later ? "451 4.3.4 Message is too big to be scanned" : "552 5.3.4 Message is too big to be scanned";
    case rspamd::ScanFailure::Kind::unreachable:
    case rspamd::ScanFailure::Kind::timed_out:
    case rspamd::ScanFailure::Kind::http:
    case rspamd::ScanFailure::Kind::unreadable:
      break;
  }
  return later ? "451 4.3.0 Message could not be scanned, try again later" : "554 5.3.0 Message could not be scanned";
}

std::string refusal_of(const rspamd::Verdict& verdict, const ActionRule* rule) {
  if (!rule || (rule->kind != ActionKind::tempfail && rule->kind != ActionKind::reject)) return {};
  return refusal(rule->code, rule->enhanced, rule->text.empty() ? verdict.smtp_message : rule->text, rule->default_text);
}

// What is done about a verdict, once all settings were considered.
struct Plan {
  std::string refusal;
  std::string not_said;                  // the refusal that the Enforcement prevents
  std::vector<rspamd::AddHeader> marks;  // fields to be added; each replaces all others of its name
  Spam spam = Spam::no;
  const ActionRule* subject = nullptr;
  std::string_view named;  // the value of X-Rspamd-Action, by which Sieve can do what smtpd cannot
  bool discard = false;
};

void mark(Plan& plan, const ActionRule& rule) {
  if (rule.header_name.empty()) plan.spam = Spam::junk;
  else plan.marks = {{rule.header_name, rule.header_value, -1}};
}

Plan plan_for(const rspamd::Verdict& verdict, const ActionMap& actions, Enforcement enforcement) {
  Plan plan;
  if (verdict.no_action) {
    plan.named = verdict.action;
    return plan;
  }
  const bool instead = verdict.action == "reject" && !verdict.instead_of_reject.empty();
  const std::string& action = instead ? verdict.instead_of_reject : verdict.action;
  const ActionRule* rule = actions.find(action);
  std::string refusal = refusal_of(verdict, rule);
  if (enforcement == Enforcement::none) {
    plan.named = verdict.action;
    plan.not_said = std::move(refusal);
    return plan;
  }
  if (!rule) {
    plan.named = action;
    plan.discard = action == "discard" && enforcement == Enforcement::all;
    return plan;
  }
  switch (rule->kind) {
    case ActionKind::accept:
      break;
    case ActionKind::header:
      mark(plan, *rule);
      break;
    case ActionKind::subject:
      plan.subject = rule;
      plan.spam = Spam::subject;
      break;
    case ActionKind::reject:
      if (enforcement == Enforcement::softened) {
        plan.not_said = std::move(refusal);
        const ActionRule* junk = actions.find("add header");
        mark(plan, junk->kind == ActionKind::header ? *junk : ActionRule{});
        break;
      }
      [[fallthrough]];
    case ActionKind::tempfail:
      plan.refusal = std::move(refusal);
      break;
  }
  return plan;
}

void apply(const rspamd::Verdict& verdict, const Plan& plan, HeaderDecision& headers, Decision& decision) {
  for (const auto& [name, index] : verdict.remove_headers) headers.remove(name, index);
  for (const auto& header : plan.marks) headers.remove(header.name, 0);

  mail::HeaderEditor editor = headers.editor();
  const auto insert = [&](std::string_view name, std::string_view value, int order) {
    if (is_mark(name) || !editor.insert(name, value, order)) decision.dropped_headers.emplace_back(name);
  };
  for (const auto& header : verdict.add_headers) insert(header.name, header.value, header.order);
  int order = 1;
  for (const auto& signature : verdict.dkim_signatures) insert("DKIM-Signature", signature, order++);
  if (plan.subject) {
    const std::string& own = plan.subject->subject;
    const std::string subject = own.empty() && !verdict.subject.empty()
                                    ? verdict.subject
                                    : expand_subject(own.empty() ? spam_subject : own, headers.subject(), verdict.score);
    if (!subject.empty()) editor.replace("Subject", subject);
  }
  for (const auto& header : plan.marks) {
    if (iequals(header.name, "X-Spam") && headers.marked_by_smtpd() && iequals(header.value, "Yes")) continue;
    insert(header.name, header.value, header.order);
  }
  if (!plan.named.empty()) {
    const bool said = std::any_of(verdict.add_headers.begin(), verdict.add_headers.end(), [&](const rspamd::AddHeader& header) {
      return iequals(header.name, "X-Rspamd-Action") && header.value == plan.named;
    });
    if (!said) insert("X-Rspamd-Action", header_line(plan.named, max_error_text), -1);
  }
  if (!plan.not_said.empty()) insert("X-Spam-Answer", plan.not_said, -1);
  editor.order_arc_sets();
  decision.header_bytes = editor.bytes();
}

}  // namespace

OnError OnFailure::of(rspamd::ScanFailure::Kind kind) const {
  using Kind = rspamd::ScanFailure::Kind;
  switch (kind) {
    case Kind::unreachable:
      return unreachable;
    case Kind::timed_out:
      return timeout;
    case Kind::http:
      return http_error;
    case Kind::unreadable:
      return unreadable;
    case Kind::overload:
      return overload;
    case Kind::too_large:
      return too_large;
  }
  return OnError::tempfail;  // unreachable
}

Result<OnError> parse_on_error(std::string_view word) {
  if (word == "tempfail") return OnError::tempfail;
  if (word == "accept") return OnError::accept;
  if (word == "reject") return OnError::reject;
  return fail(Errc::malformed, "one of tempfail, accept and reject is wanted, not " + std::string(word));
}

std::string refusal(std::string_view code, std::string_view enhanced, std::string_view text, std::string_view default_text) {
  std::string flat = printable(text, max_refusal_text);
  std::string_view shown = flat;
  const bool has_code = shown.size() > 4 && shown[0] == code[0] && is_digit(shown[1]) && is_digit(shown[2]) && shown[3] == ' ';
  if (has_code) shown.remove_prefix(4);
  std::string line(code);
  line += ' ';
  if (enhanced_code_size(shown, code[0]) == 0) {
    line += enhanced;
    line += ' ';
  }
  line += shown.empty() ? default_text : shown;
  return line;
}

Decision decide(std::string_view message, const rspamd::ScanResult& result, const Policy& policy, Enforcement enforcement,
                const OwnNames& names, Duration scan_time) {
  const Marking marking{policy.spam_headers, scan_time};
  Plan plan;
  if (result) {
    plan = plan_for(*result, policy.actions, enforcement);
    if (!result->rewritten_body && plan.refusal.empty()) {  // the verdict's header edits fit only its rewritten body
      const rspamd::ScanFailure failure{rspamd::ScanFailure::Kind::unreadable, result->rewritten_body.error().what};
      Decision decision = decide(message, tl::unexpected(failure), policy, enforcement, names, scan_time);
      decision.body_unusable = true;
      return decision;
    }
    for (auto& header : spam_headers(marking, *result, plan.spam)) plan.marks.push_back(std::move(header));
  } else {
    std::string refusal = refusal_of(result.error().kind, policy.on_failure.of(result.error().kind));
    (enforcement == Enforcement::none ? plan.not_said : plan.refusal) = std::move(refusal);
  }
  Decision decision;
  decision.refusal = std::move(plan.refusal);
  decision.not_said = plan.not_said;
  decision.discard = plan.discard;
  if (!decision.refusal.empty()) return decision;
  HeaderDecision headers(message, names);
  decision.body_from = headers.body_from();
  if (result) {
    apply(*result, plan, headers, decision);
  } else {
    mail::HeaderEditor editor = headers.editor();
    const rspamd::ScanFailure& failure = result.error();
    const std::string error = std::string(to_string(failure.kind)) + ": " + printable(failure.what, max_error_text);
    for (const auto& header : spam_headers(marking, error)) editor.insert(header.name, header.value, header.order);
    if (!plan.not_said.empty()) editor.insert("X-Spam-Answer", plan.not_said, -1);
    decision.header_bytes = editor.bytes();
  }
  return decision;
}

Decision pass_unscanned(std::string_view message, const OwnNames& names) {
  HeaderDecision headers(message, names);
  Decision decision;
  decision.body_from = headers.body_from();
  decision.header_bytes = headers.editor().bytes();
  return decision;
}

}  // namespace mailbridge::policy
