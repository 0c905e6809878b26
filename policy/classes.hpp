// The classes of messages, and what each means for the scan.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/networks.hpp"
#include "base/result.hpp"
#include "mail/envelope.hpp"

namespace mailbridge::policy {

// If several classes hold, the first one in this order decides.
enum class Class : std::uint8_t {
  authenticated,  // AUTH succeeded
  local,          // over smtpd's local socket: from programs on this host, and smtpd's own bounces
  networks,       // the client's address is in --networks
  recipients,     // all recipients are in --recipients
};
inline constexpr std::array classes = {Class::authenticated, Class::local, Class::networks, Class::recipients};

std::string_view to_string(Class which);
Result<Class> parse_class(std::string_view word);

class ClassSet {
 public:
  void insert(Class which) { bits_ |= bit(which); }
  bool contains(Class which) const { return (bits_ & bit(which)) != 0; }
  // The first class that is in both sets.
  std::optional<Class> first_of(ClassSet other) const;

 private:
  static constexpr unsigned bit(Class which) { return 1U << static_cast<unsigned>(which); }
  unsigned bits_ = 0;
};

// A set of addresses and whole domains. ASCII letters of either case are equal.
class Recipients {
 public:
  // "alice@example.org" or "@example.org".
  Result<void> add(std::string_view entry);
  bool contain_all(const std::vector<std::string>& addresses) const;  // false if there is none

 private:
  std::unordered_set<std::string> entries_;  // in lower case
};

// Parses "[CLASS=]ID": an ID of rspamd's settings, for a class or for all other messages.
Result<std::pair<std::optional<Class>, std::string>> parse_settings_id(std::string_view text);

// Parses a domain name: without blanks and without an @. The result is in lower case.
Result<std::string> parse_domain(std::string_view text);

// Calls `take` for each entry of a list: one entry a line, without blanks around it. A '#' at the beginning or after a blank
// starts a comment. Returns the first fault of `take`, with the file and the line.
Result<void> parse_list(std::string_view text, const std::string& file,
                        const std::function<Result<void>(std::string_view)>& take);

struct ClassSettings {
  Networks networks;
  Recipients recipients;
  ClassSet soften;          // classes whose messages are not refused for good because of a verdict
  ClassSet skip;            // classes whose messages are accepted without a scan
  std::string settings_id;  // rspamd's Settings-ID; empty: none
  std::array<std::string, classes.size()> class_settings_id;  // for each class; empty: the class has none of its own

  ClassSet of(const mail::Envelope& envelope) const;
  const std::string& settings_id_for(ClassSet which) const;
};

}  // namespace mailbridge::policy
