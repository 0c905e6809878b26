// Who has a connection and who waits for one, without a clock or a socket.
//
//   wait(errand)   queues, and gives a ticket
//   next(now)      whose turn it is: over an idle connection, the one used last, or over one that the holder opens
//   give_back(…)   the holder is done, and the connection can serve again
//   end(ticket)    the holder is done, and its connection is closed; or it no longer waits
//
// First come, first served; but lengthy errands together leave one connection to the brief ones when there are at least two, for
// somebody waits for those with little patience. Each holder has one connection, so there are never more than `count`.
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
  std::size_t count = 0;
  Duration idle = std::chrono::seconds(60);  // Dovecot's own is 5 minutes
  Duration age = std::chrono::minutes(10);   // so that a server can renew its processes
  unsigned uses = 500;                       // for the same reason
  bool operator==(const PoolLimits&) const = default;
};

enum class Errand { brief, lengthy };

template <class Connection>
class Pool {
 public:
  using Ticket = std::uint64_t;

  struct Turn {
    Ticket ticket;
    std::optional<Connection> connection;  // none: the holder opens one
    bool keep;                             // or this is the connection's last use, when it is not a fresh one
  };

  explicit Pool(PoolLimits limits = {}) : limits_(limits) {}

  // From now on; who has a connection keeps it, and idle ones are among the next take_expired().
  void use(PoolLimits limits) { limits_ = limits; }

  Ticket wait(Errand errand) {
    queue(errand).insert(next_ticket_);
    return next_ticket_++;
  }

  // To be asked until there is none, after each of the other calls.
  std::optional<Turn> next(TimePoint now) {
    if (held_.size() >= limits_.count) return std::nullopt;
    const bool lengthy = may_be_lengthy() && goes_first(Errand::lengthy, Errand::brief);
    std::set<Ticket>& from = queue(lengthy ? Errand::lengthy : Errand::brief);
    if (from.empty()) return std::nullopt;
    Turn turn{*from.begin(), std::nullopt, limits_.uses > 1};
    Held held{lengthy ? Errand::lengthy : Errand::brief, now, 1};
    if (!idle_.empty()) {
      Idle& last = idle_.back();
      held = {held.errand, last.opened, last.uses + 1};
      turn.connection = std::move(last.connection);
      turn.keep = held.uses < limits_.uses && now < held.opened + limits_.age;
      idle_.pop_back();
    }
    from.erase(from.begin());
    held_.emplace(turn.ticket, held);
    return turn;
  }

  // `fresh`: not the one that came with the turn. Its age counts from here.
  void give_back(Ticket ticket, Connection connection, bool fresh, TimePoint now) {
    const auto held = held_.find(ticket);
    idle_.push_back({std::move(connection), fresh ? now : held->second.opened, fresh ? 1 : held->second.uses, now});
    held_.erase(held);
  }
  void end(Ticket ticket) {
    held_.erase(ticket);
    queue(Errand::brief).erase(ticket);
    queue(Errand::lengthy).erase(ticket);
  }

  // Idle connections that are to be closed now.
  std::vector<Connection> take_expired(TimePoint now) {
    std::vector<Connection> expired;
    std::vector<Idle> kept;
    std::size_t too_many = held_.size() + idle_.size() - std::min(limits_.count, held_.size() + idle_.size());
    for (Idle& idle : idle_) {  // those used last are at the end
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
  std::optional<TimePoint> next_expiry() const {
    std::optional<TimePoint> next;
    for (const Idle& idle : idle_) next = std::min(next.value_or(expiry(idle)), expiry(idle));
    return next;
  }
  // All of them: what is known of one of them makes the others suspect.
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
    unsigned uses;
    TimePoint since;
  };
  struct Held {
    Errand errand;
    TimePoint opened;
    unsigned uses;
  };

  std::set<Ticket>& queue(Errand errand) { return queues_[static_cast<std::size_t>(errand)]; }
  bool goes_first(Errand one, Errand other) {
    return !queue(one).empty() && (queue(other).empty() || *queue(one).begin() < *queue(other).begin());
  }
  bool may_be_lengthy() const {
    const auto lengthy =
        std::count_if(held_.begin(), held_.end(), [](const auto& entry) { return entry.second.errand == Errand::lengthy; });
    return static_cast<std::size_t>(lengthy) < std::max<std::size_t>(limits_.count, 2) - 1;
  }
  TimePoint expiry(const Idle& idle) const { return std::min(idle.since + limits_.idle, idle.opened + limits_.age); }

  PoolLimits limits_;
  Ticket next_ticket_ = 1;
  std::array<std::set<Ticket>, 2> queues_;  // who waits, by errand
  std::map<Ticket, Held> held_;
  std::vector<Idle> idle_;
};

}  // namespace mailbridge::lmtp
