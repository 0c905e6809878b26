// lmtp::Attempts over several servers, in one transaction after the other, under any sequence of events. The first byte is the
// number of servers. Then each two bytes are one event: what becomes of the attempt that is under way, and after how much time.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "lmtp/servers.hpp"

namespace {

using namespace mailbridge;
using lmtp::Attempts;
using lmtp::Outcome;
using lmtp::Stage;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

constexpr Duration connect_timeout = std::chrono::seconds(5);
constexpr std::size_t recipients = 2;

// What the bits of a byte make of one recipient.
Outcome outcome(unsigned bits) {
  const auto stage = static_cast<Stage>(bits % lmtp::stages);
  Outcome outcome{stage, std::nullopt, "why"};
  if ((bits & 16) != 0) {
    constexpr int codes[] = {250, 421, 451, 550};
    outcome.reply = lmtp::Reply{codes[bits / 32 % 4], "", {"words"}};
    outcome.failure.clear();
  }
  outcome.unknown = stage == Stage::dot && !outcome.reply && (bits & 32) != 0;
  return outcome;
}

// One transaction, and what must hold in it whatever happens.
class Transaction {
 public:
  Transaction(lmtp::Servers& servers, std::size_t count, TimePoint now, std::optional<std::size_t> kept, Duration time)
      : count_(count),
        dot_by_(now + time),
        kept_(kept),
        attempts_(servers, recipients, {.dot_by = dot_by_, .reply_by = dot_by_ + time}, connect_timeout, kept) {}

  // True when the transaction is over.
  bool step(unsigned event, unsigned detail, TimePoint now) {
    const Attempts::Next next = attempts_.next(now);
    require(attempts_.next(now).index() == next.index(), "asking twice answers the same");
    if (std::holds_alternative<Done>(next)) return finish();
    require(!final_, "nothing is tried after a verdict or the dot");
    if (std::holds_alternative<Attempts::UseKept>(next)) {
      require(kept_ && connected_to_.empty(), "a kept connection is used first, and once");
      if (event % 4 == 0) attempts_.kept_is_gone();
      else end(event % 4 == 1, *kept_, detail, now);
      kept_.reset();
      return false;
    }
    const Attempts::Connect connect = std::get<Attempts::Connect>(next);
    require(connect.server < count_, "a server that there is");
    require(connect.until <= began(connect.server, now) + connect_timeout, "no connect takes longer than its timeout");
    const lmtp::Patience patience = attempts_.patience();
    require(patience.banner <= lmtp::Patience().banner && patience.dot_by == dot_by_, "no more time than the transaction has");
    if (event % 2 == 0) {
      const bool ours = event % 4 == 0;
      lacked_ = lacked_ || ours;
      const auto change = attempts_.not_connected("why", ours, now);
      require(!change || (!ours && change->server == connect.server && !change->why.empty()), "a failure takes a server down");
    } else {
      attempts_.connected(now);
      end(false, connect.server, detail, now);
    }
    under_way_.reset();
    return false;
  }

 private:
  // When the attempt at this server began.
  TimePoint began(std::size_t server, TimePoint now) {
    if (!under_way_) require(connected_to_.insert(server).second, "each server once");
    return under_way_.emplace(under_way_.value_or(now));
  }

  void end(bool stale, std::size_t server, unsigned detail, TimePoint now) {
    Attempts::Ended ended{stale, {outcome(detail), outcome(detail * 7 + 1)}, {}};
    final_ = !stale && !std::all_of(ended.outcomes.begin(), ended.outcomes.end(),
                                    [](const Outcome& one) { return one.may_try_elsewhere(); });
    const auto change = attempts_.ended(std::move(ended), now);
    require(!change || (change->server == server && !stale), "a stale connection says nothing about its server");
  }

  bool finish() const {
    const Attempts::Result& result = attempts_.result();
    require(result.outcomes.size() == recipients, "each recipient has an outcome");
    require(result.server < count_, "by a server that there is");
    require(final_ || result.fresh, "without a verdict on the kept connection, others are tried");
    if (!final_ && lacked_) require(result.outcomes.front().ours, "the lack of something of ours is the reason");
    return true;
  }

  const std::size_t count_;
  const TimePoint dot_by_;
  std::optional<std::size_t> kept_;
  Attempts attempts_;
  std::set<std::size_t> connected_to_;  // or tried to
  std::optional<TimePoint> under_way_;  // when the attempt began
  bool final_ = false;
  bool lacked_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::size_t count = size == 0 ? 1 : 1 + data[0] % 4U;
  lmtp::Servers servers(count);
  TimePoint now(std::chrono::hours(1));
  std::optional<Transaction> transaction;
  for (std::size_t i = 1; i + 1 < size; i += 2) {
    const unsigned event = data[i] % 8;
    const unsigned detail = data[i + 1];
    now += std::chrono::milliseconds(data[i] >> 3) * (data[i] >> 3) * 10;
    if (!transaction) {
      const auto kept = event < 4 ? std::optional<std::size_t>(detail % count) : std::nullopt;
      transaction.emplace(servers, count, now, kept, std::chrono::seconds(detail));
    } else if (transaction->step(event, detail, now)) {
      transaction.reset();
    }
    const std::vector<std::size_t> order = servers.order(now);
    require(std::set<std::size_t>(order.begin(), order.end()).size() == count, "no server is left out");
  }
  return 0;
}
