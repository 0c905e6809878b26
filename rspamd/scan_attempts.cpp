#include "rspamd/scan_attempts.hpp"

#include <algorithm>
#include <utility>

#include "rspamd/exchange.hpp"

namespace mailbridge::rspamd {

std::optional<std::size_t> ScanAttempts::next() {
  const auto server = attempts_.next(upstreams_);
  if (server) tried_ = server;
  return server;
}

TimePoint ScanAttempts::begin(TimePoint now) {
  begun_ = now;
  return connect_by_ = std::min(limits_.until, now + limits_.connect_timeout);
}

std::optional<ScanAttempts::Change> ScanAttempts::not_connected(const NoConnection& failure, TimePoint now, double random) {
  if (is_late(failure)) {
    ScanResult late = tl::unexpected(ScanFailure{ScanFailure::Kind::timed_out, std::string(no_reply_in_time)});
    auto change = report(late, now, random);
    attempts_.finished(*tried_, std::move(late));
    return change;
  }
  if (failure.ours) {
    attempts_.not_tried(*tried_, failure.what);
    return std::nullopt;
  }
  attempts_.not_connected(*tried_, failure.what);
  if (!upstreams_.not_connected(*tried_, now, random)) return std::nullopt;
  return Change{false, failure.what};
}

std::optional<ScanAttempts::Change> ScanAttempts::finished(ScanResult result, TimePoint now, double random) {
  connected_ = tried_;
  auto change = report(result, now, random);
  attempts_.finished(*tried_, std::move(result));
  return change;
}

std::optional<ScanAttempts::Change> ScanAttempts::report(const ScanResult& result, TimePoint now, double random) {
  if (result) return upstreams_.answered(*tried_, begun_) ? std::optional(Change{true}) : std::nullopt;
  switch (result.error().kind) {
    case ScanFailure::Kind::http:
      if (upstreams_.answered(*tried_, begun_)) return Change{true};
      break;
    case ScanFailure::Kind::timed_out:
      if (upstreams_.timed_out(*tried_, now, random)) return Change{false, "several scans in a row timed out"};
      break;
    case ScanFailure::Kind::unreachable:
      upstreams_.lost(*tried_, now);
      break;
    case ScanFailure::Kind::unreadable:
    case ScanFailure::Kind::overload:
    case ScanFailure::Kind::too_large:
      break;
  }
  return std::nullopt;
}

std::string ScanAttempts::recorded(const NoConnection& failure) const {
  if (is_late(failure)) return to_string(Ending{Ending::Kind::timed_out});
  return (failure.ours ? "lacking " : "refused ") + failure.what;
}

}  // namespace mailbridge::rspamd
