// Which address the server is asked to deliver to: from what smtpd tells its agents to the argument of RCPT TO.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace mailbridge::lmtp {

// What smtpd gives to agents (mda_unpriv.c).
struct Environment {
  std::optional<std::string> sender;                   // SENDER; empty for the null sender
  std::optional<std::string> recipient;                // RECIPIENT: behind aliases and virtual users, with its +detail
  std::optional<std::string> user = {};                // USER
  std::optional<std::string> local = {}, domain = {};  // LOCAL and DOMAIN: what the client gave in RCPT
  std::optional<std::string> original_recipient =
      {};  // ORIGINAL_RECIPIENT, the same in one, as other MTAs have it; not of smtpd 6.8
};

enum class Folding {
  none,
  domain,  // the part of an address in which case never means anything
  all,     // the local part, too, but not its detail: that names a mailbox
};

struct Addressing {
  // Text with the parts {user}, {local}, {domain}, {detail}, and {+detail} and {@domain}, which are nothing when there is no
  // detail or domain. See parse_rcpt_form().
  std::string form = "{local}{+detail}{@domain}";
  bool strip_detail = false;
  std::string delimiters = "+";  // the first one of these in a local part begins its detail
  Folding folding = Folding::domain;
};

// "recipient", "user" or a text with parts: as Addressing::form.
Result<std::string> parse_rcpt_form(std::string_view text);

// The fault is one of configuration: a part is asked for that is not there, or what comes out is no address.
Result<std::string> rcpt_address(std::string_view recipient, const std::optional<std::string>& user,
                                 const Addressing& addressing);

// The address the client gave, for ORCPT; empty when it is not known, or could not be written there.
std::string original_recipient(const Environment& environment);

}  // namespace mailbridge::lmtp
