#include "mail/envelope.hpp"

namespace mailbridge::mail {

std::string normalised_address(std::string_view text) {
  // smtpd's mailaddr parser takes what follows the first ':' that stands before the '@' of the mailbox itself.
  if (const std::size_t colon = text.find(':'); colon != std::string_view::npos && text.find('@', colon) != std::string_view::npos) {
    text.remove_prefix(colon + 1);
  }
  std::string address;
  address.reserve(text.size());
  for (const char c : text) {
    if (c > 0x20 && c < 0x7f && c != '<' && c != '>') address += c;
  }
  return address;
}

}  // namespace mailbridge::mail
