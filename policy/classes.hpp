// Whose message it is, and what that means for its scan.
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

// In the order in which they decide when several hold.
enum class Class : std::uint8_t {
  authenticated,  // AUTH succeeded
  local,          // by smtpd's local socket: this host's programs, and smtpd's own bounces
  networks,       // from one of --networks
  recipients,     // all recipients are of --recipients
};
inline constexpr std::array classes = {Class::authenticated, Class::local, Class::networks, Class::recipients};

std::string_view to_string(Class which);
Result<Class> parse_class(std::string_view word);

class ClassSet {
 public:
  void insert(Class which) { bits_ |= bit(which); }
  bool contains(Class which) const { return (bits_ & bit(which)) != 0; }
  // The first of those that are in both.
  std::optional<Class> first_of(ClassSet other) const;

 private:
  static constexpr unsigned bit(Class which) { return 1U << static_cast<unsigned>(which); }
  unsigned bits_ = 0;
};

// Addresses and whole domains; ASCII letters of either case are the same.
class Recipients {
 public:
  // "alice@example.org" or "@example.org".
  Result<void> add(std::string_view entry);
  bool contain_all(const std::vector<std::string>& addresses) const;  // false for none

 private:
  std::unordered_set<std::string> entries_;  // in lower case
};

// An ID of rspamd's settings, for a class or for everybody else: "[CLASS=]ID".
Result<std::pair<std::optional<Class>, std::string>> parse_settings_id(std::string_view text);

// A domain name, in lower case: without blanks, and without an @.
Result<std::string> parse_domain(std::string_view text);

// A list in a file: one entry a line, without blanks around it; '#' at the beginning or after a blank begins a comment. The first
// fault of `take` is returned with file and line.
Result<void> parse_list(std::string_view text, const std::string& file,
                        const std::function<Result<void>(std::string_view)>& take);

struct ClassSettings {
  Networks networks;
  Recipients recipients;
  ClassSet soften;                                            // not refused for good because of a verdict
  ClassSet skip;                                              // accepted without a scan
  std::string settings_id;                                    // rspamd's Settings-ID; empty: none
  std::array<std::string, classes.size()> class_settings_id;  // by class; empty: none of its own

  ClassSet of(const mail::Envelope& envelope) const;
  const std::string& settings_id_for(ClassSet which) const;
};

}  // namespace mailbridge::policy
