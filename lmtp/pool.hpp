// Which connection serves whom. Pure: connections are values of any movable type, and the clock is an argument.
//
//   wait(purpose)   somebody waits for a connection, and is named by the ticket from now on
//   next(now)       the next holder: it gets the idle connection that was used last, or opens one
//   give_back(…)    the holder is done, and its connection can serve again
//   end(ticket)     the holder is done, and its connection is closed; or somebody no longer waits
//
// Tickets are served in the order of wait(), with one exception: when there are at least two connections, deliveries never hold
// all of them. A delivery can take minutes, and for a look-up a client waits at RCPT, who has seconds.
//
// Each holder has one connection, so there are never more than PoolLimits::count.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/conversation.hpp"

namespace mailbridge::lmtp {

struct PoolLimits {
  std::size_t count = 0;                     // connections at once, idle ones included
  Duration idle = std::chrono::seconds(60);  // how long a connection is kept unused; Dovecot itself waits for 5 minutes
  Duration age = std::chrono::minutes(10);   // how long a connection lives, so that the server can renew its processes
  unsigned uses = 500;                       // how often it serves, for the same reason
  bool operator==(const PoolLimits&) const = default;
};

enum class Purpose { lookup, delivery };

template <class Connection>
class Pool {
 public:
  using Ticket = std::uint64_t;

  struct Turn {
    Ticket ticket;
    std::optional<Connection> connection;  // none: the holder opens one
    bool keep;                             // false: the connection that serves is closed after this use
  };

  explicit Pool(PoolLimits limits = {}) : limits_(limits) {}

  // Limits from now on. Holders keep their connections. Idle connections beyond the limits are in the next take_expired().
  void set_limits(PoolLimits limits) { limits_ = limits; }

  Ticket wait(Purpose purpose) {
    queue(purpose).insert(next_ticket_);
    return next_ticket_++;
  }

  // Who is served next; none when nobody waits or no connection is free. After each of the other calls, call this until it
  // returns none.
  std::optional<Turn> next(TimePoint now) {
    if (held_.size() >= limits_.count) return std::nullopt;
    const bool delivery = a_delivery_may_begin() && goes_first(Purpose::delivery, Purpose::lookup);
    std::set<Ticket>& from = queue(delivery ? Purpose::delivery : Purpose::lookup);
    if (from.empty()) return std::nullopt;
    Turn turn{*from.begin(), std::nullopt, limits_.uses > 1};
    Held held{delivery ? Purpose::delivery : Purpose::lookup, now, 1};
    if (!idle_.empty()) {
      Idle& last = idle_.back();
      held = {held.purpose, last.opened, last.uses + 1};
      turn.connection = std::move(last.connection);
      turn.keep = held.uses < limits_.uses && now < held.opened + limits_.age;
      idle_.pop_back();
    }
    from.erase(from.begin());
    held_.emplace(turn.ticket, held);
    return turn;
  }

  // `fresh`: the holder opened the connection during this turn. Its age counts from `now`, and this was its first use.
  void give_back(Ticket ticket, Connection connection, bool fresh, TimePoint now) {
    const auto held = held_.find(ticket);
    idle_.push_back({std::move(connection), fresh ? now : held->second.opened, fresh ? 1 : held->second.uses, now});
    held_.erase(held);
  }
  // `ticket` may be that of a holder, of somebody who waits, or of neither.
  void end(Ticket ticket) {
    held_.erase(ticket);
    queue(Purpose::lookup).erase(ticket);
    queue(Purpose::delivery).erase(ticket);
  }

  // Idle connections that are past a limit: the caller closes them.
  std::vector<Connection> take_expired(TimePoint now) {
    std::vector<Connection> expired;
    std::vector<Idle> kept;
    std::size_t too_many = held_.size() + idle_.size() - std::min(limits_.count, held_.size() + idle_.size());
    for (Idle& idle : idle_) {  // in the order of their last use
      if (too_many == 0 && now < expiry(idle)) {
        kept.push_back(std::move(idle));
        continue;
      }
      expired.push_back(std::move(idle.connection));
      too_many -= std::min<std::size_t>(too_many, 1);
    }
    idle_ = std::move(kept);
    return expired;
  }
  // When the first idle connection will be past a limit; none when none is idle.
  std::optional<TimePoint> next_expiry() const {
    std::optional<TimePoint> next;
    for (const Idle& idle : idle_) next = std::min(next.value_or(expiry(idle)), expiry(idle));
    return next;
  }
  // All idle connections: the caller closes them. For when one of them was dead: it was the one used last, so the others have
  // been idle for longer.
  std::vector<Connection> take_idle() {
    std::vector<Connection> taken;
    for (Idle& idle : idle_) taken.push_back(std::move(idle.connection));
    idle_.clear();
    return taken;
  }

  std::size_t held() const { return held_.size(); }
  std::size_t idle() const { return idle_.size(); }
  std::size_t waiting() const { return queues_[0].size() + queues_[1].size(); }

 private:
  struct Idle {
    Connection connection;
    TimePoint opened;
    unsigned uses;    // so far
    TimePoint since;  // when it was given back
  };
  struct Held {
    Purpose purpose;
    TimePoint opened;
    unsigned uses;  // this one included
  };

  std::set<Ticket>& queue(Purpose purpose) { return queues_[static_cast<std::size_t>(purpose)]; }
  bool goes_first(Purpose one, Purpose other) {
    return !queue(one).empty() && (queue(other).empty() || *queue(one).begin() < *queue(other).begin());
  }
  bool a_delivery_may_begin() const {
    const auto deliveries =
        std::count_if(held_.begin(), held_.end(), [](const auto& entry) { return entry.second.purpose == Purpose::delivery; });
    return static_cast<std::size_t>(deliveries) < std::max<std::size_t>(limits_.count, 2) - 1;
  }
  TimePoint expiry(const Idle& idle) const { return std::min(idle.since + limits_.idle, idle.opened + limits_.age); }

  PoolLimits limits_;
  Ticket next_ticket_ = 1;
  std::array<std::set<Ticket>, 2> queues_;  // the tickets that wait, by purpose
  std::map<Ticket, Held> held_;
  std::vector<Idle> idle_;
};

}  // namespace mailbridge::lmtp
