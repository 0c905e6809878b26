// An SMTP session with our own smtpd, to learn the largest message that it takes. Only its answer to EHLO tells that: SIZE (RFC
// 1870 4). smtpd reports this answer to its filters like every other one (protocol-server), so this machine needs only to find
// the end of each reply.
//
//   banner ──► EHLO ──► its reply ──► QUIT ──► done
#pragma once

#include <cstddef>
#include <string_view>

#include "base/conversation.hpp"
#include "lmtp/reply.hpp"

namespace mailbridge::smtpd {

class SizeQuestion {
 public:
  explicit SizeQuestion(TimePoint until) : until_(until) {}

  Step next(TimePoint now);
  void sent(std::size_t n) { to_send_.remove_prefix(n); }
  void receive(std::string_view bytes);
  void end(const Ending&) { done_ = true; }

 private:
  TimePoint until_;
  lmtp::ReplyReader replies_;
  std::size_t heard_ = 0;  // replies
  std::string_view to_send_;
  bool done_ = false;
};

static_assert(Conversation<SizeQuestion>);

}  // namespace mailbridge::smtpd
