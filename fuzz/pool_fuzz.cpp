// lmtp::Pool under any sequence of waiting, serving and closing. The first byte is the number of connections. Then each two bytes
// are one event: what happens, after how much time, and to whom.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>

#include "lmtp/pool.hpp"

namespace {

using namespace mailbridge;
using lmtp::Purpose;
using Connections = lmtp::Pool<int>;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

struct Opened {
  TimePoint at{};    // given back for the first time
  TimePoint used{};  // and for the last
  unsigned uses = 0;
};

struct Held {
  Purpose purpose;
  int connection;
  bool fresh;
  bool keep;
};

template <class Map>
auto pick(Map& map, unsigned which) {
  return std::next(map.begin(), static_cast<std::ptrdiff_t>(which % map.size()));
}

// Those who wait and who hold, and what must hold for them.
class Users {
 public:
  explicit Users(std::size_t count) : limits_{.count = count, .uses = 5}, pool_(limits_) {}

  void step(unsigned event, unsigned detail, Duration time) {
    now_ += time;
    if (event < 3) {
      const Purpose purpose = event == 0 ? Purpose::delivery : Purpose::lookup;
      waiting_[pool_.wait(purpose)] = purpose;
    } else if (event == 3 && !waiting_.empty()) {
      const auto entry = pick(waiting_, detail);
      pool_.end(entry->first);
      waiting_.erase(entry);
    } else if (event < 7 && !held_.empty()) {
      end(detail);
    } else if (event == 7 && detail % 16 == 0) {
      for (const int connection : pool_.take_idle()) close(connection);
    }
    if (const auto due = pool_.next_expiry(); due && *due <= now_) {
      const auto expired = pool_.take_expired(now_);
      require(!expired.empty(), "something expires when it is said to");
      for (const int connection : expired) close(connection);
    }
    require(!pool_.next_expiry() || *pool_.next_expiry() > now_, "what has expired is gone");
    while (auto turn = pool_.next(now_)) begin(*turn);
    check();
  }

 private:
  void begin(const Connections::Turn& turn) {
    const auto waited = waiting_.find(turn.ticket);
    require(waited != waiting_.end(), "whose turn it is has waited");
    for (const auto& [ticket, purpose] : waiting_) {
      require(ticket >= turn.ticket || purpose != waited->second, "first come, first served");
      require(ticket >= turn.ticket || purpose == Purpose::delivery, "only a delivery is overtaken");
    }
    const bool fresh = !turn.connection;
    const int connection = fresh ? open() : *turn.connection;
    require(open_.contains(connection), "an idle connection is open");
    require(fresh || ++open_[connection].uses < limits_.uses, "no connection is used too often");
    held_[turn.ticket] = {waited->second, connection, fresh, turn.keep};
    waiting_.erase(waited);
    require(deliveries() <= std::max<std::size_t>(limits_.count, 2) - 1, "one connection is left to look-ups");
  }

  void end(unsigned detail) {
    const auto entry = pick(held_, detail / 4);
    auto [ticket, holder] = *entry;
    held_.erase(entry);
    if (detail % 4 == 0 && !holder.fresh) {  // it was stale
      close(holder.connection);
      holder.connection = open();
      holder.fresh = true;
    }
    if (detail % 4 == 1 || !holder.keep) {
      pool_.end(ticket);
      close(holder.connection);
      return;
    }
    open_[holder.connection].used = now_;
    if (holder.fresh) open_[holder.connection].at = now_;
    pool_.give_back(ticket, holder.connection, holder.fresh, now_);
  }

  void check() const {
    require(open_.size() <= limits_.count, "no more connections than there may be");
    require(pool_.held() == held_.size() && pool_.waiting() == waiting_.size(), "nobody is forgotten");
    require(pool_.held() + pool_.idle() == open_.size(), "no connection is forgotten");
    const bool all_held = held_.size() == limits_.count;
    const bool only_deliveries =
        std::all_of(waiting_.begin(), waiting_.end(), [](const auto& entry) { return entry.second == Purpose::delivery; });
    require(waiting_.empty() || all_held || (only_deliveries && deliveries() > 0), "nobody waits without need");
    for (const auto& [connection, opened] : open_) {
      const bool is_held = std::any_of(held_.begin(), held_.end(),
                                       [which = connection](const auto& entry) { return entry.second.connection == which; });
      require(is_held || (now_ < opened.used + limits_.idle && now_ < opened.at + limits_.age), "no idle connection is too old");
    }
  }

  std::size_t deliveries() const {
    return static_cast<std::size_t>(
        std::count_if(held_.begin(), held_.end(), [](const auto& entry) { return entry.second.purpose == Purpose::delivery; }));
  }
  int open() {
    open_[next_connection_] = {};
    return next_connection_++;
  }
  void close(int connection) { require(open_.erase(connection) == 1, "what is closed was open"); }

  const lmtp::PoolLimits limits_;
  Connections pool_;
  TimePoint now_{std::chrono::hours(1)};
  std::map<Connections::Ticket, Purpose> waiting_;
  std::map<Connections::Ticket, Held> held_;
  std::map<int, Opened> open_;
  int next_connection_ = 1;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Users users(size == 0 ? 1 : 1 + data[0] % 5U);
  for (std::size_t i = 1; i + 1 < size; i += 2) {
    users.step(data[i] % 8, data[i + 1], std::chrono::milliseconds(data[i] >> 3) * (data[i] >> 3) * 20);
  }
  return 0;
}
