// Which scan may begin. At most `max_running` are under way at once. Waiting scans are kept by client: the clients take turns,
// each with its oldest scan first, so a client with a thousand sessions waits for itself. When too many wait, the newest scan of
// the client with the most is dropped.
//
// If this host lacked something for a scan, the scan is put back, and the limit falls to the number that is under way. It grows
// by one again whenever as many scans have ended.
//
// After ended(), put_back() and remove(): call next() until it returns none.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "rspamd/scan.hpp"

namespace mailbridge::session {

using rspamd::ScanId;

class ScanQueue {
 public:
  ScanQueue(std::size_t max_running, std::size_t max_waiting) { set_limits(max_running, max_waiting); }

  // What is under way or waits already stays.
  void set_limits(std::size_t max_running, std::size_t max_waiting) {
    max_running_ = running_at_once_ = max_running;
    max_waiting_ = max_waiting;
  }

  std::size_t running() const { return running_; }
  std::size_t waiting() const { return waiting_; }

  // Queues a scan. Returns the one that is dropped for it, perhaps itself. Ids must ascend.
  std::optional<ScanId> add(ScanId id, const std::string& client) {
    const bool full = running_ >= running_at_once_ && waiting_ >= max_waiting_;
    const auto mine = std::find_if(lines_.begin(), lines_.end(), [&](const ClientQueue& line) { return line.client == client; });
    const auto longest = std::max_element(
        lines_.begin(), lines_.end(), [](const ClientQueue& a, const ClientQueue& b) { return a.scans.size() < b.scans.size(); });
    const std::size_t length = mine == lines_.end() ? 0 : mine->scans.size();
    if (full && (longest == lines_.end() || longest->scans.size() <= length + 1)) return id;
    if (mine == lines_.end()) lines_.push_back({client, {id}});
    else mine->scans.insert(id);
    ++waiting_;
    if (!full) return std::nullopt;
    const ScanId newest = *longest->scans.rbegin();
    longest->scans.erase(newest);
    --waiting_;
    return newest;
  }

  // The scan that begins now.
  std::optional<ScanId> next() {
    if (running_ >= running_at_once_ || lines_.empty()) return std::nullopt;
    const auto line = lines_.begin();
    const ScanId id = *line->scans.begin();
    lines_.splice(lines_.end(), lines_, line);
    take_from(line, id);
    ++running_;
    return id;
  }

  // One that ran has ended.
  void ended() {
    --running_;
    if (running_at_once_ >= max_running_ || ++ended_ < running_at_once_) return;
    ++running_at_once_;
    ended_ = 0;
  }

  // One that ran could not begin after all. It waits again, and has the next turn.
  void put_back(ScanId id, const std::string& client) {
    const auto mine = std::find_if(lines_.begin(), lines_.end(), [&](const ClientQueue& line) { return line.client == client; });
    if (mine == lines_.end()) lines_.push_front({client, {id}});
    else mine->scans.insert(id), lines_.splice(lines_.begin(), lines_, mine);
    ++waiting_;
    --running_;
    running_at_once_ = std::max<std::size_t>(running_, 1);
    ended_ = 0;
  }

  // Removes a scan that waits; of another one nothing happens.
  void remove(ScanId id) {
    const auto line =
        std::find_if(lines_.begin(), lines_.end(), [&](const ClientQueue& each) { return each.scans.contains(id); });
    if (line != lines_.end()) take_from(line, id);
  }

 private:
  struct ClientQueue {
    std::string client;
    std::set<ScanId> scans;  // never empty
  };
  void take_from(std::list<ClientQueue>::iterator line, ScanId id) {
    line->scans.erase(id);
    if (line->scans.empty()) lines_.erase(line);
    --waiting_;
  }

  std::size_t max_running_ = 0;
  std::size_t max_waiting_ = 0;
  std::size_t running_at_once_ = 0;  // the limit: max_running_, or less for the time being
  std::size_t ended_ = 0;            // since the limit last changed
  std::size_t running_ = 0;
  std::size_t waiting_ = 0;
  std::list<ClientQueue> lines_;  // the next turn is the first one's
};

}  // namespace mailbridge::session
