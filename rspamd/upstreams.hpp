// Where rspamd is reached: which of several servers gets a scan's next attempt, and which are left alone for a while.
//
//   up ──► down      it cannot be connected to, does not answer /ping, or several scans in a row timed out
//   down ──► up      it answers /ping once its pause is over, or a scan that was tried there after all
//
// The highest priority that is up gets the mail, its servers in turn. A server that is down is left alone for a pause, which
// doubles with each failure since its last answer to a scan, and is then asked with /ping before it gets mail again. With none
// up, mail goes to the server whose pause ends first: nothing is given up on the strength of a guess.
//
// A connection that is lost in mid-request says nothing by itself: a mail over max_message resets it on every server. So it makes
// the server a suspect, as does a scan that timed out: it is asked with /ping, and gets mail meanwhile.
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
  int priority = 0;  // the highest is used first, as in rspamd's own lists of upstreams
  std::optional<httpcrypt::Key> key = std::nullopt;  // the server's public key: what it is asked is encrypted (HTTPCrypt)

  bool operator==(const Upstream&) const = default;
};

inline constexpr int max_priority = 1000;

// "ENDPOINT[,priority=N][,key=KEY]", see parse_http_endpoint().
Result<Upstream> parse_upstream(std::string_view text);
// What parse_upstream() reads.
std::string to_string(const Upstream& upstream);

class Upstreams {
 public:
  using Set = std::uint64_t;  // of servers: bit i stands for the i-th
  static constexpr std::size_t max_count = 64;

  // 1 s, 2 s, 4 s … 32 s, then 60 s: rspamd needs about a second to start, and a host some minutes. Each is taken times 0.8
  // to 1.2, so that the filters of many hosts do not ask at once; and still each is longer than the one before.
  static constexpr Duration first_pause = std::chrono::seconds(1);
  static constexpr Duration last_pause = std::chrono::seconds(60);
  // One mail can be slow anywhere. Four in a row without an answer in between are the server's fault even if it answers /ping:
  // rspamd's own upstreams have as many errors.
  static constexpr unsigned max_timeouts = 4;

  // At least one, at most max_count.
  explicit Upstreams(const std::vector<Upstream>& upstreams);

  std::size_t size() const { return servers_.size(); }
  bool up(std::size_t server) const { return servers_[server].up; }

  // The server for an attempt, and the next one's turn begins; none only if `without` holds all.
  std::optional<std::size_t> choose(Set without);

  // What an attempt led to. They answer whether the server has gone down or come up by it. `random` is from 0 up to 1.
  bool answered(std::size_t server, TimePoint begun);  // a whole reply to an attempt that began then
  bool not_connected(std::size_t server, TimePoint now, double random);
  bool timed_out(std::size_t server, TimePoint now, double random);  // connected, and no whole reply before the scan's deadline
  void lost(std::size_t server, TimePoint now);                      // connected, and no whole reply

  // Servers to be asked with /ping. Who takes one owes pinged(), or not_pinged() when it could not be asked for the lack of
  // something of ours. A single server is not asked: there is no choice to make.
  std::optional<TimePoint> next_probe() const;
  std::optional<std::size_t> take_probe(TimePoint now);
  bool pinged(std::size_t server, bool answers, TimePoint now, double random);
  void not_pinged(std::size_t server, TimePoint now);

 private:
  struct Server {
    int priority;
    bool up = true;
    bool probing = false;
    unsigned failures = 0;  // times gone down, and pings unanswered, since the last answer to a scan
    unsigned timeouts = 0;  // since the last answer to a scan
    TimePoint down_since{};
    std::optional<TimePoint> probe_at{};  // the end of its pause, or since when it is a suspect
  };

  bool fail(Server& server, TimePoint now, double random);

  std::vector<Server> servers_;
  std::size_t last_ = 0;  // the one chosen last
};

// One scan's way from server to server.
//
//   no connection           the next server, each at most once; when that was for the lack of something of ours, the scan that no
//                           server answers fails as overload
//   lost in mid-request     one second try, on another server if there is one, else on the same: rspamd is many processes, and
//   the
//                           next connection finds another one. Lost twice, it is rspamd's refusal: of a mail over its max_message
//   anything else           the result
class Attempts {
 public:
  // Where to try next; none when the scan has ended with result().
  std::optional<std::size_t> next(Upstreams& upstreams) const;

  void not_connected(std::size_t server, std::string what);
  // The same, for the lack of something of ours.
  void not_tried(std::size_t server, std::string what);
  // The connection stood, and this came of it; `unreachable` is what is lost in mid-request.
  void finished(std::size_t server, ScanResult result);

  // Unreachable until something else is known.
  const ScanResult& result() const { return result_; }

 private:
  ScanResult result_ = tl::unexpected(ScanFailure{ScanFailure::Kind::unreachable, "there was no time to try"});
  Upstreams::Set unconnected_ = 0;
  std::optional<std::size_t> lost_on_;
  bool ended_ = false;
  bool lacked_ = false;  // result_ says of what
};

}  // namespace mailbridge::rspamd
