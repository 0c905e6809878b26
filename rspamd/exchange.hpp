// One scan on one connection: the request goes out, rspamd's reply comes in, and a verdict or the reason for having none is left.
//
//   sending ──► awaiting ──► done        we speak first; the reply, the deadline or the end of the connection ends it
//
// rspamd serves one request per connection and drops the task when it reads EOF, so the sending side is never shut down.
// We listen while we send. A whole reply that comes early ends the sending: an error is believed (a request can be refused
// unread), but a 200 is not, for it cannot be a verdict on a message that was not there yet.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/conversation.hpp"
#include "mail/message.hpp"
#include "rspamd/http_reply.hpp"
#include "rspamd/verdict.hpp"

namespace mailbridge::rspamd {

class Exchange {
 public:
  // `head` is ScanRequest's; the message must not change any more. The deadline is the whole exchange's. A rewritten body
  // is kept when it has bounds.
  Exchange(std::string head, std::shared_ptr<const mail::Message> message, TimePoint deadline,
           std::size_t reply_cap = default_reply_cap, const std::optional<BodyBounds>& rewritten_bounds = std::nullopt);

  Step next(TimePoint now) const;
  void sent(std::size_t n);
  void receive(std::string_view bytes);
  void end(const Ending& ending);

  // Unreachable until Done.
  const ScanResult& result() const& { return result_; }
  ScanResult result() && { return std::move(result_); }

 private:
  std::string_view unsent() const;
  void judge();
  void finish(ScanResult result);
  void fail(ScanFailure::Kind kind, std::string what);

  std::string first_;  // the head and the beginning of the message: a small mail leaves in one write
  std::shared_ptr<const mail::Message> message_;
  TimePoint deadline_;
  std::size_t first_sent_ = 0;
  std::size_t message_sent_ = 0;
  HttpReplyReader reader_;
  bool done_ = false;
  ScanResult result_;
};

static_assert(Conversation<Exchange>);

}  // namespace mailbridge::rspamd
