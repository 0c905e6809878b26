#include "smtpd/size_question.hpp"

namespace mailbridge::smtpd {

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
