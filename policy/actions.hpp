// What is done about each of rspamd's actions: a table of rules. An option can replace a rule and add one, "NAME=DO".
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"

namespace mailbridge::policy {

enum class ActionKind { accept, header, subject, tempfail, reject };

struct ActionRule {
  ActionKind kind = ActionKind::accept;
  std::string header_name = {}, header_value = {};  // for header; empty: rspamd's spam_header, or X-Spam: Yes
  std::string subject = {};                         // for subject: see expand_subject(); empty: rspamd's own
  std::string code = {}, enhanced = {};             // for tempfail and reject
  std::string text = {};                            // for tempfail and reject; empty: rspamd's text, or default_text
  std::string default_text = {};
};

// Parses "add header=reject 550 5.7.1 No spam, please": the name of an action as rspamd spells it, and one of
//   accept   header [NAME: VALUE]   subject [TEMPLATE]   tempfail [TEXT]   reject [CODE] [X.Y.Z] [TEXT]
Result<std::pair<std::string, ActionRule>> parse_action(std::string_view text);

// The subject that rspamd writes unless it is configured otherwise (SPAM_SUBJECT in src/libserver/protocol.c).
inline constexpr std::string_view spam_subject = "*** SPAM *** %s";

// Makes a subject of a template. `original` is the value of the mail's Subject field. In the template %s stands for it, with its
// folds, %d for the score, %% for %. At most 4 KiB of the original are used, up to a blank if there is one.
std::string expand_subject(std::string_view subject, std::string_view original, double score);

class ActionMap {
 public:
  ActionMap();  // does what rspamd's own milter does
  void set(std::string action, ActionRule rule) { rules_.insert_or_assign(std::move(action), std::move(rule)); }
  // Null for an action that rspamd does not have and that was not set.
  const ActionRule* find(std::string_view action) const;

 private:
  std::map<std::string, ActionRule, std::less<>> rules_;
};

}  // namespace mailbridge::policy
