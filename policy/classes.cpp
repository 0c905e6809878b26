#include "policy/classes.hpp"

#include <algorithm>
#include <cstddef>

#include "base/text.hpp"

namespace mailbridge::policy {

std::string_view to_string(Class which) {
  switch (which) {
    case Class::authenticated:
      return "authenticated";
    case Class::local:
      return "local";
    case Class::networks:
      return "networks";
    case Class::recipients:
      return "recipients";
  }
  return {};
}

Result<Class> parse_class(std::string_view word) {
  for (const Class known : classes) {
    if (word == to_string(known)) return known;
  }
  return fail(Errc::malformed, "one of authenticated, local, networks and recipients is wanted, not " + std::string(word));
}

std::optional<Class> ClassSet::first_of(ClassSet other) const {
  for (const Class which : classes) {
    if (contains(which) && other.contains(which)) return which;
  }
  return std::nullopt;
}

Result<void> Recipients::add(std::string_view entry) {
  const std::size_t at = entry.rfind('@');
  if (at == std::string_view::npos || at + 1 == entry.size() || entry.find_first_of(" \t<>") != std::string_view::npos)
    return fail(Errc::malformed, "USER@DOMAIN or @DOMAIN is wanted, not " + std::string(entry));
  entries_.insert(lower(entry));
  return {};
}

bool Recipients::contain_all(const std::vector<std::string>& addresses) const {
  if (entries_.empty() || addresses.empty()) return false;
  return std::all_of(addresses.begin(), addresses.end(), [this](const std::string& address) {
    const std::string known = lower(address);
    if (entries_.contains(known)) return true;
    const std::size_t at = known.rfind('@');
    return at != std::string::npos && entries_.contains(known.substr(at));
  });
}

Result<std::pair<std::optional<Class>, std::string>> parse_settings_id(std::string_view text) {
  std::optional<Class> which;
  if (const std::size_t equals = text.find('='); equals != std::string_view::npos) {
    const auto named = parse_class(text.substr(0, equals));
    if (!named) return tl::unexpected(named.error());
    which = *named;
    text.remove_prefix(equals + 1);
  }
  if (text.empty()) return fail(Errc::malformed, "[CLASS=]ID is wanted, and the ID is empty");
  return std::pair(which, std::string(text));
}

Result<std::string> parse_domain(std::string_view text) {
  if (text.empty() || text.size() > 255 || text.find_first_of(" \t<>@|/") != std::string_view::npos)
    return fail(Errc::malformed, "a domain is wanted, not " + std::string(text));
  return lower(text);
}

Result<void> parse_list(std::string_view text, const std::string& file,
                        const std::function<Result<void>(std::string_view)>& take) {
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t lf = text.find('\n');
    std::string_view line = text.substr(0, lf);
    text.remove_prefix(lf == std::string_view::npos ? text.size() : lf + 1);
    for (std::size_t at = line.find('#'); at != std::string_view::npos; at = line.find('#', at + 1)) {
      if (at > 0 && line[at - 1] != ' ' && line[at - 1] != '\t') continue;  // an address may hold a '#'
      line = line.substr(0, at);
      break;
    }
    line = trim(line);
    if (line.empty()) continue;
    if (const auto taken = take(line); !taken)
      return fail(taken.error().code, file + ":" + std::to_string(number) + ": " + taken.error().what);
  }
  return {};
}

ClassSet ClassSettings::of(const mail::Envelope& envelope) const {
  ClassSet which;
  if (!envelope.user.empty()) which.insert(Class::authenticated);
  if (envelope.local) which.insert(Class::local);
  else if (networks.contain(envelope.ip)) which.insert(Class::networks);
  if (recipients.contain_all(envelope.recipients)) which.insert(Class::recipients);
  return which;
}

const std::string& ClassSettings::settings_id_for(ClassSet which) const {
  for (const Class one : classes) {
    const std::string& own = class_settings_id[static_cast<std::size_t>(one)];
    if (which.contains(one) && !own.empty()) return own;
  }
  return settings_id;
}

}  // namespace mailbridge::policy
