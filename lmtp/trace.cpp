#include "lmtp/trace.hpp"

namespace mailbridge::lmtp {
namespace {

// smtpd turns these into ':' when it expands %{sender} on a command line (MAILADDR_ESCAPE).
constexpr std::string_view mangled = "!#$%&'*?`{|}~";

bool same_sender(std::string_view written, std::string_view given) {
  if (written.size() != given.size()) return false;
  for (std::size_t i = 0; i < written.size(); ++i) {
    if (written[i] == given[i]) continue;
    if (given[i] != ':' || mangled.find(written[i]) == std::string_view::npos) return false;
  }
  return true;
}

}  // namespace

std::string_view without_smtpd_trace(std::string_view mail, std::string_view sender) {
  constexpr std::string_view return_path = "Return-Path: <";
  constexpr std::string_view delivered_to = "Delivered-To: ";
  std::string_view rest = mail;
  if (!sender.empty()) {
    const std::size_t lf = rest.find('\n');
    if (lf == std::string_view::npos || !rest.starts_with(return_path)) return mail;
    const std::string_view line = rest.substr(0, lf);
    if (!line.ends_with('>') || !same_sender(line.substr(return_path.size(), line.size() - return_path.size() - 1), sender))
      return mail;
    rest.remove_prefix(lf + 1);
  }
  const std::size_t lf = rest.find('\n');
  if (lf == std::string_view::npos || !rest.starts_with(delivered_to)) return mail;
  return rest.substr(lf + 1);
}

}  // namespace mailbridge::lmtp
