// recipients::StoreQueue under any sequence of look-ups, deliveries and ends. The first byte is the number of connections and the
// size of a batch. Then each two bytes are one event: what happens, after how much time, and to whom.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "recipients/store_queue.hpp"

namespace {

using namespace mailbridge;
using Queue = recipients::StoreQueue<int>;
using recipients::OpenDeliveries;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

// A driver that carries out nothing, and what must hold for it.
class Driver {
 public:
  explicit Driver(unsigned shape)
      : count_(1 + shape % 4), batch_(1 + shape / 4 % 4), queue_({.count = count_, .uses = 4}, batch_, open_) {}

  void step(unsigned event, unsigned detail, Duration time) {
    now_ += time;
    if (event < 2) {
      lookups_[next_id_] = now_ + std::chrono::milliseconds(detail * 40);
      queue_.add(recipients::StartLookup{next_id_, "a@x", 0, lookups_[next_id_]});
      ++next_id_;
    } else if (event < 4) {
      open_.add(next_id_);
      deliveries_[next_id_] = now_ + std::chrono::milliseconds(detail * 80);
      queue_.add(recipients::StartDelivery{next_id_, {}, deliveries_[next_id_], deliveries_[next_id_]});
      ++next_id_;
    } else if (event == 4) {
      open_.cancel(1 + detail % next_id_);
    } else if (!held_.empty()) {
      end(detail);
    }
    if (const auto due = queue_.next_due(); due && *due <= now_) close(queue_.take_expired(now_));
    while (auto work = queue_.next(now_)) begin(std::move(*work));
    take_unserved();
    require(held_.size() + queue_.idle() == connections_.size(), "no connection is forgotten");
    require(connections_.size() <= count_, "no more connections than there may be");
    require(queue_.held() == held_.size(), "no work is forgotten");
    require(queue_.waiting() == lookups_.size() + deliveries_.size(), "nobody who waits is forgotten");
    require(!queue_.next_due() || *queue_.next_due() > now_, "what is due is done");
    const bool only_deliveries = lookups_.empty() && !held_.empty();  // which leave a connection to look-ups
    require(queue_.waiting() == 0 || held_.size() == count_ || only_deliveries, "nobody waits without need");
  }

 private:
  void begin(Queue::Work work) {
    require(work.lookups.empty() == work.delivery.has_value(), "either look-ups or a delivery");
    require(work.lookups.size() <= batch_, "no more look-ups than may share a conversation");
    for (const recipients::StartLookup& lookup : work.lookups) {
      require(lookup.until > now_, "who is late is not asked about");
      require(lookups_.erase(lookup.id) == 1, "each look-up once");
    }
    if (work.delivery) {
      require(work.delivery->dot_by > now_, "there is time for the dot");
      require(*open_.refusal(work.delivery->id) == '\0', "what is cancelled is not begun");
      require(deliveries_.erase(work.delivery->id) == 1, "each delivery once");
    }
    if (!work.connection) work.connection = std::make_unique<int>(open_connection());
    else require(work.turn.reused && connections_.contains(*work.connection), "a kept connection is open");
    held_.push_back(std::move(work));
  }

  void end(unsigned detail) {
    const auto which = held_.begin() + static_cast<std::ptrdiff_t>(detail / 4 % held_.size());
    Queue::Work work = std::move(*which);
    held_.erase(which);
    if (work.delivery) open_.remove(work.delivery->id);
    bool fresh = !work.turn.reused;
    if (detail % 4 == 0 && !fresh) {  // it was stale
      connections_.erase(*work.connection);
      *work.connection = open_connection();
      fresh = true;
    }
    const bool kept = detail % 4 != 1 && work.turn.keep;
    if (!kept) connections_.erase(*work.connection);
    if (detail % 8 == 1) queue_.abandon(work.turn);
    else close(queue_.end(work.turn, kept ? std::move(work.connection) : nullptr, fresh, now_));
  }

  void take_unserved() {
    for (const recipients::Unserved& unserved : queue_.take_unserved()) {
      for (const recipients::LookupId id : unserved.lookups) {
        require(lookups_.contains(id) && lookups_[id] <= now_, "only a look-up that is late is not asked");
        lookups_.erase(id);
      }
      for (const recipients::Unserved::Delivery& delivery : unserved.deliveries) {
        const bool late = deliveries_.contains(delivery.id) && deliveries_[delivery.id] <= now_;
        require(late || *open_.refusal(delivery.id) != '\0', "only a delivery that is late or cancelled is not begun");
        require(deliveries_.erase(delivery.id) == 1, "each is answered once");
        open_.remove(delivery.id);
      }
    }
  }

  int open_connection() {
    connections_.insert(next_connection_);
    return next_connection_++;
  }
  void close(const std::vector<std::unique_ptr<int>>& connections) {
    for (const auto& connection : connections) require(connections_.erase(*connection) == 1, "what is closed was open");
  }

  const std::size_t count_;
  const std::size_t batch_;
  OpenDeliveries open_;
  Queue queue_;
  TimePoint now_{std::chrono::hours(1)};
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, TimePoint> lookups_;     // that wait, and until when
  std::map<std::uint64_t, TimePoint> deliveries_;  // likewise
  std::vector<Queue::Work> held_;
  std::set<int> connections_;
  int next_connection_ = 1;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Driver driver(size == 0 ? 0 : data[0]);
  for (std::size_t i = 1; i + 1 < size; i += 2) {
    driver.step(data[i] % 8, data[i + 1], std::chrono::milliseconds(data[i] >> 3) * (data[i] >> 3) * 20);
  }
  return 0;
}
