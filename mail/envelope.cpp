#include "mail/envelope.hpp"

namespace mailbridge::mail {
namespace {

void append_sane(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c > 0x20 && c < 0x7f && c != '<' && c != '>') out += c;
  }
}

}  // namespace

std::string normalised_address(std::string_view text, std::string_view default_domain) {
  const std::size_t at = text.rfind('@');
  std::string_view local = text.substr(0, at);
  const std::string_view domain = at == std::string_view::npos ? std::string_view{} : text.substr(at + 1);
  if (const std::size_t colon = local.find(':'); colon != std::string_view::npos) local.remove_prefix(colon + 1);
  std::string address;
  append_sane(address, local);
  if (address.empty()) return address;
  address += '@';
  append_sane(address, domain);
  if (address.ends_with('@')) append_sane(address, default_domain);
  if (address.ends_with('@')) address.pop_back();
  return address;
}

}  // namespace mailbridge::mail
