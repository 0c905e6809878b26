// Several rspamd servers: which one gets a scan's next attempt, which ones are down, and when those are probed with /ping. Pure:
// the clock and chance are arguments.
//
//   up ──► down      it cannot be connected to, it does not answer /ping, or several scans in a row timed out
//   down ──► up      it answers /ping when its pause is over, or it answers a scan
//
// Scans go to the servers of the highest priority that has one up, in turn. A server that is down gets no scans for a pause. Then
// it is probed, and gets scans again once it answers. The pause doubles with each failure since the last answer to a scan. When
// all servers are down, a scan goes to the one whose pause ends first: it may be back.
//
// A connection that is lost within a request proves nothing: rspamd resets it for a mail over its max_message, on every server.
// So the server stays up, and is probed at once. The same goes for a scan that timed out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/conversation.hpp"
#include "base/endpoint.hpp"
#include "base/result.hpp"
#include "rspamd/httpcrypt.hpp"
#include "rspamd/verdict.hpp"

namespace mailbridge::rspamd {

// One configured server.
struct Upstream {
  Endpoint endpoint;
  int priority = 0;                                  // the highest is used first, as in rspamd's own lists of upstreams
  std::optional<httpcrypt::Key> key = std::nullopt;  // the server's public key: what it is asked is encrypted (HTTPCrypt)

  bool operator==(const Upstream&) const = default;
};

inline constexpr int max_priority = 1000;

// Reads "ENDPOINT[,priority=N][,key=KEY]"; for ENDPOINT see parse_http_endpoint().
Result<Upstream> parse_upstream(std::string_view text);
// Several of them, each of which parse_upstream() reads. `key`, unless it is empty, is that of servers without a key of their own;
// parse_key() reads it. The fault is that they are more than Upstreams::max_count.
Result<std::vector<Upstream>> upstreams_of(const std::vector<std::string>& texts, std::string_view key);
// Writes what parse_upstream() reads.
std::string to_string(const Upstream& upstream);

class Upstreams {
 public:
  using Set = std::uint64_t;  // a set of servers: bit i stands for the i-th
  static constexpr std::size_t max_count = 64;

  // Pauses last 1 s, 2 s, 4 s … 32 s, then 60 s: rspamd starts within about a second, and a host within minutes. Each is
  // multiplied by 0.8 to 1.2, so that the filters of many hosts do not ask at the same moment. Even so each is longer than the
  // one before.
  static constexpr Duration first_pause = std::chrono::seconds(1);
  static constexpr Duration last_pause = std::chrono::seconds(60);
  // Scans that time out in a row, before the server is down even if it answers /ping. A single mail can be slow on any server.
  // rspamd's own lists of upstreams allow as many errors.
  static constexpr unsigned max_timeouts = 4;

  // At least one, at most max_count.
  explicit Upstreams(const std::vector<Upstream>& upstreams);

  std::size_t size() const { return servers_.size(); }
  bool up(std::size_t server) const { return servers_[server].up; }

  // The server for an attempt; none only if `without` holds all servers. The next call prefers the server after this one.
  std::optional<std::size_t> choose(Set without);

  // What became of an attempt. The result is true if the server was down and is up now, or the other way round. `random` is from
  // 0 up to 1, and varies the pause.
  bool answered(std::size_t server, TimePoint begun);  // the attempt that began then had a whole reply
  bool not_connected(std::size_t server, TimePoint now, double random);
  bool timed_out(std::size_t server, TimePoint now, double random);  // connected, but no whole reply by the scan's deadline
  void lost(std::size_t server, TimePoint now);                      // connected, but the connection ended before a whole reply

  // Probes: at next_probe(), take_probe() gives a server until there is none. For each the caller asks /ping, and reports
  // pinged(), or not_pinged() when this host was short of something. A single server is never probed: there is no choice to make.
  std::optional<TimePoint> next_probe() const;
  std::optional<std::size_t> take_probe(TimePoint now);
  bool pinged(std::size_t server, bool answers, TimePoint now, double random);  // true: as above
  void not_pinged(std::size_t server, TimePoint now);

 private:
  struct Server {
    int priority;
    bool up = true;
    bool probing = false;   // a probe was taken and not reported
    unsigned failures = 0;  // how often it went down or did not answer /ping, since the last answer to a scan
    unsigned timeouts = 0;  // since the last answer to a scan
    TimePoint down_since{};
    std::optional<TimePoint> probe_at{};  // when a probe is due; none: none is needed
  };

  bool fail(Server& server, TimePoint now, double random);

  std::vector<Server> servers_;
  std::size_t last_ = 0;  // the one chosen last
};

// What one scan tries next.
//
//   no connection           The next server, each at most once. When one of them was not tried because this host was short of
//                           something, and no other answers, the scan fails as overload.
//   connection lost         One second attempt, on another server if there is one, else on the same one: rspamd has many
//   within the request      processes, and the next connection finds another. Lost twice, rspamd has refused the mail: it is over
//                           max_message.
//   anything else           The result.
class Attempts {
 public:
  // The server to try next; none when the scan has ended with result().
  std::optional<std::size_t> next(Upstreams& upstreams) const;

  // There was no connection. `what` is one sentence.
  void not_connected(std::size_t server, std::string what);
  // There was no connection because this host was short of something.
  void not_tried(std::size_t server, std::string what);
  // There was a connection. ScanFailure::Kind::unreachable means that it was lost within the request.
  void finished(std::size_t server, ScanResult result);

  // A failure of Kind::unreachable until something else is known.
  const ScanResult& result() const { return result_; }

 private:
  ScanResult result_ = tl::unexpected(ScanFailure{ScanFailure::Kind::unreachable, "there was no time to try"});
  Upstreams::Set unconnected_ = 0;      // the servers that are not tried again
  std::optional<std::size_t> lost_on_;  // the server that lost the connection
  bool ended_ = false;
  bool lacked_ = false;  // this host was short of something; result_ says of what
};

}  // namespace mailbridge::rspamd
