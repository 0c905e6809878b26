// One scan on one connection: the request goes out, rspamd's reply comes in, and a verdict or the reason for having none is left.
//
//   sending ──► awaiting ──► done        we speak first; the reply, the deadline or the end of the connection ends it
//
// rspamd serves one request per connection and drops the task when it reads EOF, so the sending side is never shut down.
// We listen while we send. A whole reply that comes early ends the sending: an error is believed (a request can be refused
// unread), but a 200 is not, for it cannot be a verdict on a message that was not there yet.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/conversation.hpp"
#include "rspamd/http_reply.hpp"
#include "rspamd/incoming.hpp"
#include "rspamd/outgoing.hpp"
#include "rspamd/verdict.hpp"

namespace mailbridge::rspamd {

// What ScanFailure::what says when the deadline has passed.
inline constexpr std::string_view no_reply_in_time = "no complete reply within the time given";

class Exchange {
 public:
  // The deadline is the whole exchange's. A rewritten body is kept when it has bounds.
  Exchange(Outgoing request, TimePoint deadline, std::size_t reply_cap = default_reply_cap,
           const std::optional<BodyBounds>& rewritten_bounds = std::nullopt);

  // See Outgoing: to be called until it is true, with pauses for others, before the first next().
  bool prepare() { return done_ || request_->prepare(); }

  Step next(TimePoint now);
  void sent(std::size_t n);
  void receive(std::string_view bytes);
  void end(const Ending& ending);

  // Unreachable until Done.
  const ScanResult& result() const& { return result_; }
  ScanResult result() && { return std::move(result_); }

 private:
  void judge();
  void finish(ScanResult result);
  void fail(ScanFailure::Kind kind, std::string what);

  std::optional<Outgoing> request_;  // until done
  std::optional<Incoming> reply_;
  TimePoint deadline_;
  bool done_ = false;
  ScanResult result_;
};

static_assert(Conversation<Exchange>);

}  // namespace mailbridge::rspamd
