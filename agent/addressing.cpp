#include "agent/addressing.hpp"

#include "base/text.hpp"
#include "lmtp/client.hpp"

namespace mailbridge::agent {
namespace {

constexpr std::string_view whole_recipient = "{local}{+detail}{@domain}";

// Calls on_text(…) and on_part(name) for the pieces of a form, in their order.
template <class OnText, class OnPart>
Result<void> read_form(std::string_view form, OnText&& on_text, OnPart&& on_part) {
  while (!form.empty()) {
    const std::size_t brace = form.find_first_of("{}");
    on_text(form.substr(0, brace));
    if (brace == std::string_view::npos) break;
    const std::size_t end = form.find('}', brace);
    if (form[brace] == '}' || end == std::string_view::npos) return fail(Errc::malformed, "a part is written {name}");
    if (Result<void> done = on_part(form.substr(brace + 1, end - brace - 1)); !done) return done;
    form.remove_prefix(end + 1);
  }
  return {};
}

struct Parts {
  std::string local, detail, domain;
  char delimiter = '\0';  // the one before the detail, if there is a detail
};

Parts split(std::string_view recipient, const Addressing& addressing) {
  Parts parts;
  const std::size_t at = recipient.rfind('@');
  std::string_view local = recipient.substr(0, at);
  if (at != std::string_view::npos) parts.domain = recipient.substr(at + 1);
  // A quoted local part is not split. A delimiter at the very beginning belongs to the name.
  const std::size_t mark = local.starts_with('"') ? std::string_view::npos : local.find_first_of(addressing.delimiters, 1);
  if (mark != std::string_view::npos) {
    parts.delimiter = local[mark];
    if (!addressing.strip_detail) parts.detail = local.substr(mark + 1);
    local = local.substr(0, mark);
  }
  parts.local = addressing.folding == Folding::all ? lower(local) : std::string(local);
  if (addressing.folding != Folding::none) parts.domain = lower(parts.domain);
  return parts;
}

}  // namespace

Result<std::string> parse_rcpt_form(std::string_view text) {
  if (text == "recipient") return std::string(whole_recipient);
  if (text == "user") return std::string("{user}{+detail}");
  bool has_parts = false;
  const auto known = read_form(
      text, [](std::string_view) {},
      [&](std::string_view name) -> Result<void> {
        has_parts = true;
        for (const std::string_view part : {"user", "local", "domain", "@domain", "detail", "+detail"}) {
          if (name == part) return {};
        }
        return fail(Errc::malformed, "there is no part {" + std::string(name) + "}");
      });
  if (!known) return tl::unexpected(known.error());
  // A form without parts would send all mail to one address. That is hardly what is meant; a mistyped word is more likely.
  if (!has_parts)
    return fail(Errc::malformed, "recipient, user, or a text with parts as {local} is wanted, not " + std::string(text));
  return std::string(text);
}

Result<std::string> rcpt_address(std::string_view recipient, const std::optional<std::string>& user,
                                 const Addressing& addressing) {
  const Parts parts = split(recipient, addressing);
  std::string address;
  auto made = read_form(
      addressing.form, [&](std::string_view text) { address += text; },
      [&](std::string_view name) -> Result<void> {
        if (name == "user" && (!user || user->empty())) return fail(Errc::malformed, "no user: USER is not in the environment");
        if (name == "user") address += addressing.folding == Folding::all ? lower(*user) : *user;
        else if (name == "local") address += parts.local;
        else if (name == "domain") address += parts.domain;
        else if (name == "@domain") address += parts.domain.empty() ? "" : "@" + parts.domain;
        else if (name == "detail") address += parts.detail;
        else if (!parts.detail.empty()) address += parts.delimiter + parts.detail;
        return {};
      });
  if (!made) return tl::unexpected(std::move(made.error()));
  if (const auto fault = lmtp::address_fault(address); !fault.empty())
    return fail(Errc::malformed, "recipient: " + std::string(fault));
  // Without this check the server would refuse the mail permanently, for a mistake of our configuration.
  if (address.empty() || address.starts_with('@') || address.ends_with('@'))
    return fail(Errc::malformed, "recipient: --rcpt makes no address of " + std::string(recipient));
  return address;
}

std::vector<std::string> names_of_mailbox(const std::string& address, const Environment& environment,
                                          const Addressing& addressing) {
  std::vector<std::string> names = {address};
  if (!environment.local || !environment.domain) return names;
  const Addressing kept{.delimiters = addressing.delimiters, .folding = Folding::all};
  const std::string given = *environment.local + "@" + *environment.domain;
  const Parts its = split(address, kept);
  const Parts given_parts = split(given, kept);
  const bool same_domain = its.domain.empty() || its.domain == given_parts.domain;
  const bool same_detail = its.detail.empty() || its.detail == given_parts.detail;
  if (its.local == given_parts.local && same_domain && same_detail && given != address) names.push_back(given);
  return names;
}

std::string original_recipient(const Environment& environment) {
  std::string address = environment.original_recipient.value_or("");
  if (address.empty() && environment.local && environment.domain) address = *environment.local + "@" + *environment.domain;
  return address == "@" || !lmtp::address_fault(address).empty() ? "" : address;
}

}  // namespace mailbridge::agent
