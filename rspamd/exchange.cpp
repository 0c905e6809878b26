#include "rspamd/exchange.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"

namespace mailbridge::rspamd {
namespace {

// Most mail is smaller; of a larger one this much is copied.
constexpr std::size_t max_in_first_write = std::size_t{16} * 1024;
constexpr std::size_t max_reason = 200;

}  // namespace

Exchange::Exchange(std::string head, std::shared_ptr<const mail::Message> message, TimePoint deadline, std::size_t reply_cap,
                   const std::optional<BodyBounds>& rewritten_bounds)
    : first_(std::move(head)),
      message_(std::move(message)),
      deadline_(deadline),
      reader_(reply_cap, rewritten_bounds),
      result_(tl::unexpected(ScanFailure{ScanFailure::Kind::unreachable, "the scan has not ended"})) {
  while (message_sent_ < max_in_first_write) {
    const std::string_view piece = message_->from(message_sent_).substr(0, max_in_first_write - message_sent_);
    if (piece.empty()) break;
    first_ += piece;
    message_sent_ += piece.size();
  }
}

std::string_view Exchange::unsent() const {
  if (first_sent_ < first_.size()) return std::string_view(first_).substr(first_sent_);
  return message_->from(message_sent_);
}

Step Exchange::next(TimePoint) const {
  if (done_) return Done{};
  const std::string_view bytes = unsent();
  if (bytes.empty()) return Await{deadline_};
  return Send{bytes, deadline_};
}

void Exchange::sent(std::size_t n) {
  if (done_) return;
  n = std::min(n, unsent().size());
  (first_sent_ < first_.size() ? first_sent_ : message_sent_) += n;
  if (first_sent_ == first_.size()) {  // a scan that waits for its reply holds nothing but the message
    std::string().swap(first_);        // an assignment would keep the memory
    first_sent_ = 0;
  }
  if (unsent().empty() && message_->failed()) fail(ScanFailure::Kind::overload, message_->failure().message());
}

void Exchange::receive(std::string_view bytes) {
  if (done_) return;
  reader_.receive(bytes);
  if (reader_.complete() || reader_.fault()) judge();
}

void Exchange::end(const Ending& ending) {
  if (done_) return;
  if (ending.kind == Ending::Kind::closed) reader_.close();
  const int status = reader_.reply().status;
  // Refused while we were sending, the connection may be reset before the whole error text has come.
  if (reader_.complete() || reader_.fault() || status >= 300) return judge();
  switch (ending.kind) {
    case Ending::Kind::timed_out:
      return fail(ScanFailure::Kind::timed_out,
                  ending.error.empty() ? "no complete reply within the time given" : printable(ending.error, max_reason));
    case Ending::Kind::failed:
      return fail(ScanFailure::Kind::unreachable, printable(ending.error, max_reason));
    case Ending::Kind::closed:
      // rspamd's way to refuse a message beyond its max_message, too: there is no HTTP reply then.
      return fail(ScanFailure::Kind::unreachable, status == 0 ? "the connection was closed without a reply"
                                                              : "the connection was closed before the reply was complete");
  }
}

// There is a whole reply, a status that says no, or something that is no HTTP reply.
void Exchange::judge() {
  const HttpReply& reply = reader_.reply();
  if (reply.status >= 300 || (reader_.complete() && reply.status != 200)) {
    std::string reason = error_text(reply.body);  // what rspamd also puts into the reason phrase, but a proxy may not
    if (reason.empty()) reason = reply.reason;
    return fail(ScanFailure::Kind::http, printable(std::to_string(reply.status) + " " + reason, max_reason));
  }
  if (const auto& fault = reader_.fault()) return fail(ScanFailure::Kind::unreadable, fault->what);
  if (!unsent().empty()) return fail(ScanFailure::Kind::unreadable, "a verdict came before the whole message was sent");
  ScanResult result = parse_verdict(reply.body);
  if (result) {
    result->has_rewritten_body = reply.has_offset;
    result->rewritten_body = reader_.take_rewritten_body();
  }
  finish(std::move(result));
}

void Exchange::fail(ScanFailure::Kind kind, std::string what) { finish(tl::unexpected(ScanFailure{kind, std::move(what)})); }

void Exchange::finish(ScanResult result) {
  result_ = std::move(result);
  done_ = true;
  first_ = {};
  message_.reset();
  reader_ = HttpReplyReader(0);
}

}  // namespace mailbridge::rspamd
