#include "session/scan_desk.hpp"

#include <algorithm>
#include <utility>

namespace mailbridge::session {

void ScanDesk::use(std::size_t max_under_way, std::size_t max_waiting, Duration timeout) {
  queue_.set_limits(max_under_way, max_waiting);
  timeout_ = timeout;
  for (auto& [id, scan] : waiting_) scan.until = std::min(scan.until, scan.wanted + timeout);
  for (auto& [id, scan] : under_way_) scan.until = std::min(scan.until, scan.wanted + timeout + grace);
}

ScanDesk::Added ScanDesk::add(std::uint64_t session_key, const std::string& client, TimePoint now) {
  const ScanId id = next_++;
  const auto added = waiting_.emplace(id, Scan{session_key, now, now + timeout_}).first;
  try {
    const auto displaced = queue_.add(id, client);
    if (!displaced) return {id, std::nullopt};
    return {id, Owned{*displaced, waiting_.at(*displaced).session_key}};
  } catch (...) {
    waiting_.erase(added);
    throw;
  }
}

std::optional<ScanDesk::Turn> ScanDesk::begin() {
  const auto id = queue_.next();
  if (!id) return std::nullopt;
  under_way_.insert(waiting_.extract(*id));
  Scan& scan = under_way_.at(*id);
  const TimePoint until = scan.until;
  scan.until += grace;
  return Turn{*id, scan.session_key, until, !std::exchange(scan.begun, true)};
}

ScanDesk::PutBack ScanDesk::put_back(ScanId id, const std::string& client) {
  if (under_way_.size() < 2) return PutBack::refused;
  queue_.put_back(id, client);
  Scan& scan = under_way_.at(id);
  scan.until -= grace;
  const bool before = std::exchange(scan.put_back, true);
  waiting_.insert(under_way_.extract(id));
  return before ? PutBack::again : PutBack::first_time;
}

bool ScanDesk::drop(ScanId id) {
  if (waiting_.erase(id) > 0) queue_.remove(id);
  if (under_way_.erase(id) == 0) return false;
  queue_.ended();
  return true;
}

std::optional<std::uint64_t> ScanDesk::under_way(ScanId id) const {
  const auto scan = under_way_.find(id);
  return scan == under_way_.end() ? std::nullopt : std::optional(scan->second.session_key);
}

std::optional<ScanDesk::Owned> ScanDesk::late_waiting(TimePoint now) const {
  if (waiting_.empty() || waiting_.begin()->second.until > now) return std::nullopt;
  return Owned{waiting_.begin()->first, waiting_.begin()->second.session_key};
}

std::optional<ScanDesk::Owned> ScanDesk::late_under_way(TimePoint now) const {
  if (under_way_.empty() || under_way_.begin()->second.until > now) return std::nullopt;
  return Owned{under_way_.begin()->first, under_way_.begin()->second.session_key};
}

std::optional<TimePoint> ScanDesk::next_deadline() const {
  std::optional<TimePoint> next;
  for (const auto* scans : {&waiting_, &under_way_}) {
    if (!scans->empty()) next = std::min(next.value_or(TimePoint::max()), scans->begin()->second.until);
  }
  return next;
}

}  // namespace mailbridge::session
