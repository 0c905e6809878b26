// Look-ups and deliveries that wait for one of a few connections to the mail store. Pure: the driver in wires/mailboxes.cpp opens
// the connections, carries out what next() hands it, and keeps one timer.
//
//   add(…)               a look-up or a delivery waits
//   next(now)        ──► work: the look-ups or the delivery whose turn it is, and the connection for them
//   take_unserved()  ──► who is answered without having been served, after each next()
//   end(…)               the work is done, and its connection can serve again or not
//   next_due()       ──► when next() and take_expired() are wanted even if nothing else happens
//
// Whose turn it is, and over which connection, is decided in lmtp/pool.hpp. Look-ups wait with one ticket for all of them: a turn
// takes as many as may share a conversation, the oldest first.
//
// A look-up that is past its deadline when its turn comes is not asked. A delivery is answered as soon as no time is left
// for its dot. A delivery that was cancelled while it waited is answered when its turn comes, without being begun.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/conversation.hpp"
#include "lmtp/pool.hpp"
#include "recipients/mailbox.hpp"

namespace mailbridge::recipients {

// Who is answered without having been served.
struct Unserved {
  struct Delivery {
    DeliveryId id;
    std::size_t recipients;
  };
  std::vector<LookupId> lookups = {};
  std::vector<Delivery> deliveries = {};
  const char* why;    // one sentence
  bool ours = false;  // because this host lacked something
};

// The deliveries that are not answered yet, and which of them are cancelled. It is shared by the queues before and after a change
// of the settings.
class OpenDeliveries {
 public:
  void add(DeliveryId id) { open_.emplace(id, false); }
  void cancel(DeliveryId id) {
    if (const auto found = open_.find(id); found != open_.end()) found->second = true;
  }
  void remove(DeliveryId id) { open_.erase(id); }

  // Why the delivery must not be begun, and its dot must not leave; empty when they may.
  const char* refusal(DeliveryId id) const {
    const auto found = open_.find(id);
    return found != open_.end() && found->second ? "the delivery is no longer wanted" : "";
  }

 private:
  std::map<DeliveryId, bool> open_;
};

// `T` is a connection.
template <class T>
class StoreQueue {
 public:
  using Connection = std::unique_ptr<T>;
  using Pool = lmtp::Pool<Connection>;

  struct Turn {
    typename Pool::Ticket ticket;
    bool reused;  // a kept connection came with the work
    bool keep;    // or the connection is closed after this work
  };
  // Either look-ups or one delivery.
  struct Work {
    Turn turn;
    Connection connection;  // null: a new one is to be opened
    std::vector<StartLookup> lookups = {};
    std::optional<StartDelivery> delivery = {};
  };

  // `max_batch`: how many look-ups share a conversation. `open` must outlive this.
  StoreQueue(lmtp::PoolLimits limits, std::size_t max_batch, const OpenDeliveries& open)
      : limits_(limits), max_batch_(max_batch), open_(open), pool_(limits) {}

  void add(StartLookup lookup) {
    lookups_.push_back(std::move(lookup));
    if (!lookups_ticket_) lookups_ticket_ = pool_.wait(lmtp::Purpose::lookup);
  }
  void add(StartDelivery delivery) { deliveries_.emplace(pool_.wait(lmtp::Purpose::delivery), std::move(delivery)); }

  // To be called until there is none, after each of the other calls.
  std::optional<Work> next(TimePoint now) {
    give_up_late_deliveries(now);
    while (auto turn = pool_.next(now)) {
      try {
        if (auto work = work_for(*turn, now)) return work;
      } catch (...) {  // no memory: the engine gives up unanswered work at its deadline
        pool_.end(turn->ticket);
        throw;
      }
    }
    return std::nullopt;
  }

  std::vector<Unserved> take_unserved() { return std::exchange(unserved_, {}); }

