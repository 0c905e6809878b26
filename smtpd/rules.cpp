#include "smtpd/rules.hpp"

#include <algorithm>
#include <cstddef>

#include "base/text.hpp"
#include "mail/headers.hpp"

namespace mailbridge::smtpd {
namespace {

constexpr std::size_t max_name = 500;          // bytes; two names of this size, one after the other, stay below smtpd's bound
constexpr std::size_t max_addresses = 65'000;  // bytes, line ends of two bytes included; smtpd counts one for each
constexpr std::ptrdiff_t max_hops = 100;       // smtpd's own Received field is counted

}  // namespace

std::string_view smtpds_objection(std::string_view head) {
  const mail::HeaderSection section = mail::parse_headers(head);
  for (const mail::Field& field : section.fields) {
    if (field.name.empty() || field.raw.find(':') > max_name) return "malformed";
    const bool addresses = iequals(field.name, "From") || iequals(field.name, "To") || iequals(field.name, "Cc");
    if (addresses && field.raw.size() > max_addresses) return "malformed";
  }
  const auto hops = std::count_if(section.fields.begin(), section.fields.end(),
                                  [](const mail::Field& field) { return iequals(field.name, "Received"); });
  return hops >= max_hops ? "loop" : std::string_view();
}

std::unordered_set<std::string> already_delivered_to(std::string_view head) {
  constexpr std::string_view name = "Delivered-To: ";
  std::unordered_set<std::string> recipients;
  for (const mail::Field& field : mail::parse_headers(head).fields) {
    std::string_view line = field.raw.substr(0, field.raw.find('\n'));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (istarts_with(line, name)) recipients.insert(lower(line.substr(name.size())));
  }
  return recipients;
}

}  // namespace mailbridge::smtpd
