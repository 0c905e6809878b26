// The attempts of one scan, with the clock given: which server is connected to and until when, and what each attempt tells about
// its server. Which server that is, and whether another attempt follows, is decided in rspamd/upstreams.hpp.
//
//   next()          ──► a server, or none: the scan has ended with result()
//   begin(now)      ──► the time by which it must be connected
//   not_connected() or finished()      what became of the attempt; next() again
//
// An attempt that is not connected says that the server is down, unless this host was short of something, or the scan's own
// deadline came before the connect timeout was over. Then the scan has ended: it timed out.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/conversation.hpp"
#include "rspamd/upstreams.hpp"
#include "rspamd/verdict.hpp"

namespace mailbridge::rspamd {

class ScanAttempts {
 public:
  // Why there is no connection.
  struct NoConnection {
    bool timed_out;    // there was none by the time that begin() gave
    bool ours;         // for the lack of something of ours: descriptors, memory, ports
    std::string what;  // in the system's words
  };
  // A server that was up is down from now on, or the other way round.
  struct Change {
    bool up;
    std::string why = {};  // empty when it is up
  };

  struct Limits {
    TimePoint until;           // the scan's deadline
    Duration connect_timeout;  // for each attempt
    // The deadline comes before there is a connection. True: the server is unreachable. False: the scan timed out.
    bool late_is_unreachable = false;
  };

  // `upstreams` is shared by all scans, and must outlive this.
  ScanAttempts(Upstreams& upstreams, const Limits& limits) : upstreams_(upstreams), limits_(limits) {}

  std::optional<std::size_t> next();
  TimePoint begin(TimePoint now);

  // `random` is from 0 up to 1, see Upstreams.
  std::optional<Change> not_connected(const NoConnection& failure, TimePoint now, double random);
  std::optional<Change> finished(ScanResult result, TimePoint now, double random);

  // What a recording holds of an attempt that is not connected (docs/transcripts.md): "refused Connection refused",
  // "lacking Too many open files", or "timed_out" at the scan's own deadline.
  std::string recorded(const NoConnection& failure) const;

  const ScanResult& result() const { return attempts_.result(); }
  std::optional<std::size_t> tried() const { return tried_; }          // the server of the last attempt
  std::optional<std::size_t> connected() const { return connected_; }  // the last server that there was a connection to

 private:
  bool is_late(const NoConnection& failure) const {
    return failure.timed_out && connect_by_ == limits_.until && !limits_.late_is_unreachable;
  }
  std::optional<Change> report(const ScanResult& result, TimePoint now, double random);

  Upstreams& upstreams_;
  const Limits limits_;
  Attempts attempts_;
  std::optional<std::size_t> tried_;
  std::optional<std::size_t> connected_;
  TimePoint begun_{};  // the last attempt
  TimePoint connect_by_{};
};

}  // namespace mailbridge::rspamd
