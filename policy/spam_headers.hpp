// The header fields by which Sieve recognises spam, in the style of three programs.
//
//   milter          rspamd's own milter: X-Spam: Yes, or what rspamd names as spam_header (rspamd's src/libserver/milter.c)
//   rspamc          `rspamc --mime`: X-Spam-Scanner, -Scan-Time, X-Spam: yes, -Action, -Score, -Level, -Symbols, at the end
//                   (rspamd's src/client/rspamc.cxx, rspamc_mime_output)
//   filter-rspamd   X-Spam: yes, X-Spam-Score and X-Spam-Status, at the top (filter-rspamd.go, rspamdQuery)
#pragma once

#include <string_view>
#include <vector>

#include "base/conversation.hpp"
#include "base/result.hpp"
#include "rspamd/verdict.hpp"

namespace mailbridge::policy {

enum class SpamHeaders { milter, rspamc, filter_rspamd };
Result<SpamHeaders> parse_spam_headers(std::string_view word);

struct Marking {
  SpamHeaders set{};
  Duration scan_time{};  // how long the scan took
};

// How a verdict marks the mail.
enum class Spam {
  no,
  subject,  // in its subject
  junk,     // by fields that name it spam
};

// The fields for a verdict, to be added in this order.
std::vector<rspamd::AddHeader> spam_headers(const Marking& marking, const rspamd::Verdict& verdict, Spam spam);

// The fields for a message that could not be scanned. `error` is one printable line.
std::vector<rspamd::AddHeader> spam_headers(const Marking& marking, std::string_view error);

}  // namespace mailbridge::policy
