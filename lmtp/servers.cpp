#include "lmtp/servers.hpp"

#include <algorithm>
#include <functional>
#include <utility>

namespace mailbridge::lmtp {

std::vector<std::size_t> Servers::order(TimePoint now) const {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < servers_.size(); ++i) order.push_back(i);
  std::stable_partition(order.begin(), order.end(), [&](std::size_t i) { return servers_[i].rests_until <= now; });
  return order;
}

bool Servers::answered(std::size_t server) { return !std::exchange(servers_[server].up, true); }

bool Servers::failed(std::size_t server, TimePoint now) {
  servers_[server].rests_until = now + rest;
  return std::exchange(servers_[server].up, false);
}

Attempts::Next Attempts::next(TimePoint now) {
  if (done_) return Done{};
  if (kept_) return UseKept{};
  if (!connect_) begin_next(now);
  if (connect_) return *connect_;
  done_ = true;
  // One server was not tried, for the lack of something of ours. So nothing is known about all servers together.
  if (lacking_) {
    result_.outcomes = std::move(lacking_->outcomes);
    result_.server = lacking_->server;
  }
  return Done{};
}

void Attempts::begin_next(TimePoint now) {
  if (!std::exchange(result_.fresh, true)) order_ = servers_.order(now);
  if (tried_ == order_.size()) return;
  // The server that took all the time is the reason, not one that had none left.
  if (now >= patience_.dot_by && !result_.outcomes.empty()) return;
  // Each of those that are left has an equal share of the time to show that it is there.
  const auto left = static_cast<Duration::rep>(order_.size() - tried_);
  share_ = std::max(patience_.dot_by - now, Duration::zero()) / left;
  connect_begun_ = now;
  connect_ = Connect{order_[tried_++], now + std::min(share_, connect_timeout_)};
}

void Attempts::connected(TimePoint now) { result_.spent[static_cast<std::size_t>(Stage::connect)] += now - connect_begun_; }

std::optional<Attempts::Change> Attempts::not_connected(std::string why, bool ours, TimePoint now) {
  connected(now);  // the time is spent in either case
  const std::size_t server = std::exchange(connect_, std::nullopt)->server;
  Outcome failed{Stage::connect, std::nullopt, why};
  failed.ours = ours;
  result_.server = server;
  result_.outcomes.assign(recipients_, failed);
  if (ours) {
    lacking_ = {result_.outcomes, server};
    return std::nullopt;
  }
  if (!servers_.failed(server, now)) return std::nullopt;
  return Change{server, std::move(why)};
}

std::optional<Attempts::Change> Attempts::ended(Ended conversation, TimePoint now) {
  const std::size_t server = kept_ ? *kept_ : connect_->server;
  kept_.reset();
  connect_.reset();
  for (std::size_t stage = 0; stage < stages; ++stage) result_.spent[stage] += conversation.spent[stage];
  if (conversation.stale) return std::nullopt;
  result_.server = server;
  result_.outcomes = std::move(conversation.outcomes);
  const std::vector<Outcome>& outcomes = result_.outcomes;
  done_ = !std::all_of(outcomes.begin(), outcomes.end(), std::mem_fn(&Outcome::may_try_elsewhere));
  const Outcome& first = outcomes.front();
  const bool has_answered_lhlo = first.stage != Stage::connect && first.stage != Stage::banner && first.stage != Stage::lhlo;
  if (has_answered_lhlo) return servers_.answered(server) ? std::optional(Change{server, {}}) : std::nullopt;
  std::string why = first.reply ? first.reply->last() : first.failure;
  if (why.empty()) why = first.reply ? std::to_string(first.reply->code) : "no reply";
  return servers_.failed(server, now) ? std::optional(Change{server, std::move(why)}) : std::nullopt;
}

Patience Attempts::patience() const {
  Patience here = patience_;
  here.banner = std::min(patience_.banner, share_);
  here.lhlo = std::min(patience_.lhlo, share_);
  return here;
}

TimePoint Attempts::handshake_by(TimePoint now) const { return std::min(patience_.dot_by, now + connect_timeout_); }

}  // namespace mailbridge::lmtp
