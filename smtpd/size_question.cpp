#include "smtpd/size_question.hpp"

#include <string>

namespace mailbridge::smtpd {

Result<Endpoint> listener_at(std::string_view dest) {
  constexpr std::string_view any4 = "0.0.0.0:", any6 = "[::]:";
  if (dest.starts_with(any4)) return parse_lmtp_endpoint("127.0.0.1:" + std::string(dest.substr(any4.size())));
  if (dest.starts_with(any6)) return parse_lmtp_endpoint("[::1]:" + std::string(dest.substr(any6.size())));
  return parse_lmtp_endpoint(dest);
}

Step SizeQuestion::next(TimePoint) {
  if (done_) return Done{};
  if (!to_send_.empty()) return Send{to_send_, until_};
  if (heard_ == 2) return Done{};
  return Await{until_};
}

void SizeQuestion::receive(std::string_view bytes) {
  replies_.feed(bytes, [this](const Result<lmtp::Reply>& reply) {
    ++heard_;
    if (!reply || !reply->is(2)) done_ = true;
    else if (heard_ == 1) to_send_ = "EHLO localhost\r\n";
    else if (heard_ == 2) to_send_ = "QUIT\r\n";
  });
}

}  // namespace mailbridge::smtpd
