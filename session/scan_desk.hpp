// The scans of all messages: which wait, which are under way, and until when.
//
//   add ──► waiting ──► begin ──► under way ──► drop
//              ▲                      │
//              └────── put_back ◄─────┘
//
// Whose turn it is, is decided by ScanQueue. A scan's deadline counts from when it was wanted, so waiting is a part of it. Scans
// are named by an id that is never used twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/conversation.hpp"
#include "session/scan_queue.hpp"

namespace mailbridge::session {

class ScanDesk {
 public:
  // From now on. What waits or is under way keeps its deadline, unless the new one would be earlier.
  void use(std::size_t max_under_way, std::size_t max_waiting, Duration timeout);

  // A scan, and whose it is.
  struct Owned {
    ScanId id;
    std::uint64_t session_key;
  };
  struct Added {
    ScanId id;
    std::optional<Owned> displaced;  // the scan that had to give way, perhaps this one: the caller drops it
  };
  // A scan is wanted for the session. `client` is its address.
  Added add(std::uint64_t session_key, const std::string& client, TimePoint now);

  struct Turn {
    ScanId id;
    std::uint64_t session_key;
    TimePoint until;  // the exchange with rspamd is to end itself by then
    bool first;       // false: it was put back before
  };
  // The scan that begins now, if one may.
  std::optional<Turn> begin();

  enum class PutBack {
    refused,     // there is no other scan whose end could be waited for
    first_time,  // this scan was put back for the first time
    again,       // it was put back before
  };
  // A scan under way could not begin, for this host lacks something. It waits again, with the next turn and its old deadline.
  PutBack put_back(ScanId id, const std::string& client);

  // The scan has ended, or nobody wants it any more. True if rspamd already had it: the caller must send CancelScan unless the
  // scan has ended by itself.
  bool drop(ScanId id);

  // The session of a scan that is under way; none when it is not.
  std::optional<std::uint64_t> under_way(ScanId id) const;

  // A scan that has waited until its deadline; and one under way without a report until its deadline and the grace are over. The
  // caller drops it.
  std::optional<Owned> late_waiting(TimePoint now) const;
  std::optional<Owned> late_under_way(TimePoint now) const;
  std::optional<TimePoint> next_deadline() const;

 private:
  struct Scan {
    std::uint64_t session_key;
    TimePoint wanted;
    TimePoint until;
    bool begun = false;
    bool put_back = false;
  };

  Duration timeout_{};
  // No scan has a later deadline than one that was wanted after it, so the first of each map is due first.
  std::map<ScanId, Scan> waiting_;
  std::map<ScanId, Scan> under_way_;  // `until` includes the grace
  ScanQueue queue_{0, 0};
  ScanId next_ = 1;
};

}  // namespace mailbridge::session