  // The work is done. `connection` null: it cannot serve again. `fresh`: it was opened during this work, because the one that
  // came with it was dead, or there was none. Returns connections that are to be closed.
  std::vector<Connection> end(const Turn& turn, Connection connection, bool fresh, TimePoint now) {
    std::vector<Connection> closed;
    if (turn.reused && fresh) closed = pool_.take_idle();  // they have been idle for longer than the one that was dead
    if (connection) pool_.give_back(turn.ticket, std::move(connection), fresh, now);
    else pool_.end(turn.ticket);
    return closed;
  }
  // The work could not be done, and its connection is gone. May be called after end().
  void abandon(const Turn& turn) { pool_.end(turn.ticket); }

  // Nothing more is added. What waits is still served, over new connections that are not kept. Returns connections that are to be
  // closed.
  std::vector<Connection> close() {
    limits_.uses = 1;
    pool_.set_limits(limits_);
    return pool_.take_idle();
  }

  // Idle connections that are to be closed.
  std::vector<Connection> take_expired(TimePoint now) { return pool_.take_expired(now); }

  // When an idle connection expires or a delivery that waits has no time left; none when there is neither.
  std::optional<TimePoint> next_due() const {
    auto due = pool_.next_expiry();
    for (const auto& [ticket, delivery] : deliveries_) due = std::min(due.value_or(delivery.dot_by), delivery.dot_by);
    return due;
  }

  std::size_t waiting() const { return lookups_.size() + deliveries_.size(); }
  std::size_t held() const { return pool_.held(); }
  std::size_t idle() const { return pool_.idle(); }

 private:
  static constexpr const char* no_turn = "no connection was free in time";

  void give_up_late_deliveries(TimePoint now) {
    Unserved late{.why = no_turn};
    for (auto entry = deliveries_.begin(); entry != deliveries_.end();) {
      if (entry->second.dot_by > now) {
        ++entry;
        continue;
      }
      late.deliveries.push_back({entry->second.id, entry->second.transaction.recipients.size()});
      pool_.end(entry->first);
      entry = deliveries_.erase(entry);
    }
    if (!late.deliveries.empty()) unserved_.push_back(std::move(late));
  }

  // None if all work of this turn is late or cancelled; its connection is idle again.
  std::optional<Work> work_for(typename Pool::Turn& turn, TimePoint now) {
    Work work{{turn.ticket, turn.connection.has_value(), turn.keep}, std::move(turn.connection).value_or(nullptr)};
    if (auto waited = deliveries_.extract(turn.ticket)) {
      work.delivery = std::move(waited.mapped());
      const char* refusal = open_.refusal(work.delivery->id);
      if (*refusal == '\0') return work;
      unserved_.push_back({.deliveries = {{work.delivery->id, work.delivery->transaction.recipients.size()}}, .why = refusal});
    } else {
      work.lookups = take_lookups(now);
      if (!work.lookups.empty()) return work;
    }
    end(work.turn, std::move(work.connection), false, now);
    return std::nullopt;
  }

  std::vector<StartLookup> take_lookups(TimePoint now) {
    std::vector<StartLookup> batch;
    Unserved late{.why = no_turn};
    for (; !lookups_.empty() && batch.size() < max_batch_; lookups_.pop_front()) {
      if (lookups_.front().until <= now) late.lookups.push_back(lookups_.front().id);
      else batch.push_back(std::move(lookups_.front()));
    }
    lookups_ticket_.reset();
    if (!lookups_.empty()) lookups_ticket_ = pool_.wait(lmtp::Purpose::lookup);
    if (!late.lookups.empty()) unserved_.push_back(std::move(late));
    return batch;
  }

  lmtp::PoolLimits limits_;
  const std::size_t max_batch_;
  const OpenDeliveries& open_;
  Pool pool_;
  std::deque<StartLookup> lookups_;                            // those that wait
  std::optional<typename Pool::Ticket> lookups_ticket_;        // the one ticket of all look-ups that wait
  std::map<typename Pool::Ticket, StartDelivery> deliveries_;  // those that wait
  std::vector<Unserved> unserved_;
};

}  // namespace mailbridge::recipients
