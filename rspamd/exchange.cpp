#include "rspamd/exchange.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"

namespace mailbridge::rspamd {
namespace {

constexpr std::size_t max_reason = 200;

}  // namespace

Exchange::Exchange(Outgoing request, TimePoint deadline, std::size_t reply_cap, const std::optional<BodyBounds>& rewritten_bounds)
    : reply_(std::in_place, reply_cap, request.secret(), rewritten_bounds),
      deadline_(deadline),
      result_(tl::unexpected(ScanFailure{ScanFailure::Kind::unreachable, "the scan has not ended"})) {
  request_ = std::move(request);
}

Step Exchange::next(TimePoint) {
  if (done_) return Done{};
  const std::string_view bytes = request_->unsent();
  if (!bytes.empty()) return Send{bytes, deadline_};
  if (request_->complete()) return Await{deadline_};
  fail(ScanFailure::Kind::overload, request_->failure());
  return Done{};
}

void Exchange::sent(std::size_t n) {
  if (!done_) request_->sent(n);
}

void Exchange::receive(std::string_view bytes) {
  if (done_) return;
  reply_->receive(bytes);
  if (reply_->complete() || reply_->fault()) judge();
}

void Exchange::end(const Ending& ending) {
  if (done_) return;
  if (ending.kind == Ending::Kind::closed) reply_->close();
  const int status = reply_->reply().status;
  // Refused while we were sending, the connection may be reset before the whole error text has come.
  if (reply_->complete() || reply_->fault() || status >= 300) return judge();
  switch (ending.kind) {
    case Ending::Kind::timed_out:
      return fail(ScanFailure::Kind::timed_out,
                  ending.error.empty() ? std::string(no_reply_in_time) : printable(ending.error, max_reason));
    case Ending::Kind::failed:
      return fail(ScanFailure::Kind::unreachable, printable(ending.error, max_reason));
    case Ending::Kind::closed:
      if (status != 0) return fail(ScanFailure::Kind::unreachable, "the connection was closed before the reply was complete");
      // rspamd's way to refuse a message beyond its max_message, too, and one encrypted with a key that is not its own: there is
      // no HTTP reply then.
      return fail(ScanFailure::Kind::unreachable, request_->secret()
                                                      ? "the connection was closed without a reply, as with a wrong key"
                                                      : "the connection was closed without a reply");
  }
}

// There is a whole reply, a status that says no, or something that is no HTTP reply.
void Exchange::judge() {
  const HttpReply& reply = reply_->reply();
  if (reply.status >= 300 || (reply_->complete() && reply.status != 200)) {
    std::string reason = error_text(reply.body);  // what rspamd also puts into the reason phrase, but a proxy may not
    if (reason.empty()) reason = reply.reason;
    return fail(ScanFailure::Kind::http, printable(std::to_string(reply.status) + " " + reason, max_reason));
  }
  if (const auto& fault = reply_->fault()) return fail(ScanFailure::Kind::unreadable, fault->what);
  if (!request_->complete()) return fail(ScanFailure::Kind::unreadable, "a verdict came before the whole message was sent");
  ScanResult result = parse_verdict(reply.body);
  if (result) {
    result->has_rewritten_body = reply.has_offset;
    result->rewritten_body = reply_->take_rewritten_body();
  }
  finish(std::move(result));
}

void Exchange::fail(ScanFailure::Kind kind, std::string what) { finish(tl::unexpected(ScanFailure{kind, std::move(what)})); }

void Exchange::finish(ScanResult result) {
  result_ = std::move(result);
  done_ = true;
  request_.reset();
  reply_.reset();
}

}  // namespace mailbridge::rspamd
