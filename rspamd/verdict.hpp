// What rspamd says of a message: the reply of /checkv2, as data. https://rspamd.com/doc/developers/protocol.html and, for the
// `milter` object, rspamd's src/libserver/milter.c.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "base/result.hpp"
#include "mail/message.hpp"

namespace mailbridge::rspamd {

// More than any header block has lines; a larger number in the reply becomes this.
inline constexpr int max_order = 1'000'000;

struct AddHeader {
  std::string name;   // a field name of RFC 5322
  std::string value;  // may be folded, with any newline style, and may hold anything
  int order = -1;     // 0 very top, n > 0 after the n-th header, -1 at the end, -k the k-th from the end; within ±max_order
};

struct RemoveHeader {
  std::string name;  // a field name of RFC 5322
  int index = 0;     // 0 all of that name, k > 0 the k-th from the top, k < 0 the k-th from the end; within ±max_order
};

struct Symbol {
  std::string name;
  double score = 0;
};

struct Verdict {
  std::string action;  // as rspamd spells it: "no action", "add header", a custom name; never empty
  double score = 0;
  double required_score = 0;
  std::string subject;          // for "rewrite subject"; empty when there is none
  std::string smtp_message;     // free text; empty when there is none
  std::vector<Symbol> symbols;  // in the order of the reply
  std::vector<std::string> dkim_signatures;
  std::vector<AddHeader> add_headers;                               // in the order of the reply
  std::vector<RemoveHeader> remove_headers;                         // in the order of the reply
  std::vector<AddHeader> spam_headers;                              // milter.spam_header; a bare string is the value of X-Spam
  bool no_action = false;                                           // milter.no_action: headers only
  std::string instead_of_reject;                                    // milter.reject: "discard", "quarantine" or empty
  bool has_rewritten_body = false;                                  // a rewritten body followed the JSON
  Result<std::shared_ptr<mail::Message>> rewritten_body = nullptr;  // where it was to be kept, or why it is of no use
  // What of `milter` is not done: change_from, add_rcpt, del_rcpt where the reply has them; add_headers, remove_headers,
  // spam_header, dkim-signature where a part of them was left out (no field name, not text, beyond a bound).
  std::vector<std::string> unsupported;
};

struct ScanFailure {
  enum class Kind {
    unreachable,  // no connection, or lost before the whole reply was there
    timed_out,
    http,        // a status other than 200
    unreadable,  // not HTTP, not JSON, too large, or without an action
    overload,    // never asked, or not to the end: too many scans are under way or wait, or this host is short of something
    too_large,   // never asked: the message is larger than is scanned
  };
  Kind kind;
  std::string what;  // one sentence; may quote the peer
};
std::string_view to_string(ScanFailure::Kind kind);

using ScanResult = tl::expected<Verdict, ScanFailure>;

// `json` is the reply's body (up to Message-Offset). Order and duplicate keys are kept. Invalid UTF-8 is repaired, not refused;
// unknown fields and fields of a wrong type are ignored, save that a reply without an action is no verdict.
ScanResult parse_verdict(std::string_view json);

// The `error` of a reply that is no verdict, as rspamd wrote it; empty when there is none.
std::string error_text(std::string_view json);

}  // namespace mailbridge::rspamd
