// Makes the argument of RCPT TO from what smtpd tells its agents.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace mailbridge::agent {

// The environment that smtpd gives to its agents (mda_unpriv.c).
struct Environment {
  std::optional<std::string> sender;                   // SENDER; empty for the null sender
  std::optional<std::string> recipient;                // RECIPIENT: after aliases and virtual users, with its +detail
  std::optional<std::string> user = {};                // USER
  std::optional<std::string> local = {}, domain = {};  // LOCAL and DOMAIN: the address that the client gave in RCPT
  // ORIGINAL_RECIPIENT: the same as one text, as other MTAs give it. smtpd 6.8 does not.
  std::optional<std::string> original_recipient = {};
};

// Which parts of an address are written in small letters.
enum class Folding {
  none,
  domain,  // the domain, in which case never matters
  all,     // the domain and the local part, but not the detail, because that names a mailbox
};

struct Addressing {
  // A text with the parts {user}, {local}, {domain} and {detail}. {+detail} and {@domain} are empty if there is no detail or
  // domain. See parse_rcpt_form().
  std::string form = {};
  bool strip_detail = false;
  std::string delimiters = {};  // the first of these characters in a local part begins its detail
  Folding folding{};
};

// Parses "recipient", "user", or a text with parts, into an Addressing::form.
Result<std::string> parse_rcpt_form(std::string_view text);

// The address for RCPT TO. The fault is a mistake of configuration: the form wants a part that is not there, or the result is no
// address.
Result<std::string> rcpt_address(std::string_view recipient, const std::optional<std::string>& user,
                                 const Addressing& addressing);

// The names by which the filter may have called the mailbox of `address` (a result of rcpt_address()) when it delivered there:
// that address, and the one that the client gave. The latter counts only if smtpd tells it, and if `address` is a shorter
// spelling of it: without its domain, without its detail, or with other letters in upper or lower case.
//
// An alias or a .forward file makes several recipients of the address that the client gave. Only the recipient with the same name
// is meant by it: with `alice: alice, bob` the mail for bob has to be delivered as well.
std::vector<std::string> names_of_mailbox(const std::string& address, const Environment& environment,
                                          const Addressing& addressing);

// The address that the client gave, for ORCPT. Empty if it is not known, or cannot be written there.
std::string original_recipient(const Environment& environment);

}  // namespace mailbridge::agent
