// What is done about each action of rspamd's: a table whose rows can be replaced and added to, "NAME=DO".
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"

namespace mailbridge::policy {

enum class Do { accept, header, subject, tempfail, reject };

struct ActionRule {
  Do what = Do::accept;
  std::string header_name = {}, header_value = {};  // of header; empty: rspamd's spam_header, or X-Spam: Yes
  std::string subject = {};                         // of subject: see expand_subject(); empty: rspamd's own
  std::string code = {}, enhanced = {};             // of tempfail and reject
  std::string text = {};                            // of tempfail and reject; empty: rspamd's, or default_text
  std::string default_text = {};
};

// "add header=reject 550 5.7.1 No spam, please": an action as rspamd spells it, and one of
//   accept   header [NAME: VALUE]   subject [TEMPLATE]   tempfail [TEXT]   reject [CODE] [X.Y.Z] [TEXT]
Result<std::pair<std::string, ActionRule>> parse_action(std::string_view text);

// What rspamd makes of a subject unless it is told otherwise (SPAM_SUBJECT in src/libserver/protocol.c).
inline constexpr std::string_view spam_subject = "*** SPAM *** %s";

// `original` is the subject's value as it stands in the mail. %s stands for it, with its folds, %d for the score, %% for %. Of
// the original no more than 4 KiB are taken, up to a blank where there is one.
std::string expand_subject(std::string_view subject, std::string_view original, double score);

class ActionMap {
 public:
  ActionMap();  // as rspamd's own milter
  void set(std::string action, ActionRule rule) { rules_.insert_or_assign(std::move(action), std::move(rule)); }
  // Nothing for an action that is neither rspamd's nor set.
  const ActionRule* find(std::string_view action) const;

 private:
  std::map<std::string, ActionRule, std::less<>> rules_;
};

}  // namespace mailbridge::policy
