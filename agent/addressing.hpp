// Which address the server is asked to deliver to: from what smtpd tells its agents to the argument of RCPT TO.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace mailbridge::agent {

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
  std::string form = {};
  bool strip_detail = false;
  std::string delimiters = {};  // the first one of these in a local part begins its detail
  Folding folding{};
};

// "recipient", "user" or a text with parts: as Addressing::form.
Result<std::string> parse_rcpt_form(std::string_view text);

// The fault is one of configuration: a part is asked for that is not there, or what comes out is no address.
Result<std::string> rcpt_address(std::string_view recipient, const std::optional<std::string>& user,
                                 const Addressing& addressing);

// What the filter may have called the mailbox that `address` (of rcpt_address()) names, if it has delivered to it: that address;
// and the one the client gave, when smtpd has told it and `address` is no more than a shorter way to write it: without its
// domain, without its detail, in other letters of upper or lower case.
//
// An alias or a .forward file makes several recipients of the address the client gave. Of these only the one who bears its name
// is meant by it: with `alice: alice, bob` the mail for bob is another matter.
std::vector<std::string> names_of_mailbox(const std::string& address, const Environment& environment,
                                          const Addressing& addressing);

// The address the client gave, for ORCPT; empty when it is not known, or could not be written there.
std::string original_recipient(const Environment& environment);

}  // namespace mailbridge::agent
