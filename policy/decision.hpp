// From what rspamd said (or failed to say) to what smtpd is told and what the mail looks like. Actions are carried out as
// rspamd's own milter does it (rspamd's src/libserver/milter.c, rspamd_milter_send_task_results), as far as smtpd can.
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

// What becomes of a message without a verdict.
enum class OnError { tempfail, accept, reject };

// The same by class of failure.
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
  softened,  // what would be refused for good is accepted with the header of "add header"; soft rejects stay, for they ask for
             // time
  none,      // only headers of rspamd's and those that tell what would have happened, as if each verdict had no_action
};

struct Decision {
  std::string refusal;                       // empty: proceed; otherwise "554 5.7.1 text", as smtpd wants it after reject|
  bool discard = false;                      // rspamd wants it thrown away without a word, and nothing is set against that
  std::string not_said;                      // the refusal that would have been given, but for the Enforcement
  std::string header_bytes;                  // the header section as it leaves; meaningless with a refusal
  bool body_unusable = false;                // rspamd's rewritten body cannot be used, and that decided as no verdict does
  std::size_t body_from = 0;                 // where in the message the rest begins: the empty line and the body
  std::vector<std::string> dropped_headers;  // names rspamd wanted added that are no field names, or a mark
};

// Names by which our own Authentication-Results can be known: config|admd and smtpd's greeting.
struct OwnNames {
  std::string_view admd;
  std::string_view greeting;
};

// `message` is what rspamd saw, unstuffed, smtpd's own Received field included; of it the header section is enough. Whatever the
// result, X-Spam, X-Spam-*, X-Spamd-*, X-Rspamd-* and Authentication-Results with an authserv-id of ours that stand below smtpd's
// Received field are the client's, and go. That Received field itself stays, whatever rspamd wants removed (RFC 5321 4.4). The
// mark of a delivered message (lmtp/mark.hpp) goes wherever it stands, and nobody has it added here.
Decision decide(std::string_view message, const rspamd::ScanResult& result, const Policy& policy, Enforcement enforcement,
                const OwnNames& names, Duration scan_time = {});

// As decide(), for a message that is accepted without a scan.
Decision pass_unscanned(std::string_view message, const OwnNames& names);

// A refusal: code, enhanced code and a text of ours or of rspamd's. `text` is flattened and bounded; when it brings its own
// enhanced code of the same class, or a reply code before that, these are not doubled.
std::string refusal(std::string_view code, std::string_view enhanced, std::string_view text, std::string_view default_text);

}  // namespace mailbridge::policy
