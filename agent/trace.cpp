#include "agent/trace.hpp"

namespace mailbridge::agent {
namespace {

// smtpd replaces these characters with ':' when it expands %{sender} on a command line (MAILADDR_ESCAPE).
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

std::size_t smtpd_trace_size(std::string_view header_section, std::string_view sender) {
  constexpr std::string_view return_path = "Return-Path: <";
  constexpr std::string_view delivered_to = "Delivered-To: ";
  std::string_view rest = header_section;
  if (!sender.empty()) {
    const std::size_t end = rest.find(">\r\n");
    if (end == std::string_view::npos || !rest.starts_with(return_path)) return 0;
    if (!same_sender(rest.substr(return_path.size(), end - return_path.size()), sender)) return 0;
    rest.remove_prefix(end + 3);
  }
  if (!rest.starts_with(delivered_to)) return 0;
  rest.remove_prefix(rest.find('\n') + 1);
  return header_section.size() - rest.size();
}

}  // namespace mailbridge::agent
