#include "smtpd/listener.hpp"

#include "base/text.hpp"

namespace mailbridge::smtpd {

bool is_local(std::string_view src) { return src.starts_with("unix:") || src == "local"; }

std::string client_ip(std::string_view src) {
  if (is_local(src)) return "127.0.0.1";
  if (src.starts_with('[')) src = src.substr(1, src.find(']') - 1);
  else src = src.substr(0, src.rfind(':'));
  if (istarts_with(src, "IPv6:")) src.remove_prefix(5);
  return std::string(src);
}

bool completes(std::string_view dest) {
  return is_local(dest) || dest.starts_with("127.0.0.1:") || dest.starts_with("[::1]:") || dest.ends_with(":587");
}

Result<Endpoint> listener_at(std::string_view dest) {
  constexpr std::string_view any4 = "0.0.0.0:", any6 = "[::]:";
  if (dest.starts_with(any4)) return parse_lmtp_endpoint("127.0.0.1:" + std::string(dest.substr(any4.size())));
  if (dest.starts_with(any6)) return parse_lmtp_endpoint("[::1]:" + std::string(dest.substr(any6.size())));
  return parse_lmtp_endpoint(dest);
}

}  // namespace mailbridge::smtpd
