// Which of several servers gets the mail, under any sequence of what can happen to them. The first byte says how many servers
// there are, the next ones are their priorities; then each two bytes are an event: what happens to which server, and after what
// time.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "rspamd/upstreams.hpp"

namespace {

using namespace mailbridge;
using rspamd::Upstreams;

constexpr auto longest_pause = std::chrono::milliseconds(72'000);  // the last one and a fifth of it

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  unsigned next() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

class World {
 public:
  explicit World(std::vector<rspamd::Upstream> servers)
      : servers_(std::move(servers)), upstreams_(servers_), probed_(servers_.size()) {}

  void pass(Duration duration) { now_ += duration; }

  void happen(unsigned event, unsigned detail) {
    const std::size_t server = detail % servers_.size();
    const double random = detail / 256.0;
    const bool was_up = upstreams_.up(server);
    std::optional<bool> changed;
    switch (event) {
      case 0:
      case 1:
        changed = upstreams_.not_connected(server, now_, random);
        require(!upstreams_.up(server), "a server that cannot be connected to is down");
        break;
      case 2:
        changed = upstreams_.timed_out(server, now_, random);
        break;
      case 3:
        upstreams_.lost(server, now_);
        require(upstreams_.up(server) == was_up, "a lost connection says nothing lasting");
        break;
      case 4:
        changed = upstreams_.answered(server, now_ - std::chrono::milliseconds(detail * 10));
        require(upstreams_.up(server) || !was_up, "an answer takes no server down");
        break;
      case 5:
        take_probes();
        break;
      default:
        if (!probed_[server]) break;
        probed_[server] = false;
        if (event == 7 && detail % 3 == 0) {
          upstreams_.not_pinged(server, now_);
          require(upstreams_.up(server) == was_up, "a ping that could not be sent says nothing");
          break;
        }
        changed = upstreams_.pinged(server, event == 6, now_, random);
        require(upstreams_.up(server) == (event == 6), "a ping decides");
    }
    if (changed) require(*changed == (upstreams_.up(server) != was_up), "a change is told, and nothing else");
  }

  // A scan that tries one server after the other.
  void scan() {
    Upstreams::Set tried = 0;
    for (std::size_t n = 0; n < servers_.size(); ++n) {
      const auto chosen = upstreams_.choose(tried);
      require(chosen && (tried >> *chosen & 1) == 0, "there is always another one");
      for (std::size_t i = 0; i < servers_.size(); ++i) {
        if ((tried >> i & 1) != 0 || !upstreams_.up(i)) continue;
        require(upstreams_.up(*chosen), "none that is down while another is up");
        require(servers_[i].priority <= servers_[*chosen].priority, "the highest priority first");
      }
      tried |= Upstreams::Set{1} << *chosen;
    }
    require(!upstreams_.choose(tried), "each once");
  }

  void check() const {
    const auto next = upstreams_.next_probe();
    require(!next || *next <= now_ + longest_pause, "pauses are capped");
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      require(upstreams_.up(i) || probed_[i] || next || servers_.size() == 1, "who is down is asked again");
    }
  }

 private:
  void take_probes() {
    while (const auto probe = upstreams_.take_probe(now_)) {
      require(!probed_[*probe], "one probe at a time");
      probed_[*probe] = true;
    }
  }

  const std::vector<rspamd::Upstream> servers_;
  Upstreams upstreams_;
  std::vector<bool> probed_;
  TimePoint now_ = TimePoint(std::chrono::hours(1));
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const unsigned count = input.next();
  std::vector<rspamd::Upstream> servers(count == 255 ? Upstreams::max_count : 1 + count % 8);
  for (auto& server : servers) server.priority = static_cast<int>(input.next() % 4);
  World world(std::move(servers));
  while (!input.empty()) {
    const unsigned event = input.next();
    const unsigned detail = input.next();
    world.pass(std::chrono::milliseconds(event >> 3) * (event >> 3));
    world.happen(event % 8, detail);
    world.scan();
    world.check();
  }
  return 0;
}
