// Decides what smtpd is told about a message and what its header section becomes, from rspamd's verdict or from the failure of
// the scan. Actions are carried out as rspamd's own milter does it, as far as smtpd allows (rspamd's src/libserver/milter.c,
// rspamd_milter_send_task_results).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "policy/actions.hpp"
#include "policy/spam_headers.hpp"
#include "rspamd/verdict.hpp"

namespace mailbridge::policy {

// What is done with a message without a verdict.
enum class OnError { tempfail, accept, reject };

// The same for each class of failure.
struct OnFailure {
  OnError unreachable{};
  OnError timeout{};
  OnError http_error{};
  OnError unreadable{};
  OnError overload{};
  OnError too_large{};

  OnError of(rspamd::ScanFailure::Kind kind) const;
};

// "tempfail", "accept" or "reject".
Result<OnError> parse_on_error(std::string_view word);

struct Policy {
  OnFailure on_failure;
  ActionMap actions;
  SpamHeaders spam_headers{};
};

enum class Enforcement {
  all,
  softened,  // a message that would be refused for good is accepted, with the header of "add header"; temporary refusals stay
  none,  // as if the milter object of each verdict had no_action: rspamd's fields are added, and what would have happened
};

struct Decision {
  std::string refusal;         // "554 5.7.1 text", as smtpd wants it after reject|; empty: proceed
  bool discard = false;        // rspamd wants the message thrown away silently, and no option says otherwise
  std::string not_said;        // the refusal that the Enforcement prevented
  std::string header_bytes;    // the header section as it leaves; not set with a refusal
  bool body_unusable = false;  // rspamd's rewritten body cannot be used, so the decision is the one for a failed scan
  std::size_t body_from = 0;   // offset in the message of the empty line, which the body follows
  std::vector<std::string> dropped_headers;  // names that rspamd wanted to add, but that are no field names or name a mark
};

// The names by which an Authentication-Results field can be known to be ours: from config|admd, and from smtpd's greeting.
struct OwnNames {
  std::string_view admd;
  std::string_view greeting;
};

// `message` is the message that rspamd saw: unstuffed, with smtpd's own Received field; the header section is enough. Fields
// below smtpd's Received field that only we may write come from the client and are always removed: X-Spam, X-Spam-*, X-Spamd-*,
// X-Rspamd-*, and Authentication-Results with an authserv-id of ours. smtpd's Received field always stays, even if rspamd wants
// it removed (RFC 5321 4.4). The mark of a delivered message (lmtp/mark.hpp) is removed wherever it stands, and rspamd cannot add
// one.
Decision decide(std::string_view message, const rspamd::ScanResult& result, const Policy& policy, Enforcement enforcement,
                const OwnNames& names, Duration scan_time = {});

// As decide(), for a message that is accepted without a scan.
Decision pass_unscanned(std::string_view message, const OwnNames& names);

// A refusal for smtpd: a code, an enhanced code and a text. `text` becomes one line of bounded length; `default_text` stands in
// for an empty one. If `text` begins with an enhanced code of the same class, or with a reply code before that, these are not
// written twice.
std::string refusal(std::string_view code, std::string_view enhanced, std::string_view text, std::string_view default_text);

}  // namespace mailbridge::policy
