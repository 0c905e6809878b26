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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const lmtp::PoolLimits limits{.count = size == 0 ? 1 : 1 + data[0] % 5U, .uses = 5};
  Connections pool(limits);
  TimePoint now(std::chrono::hours(1));
  std::map<Connections::Ticket, Purpose> waiting;
  std::map<Connections::Ticket, Held> held;
  std::map<int, Opened> open;
  int next_connection = 1;

  const auto close = [&](int connection) { require(open.erase(connection) == 1, "what is closed was open"); };
  const auto count_deliveries = [&] {
    return static_cast<std::size_t>(
        std::count_if(held.begin(), held.end(), [](const auto& entry) { return entry.second.purpose == Purpose::delivery; }));
  };
  const auto begin = [&](Connections::Turn turn) {
    const auto waited = waiting.find(turn.ticket);
    require(waited != waiting.end(), "whose turn it is has waited");
    for (const auto& [ticket, purpose] : waiting) {
      require(ticket >= turn.ticket || purpose != waited->second, "first come, first served");
      require(ticket >= turn.ticket || purpose == Purpose::delivery, "only a delivery is overtaken");
    }
    const bool fresh = !turn.connection;
    const int connection = turn.connection.value_or(next_connection);
    if (fresh) open[next_connection++] = {};
    require(open.contains(connection), "an idle connection is open");
    require(fresh || ++open[connection].uses < limits.uses, "no connection is used too often");
    held[turn.ticket] = {waited->second, connection, fresh, turn.keep};
    waiting.erase(waited);
    require(count_deliveries() <= std::max<std::size_t>(limits.count, 2) - 1, "one connection is left to look-ups");
  };

  for (std::size_t i = 1; i + 1 < size; i += 2) {
    const unsigned event = data[i] % 8;
    const unsigned detail = data[i + 1];
    now += std::chrono::milliseconds(data[i] >> 3) * (data[i] >> 3) * 20;
    if (event < 3) {
      const Purpose purpose = event == 0 ? Purpose::delivery : Purpose::lookup;
      waiting[pool.wait(purpose)] = purpose;
    } else if (event == 3 && !waiting.empty()) {
      const auto entry = pick(waiting, detail);
      pool.end(entry->first);
      waiting.erase(entry);
    } else if (event < 7 && !held.empty()) {
      const auto entry = pick(held, detail / 4);
      auto [ticket, holder] = *entry;
      held.erase(entry);
      if (detail % 4 == 0 && !holder.fresh) {  // it was stale
        close(std::exchange(holder.connection, next_connection));
        open[next_connection++] = {};
        holder.fresh = true;
      }
      if (detail % 4 == 1 || !holder.keep) {
        pool.end(ticket);
        close(holder.connection);
      } else {
        open[holder.connection].used = now;
        if (holder.fresh) open[holder.connection].at = now;
        pool.give_back(ticket, holder.connection, holder.fresh, now);
      }
    } else if (event == 7 && detail % 16 == 0) {
      for (const int connection : pool.take_idle()) close(connection);
    }
    if (const auto due = pool.next_expiry(); due && *due <= now) {
      const auto expired = pool.take_expired(now);
      require(!expired.empty(), "something expires when it is said to");
      for (const int connection : expired) close(connection);
    }
    require(!pool.next_expiry() || *pool.next_expiry() > now, "what has expired is gone");
    while (auto turn = pool.next(now)) begin(*turn);
    require(open.size() <= limits.count, "no more connections than there may be");
    require(pool.held() == held.size() && pool.waiting() == waiting.size(), "nobody is forgotten");
    require(pool.held() + pool.idle() == open.size(), "no connection is forgotten");
    const bool all_held = held.size() == limits.count;
    const bool deliveries_only =
        std::all_of(waiting.begin(), waiting.end(), [](const auto& entry) { return entry.second == Purpose::delivery; });
    require(waiting.empty() || all_held || (deliveries_only && count_deliveries() > 0), "nobody waits without need");
    for (const auto& [connection, opened] : open) {
      const bool is_held = std::any_of(held.begin(), held.end(),
                                       [&, which = connection](const auto& entry) { return entry.second.connection == which; });
      require(is_held || (now < opened.used + limits.idle && now < opened.at + limits.age), "no idle connection is too old");
    }
  }
  return 0;
}
