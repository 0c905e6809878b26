// Which of several servers gets the mail, under any sequence of what can happen to them. The first byte says how many servers
// there are, the next ones are their priorities; then each two bytes are an event: what happens to which server, and after what
// time.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const unsigned count = input.next();
  std::vector<rspamd::Upstream> servers(count == 255 ? Upstreams::max_count : 1 + count % 8);
  for (auto& server : servers) server.priority = static_cast<int>(input.next() % 4);
  Upstreams upstreams(servers);
  std::vector<bool> probed(servers.size());
  TimePoint now = TimePoint(std::chrono::hours(1));

  while (!input.empty()) {
    const unsigned event = input.next();
    const unsigned detail = input.next();
    const std::size_t server = detail % servers.size();
    const double random = detail / 256.0;
    now += std::chrono::milliseconds(event >> 3) * (event >> 3);
    const bool was_up = upstreams.up(server);
    std::optional<bool> changed;
    switch (event % 8) {
      case 0:
      case 1:
        changed = upstreams.not_connected(server, now, random);
        require(!upstreams.up(server), "a server that cannot be connected to is down");
        break;
      case 2:
        changed = upstreams.timed_out(server, now, random);
        break;
      case 3:
        upstreams.lost(server, now);
        require(upstreams.up(server) == was_up, "a lost connection says nothing lasting");
        break;
      case 4:
        changed = upstreams.answered(server, now - std::chrono::milliseconds(detail * 10));
        require(upstreams.up(server) || !was_up, "an answer takes no server down");
        break;
      case 5:
        while (const auto probe = upstreams.take_probe(now)) {
          require(!probed[*probe], "one probe at a time");
          probed[*probe] = true;
        }
        break;
      default:
        if (!probed[server]) break;
        probed[server] = false;
        if (event % 8 == 7 && detail % 3 == 0) {
          upstreams.not_pinged(server, now);
          require(upstreams.up(server) == was_up, "a ping that could not be sent says nothing");
          break;
        }
        changed = upstreams.pinged(server, event % 8 == 6, now, random);
        require(upstreams.up(server) == (event % 8 == 6), "a ping decides");
    }
    if (changed) require(*changed == (upstreams.up(server) != was_up), "a change is told, and nothing else");

    // A scan that tries one server after the other.
    Upstreams::Set tried = 0;
    for (std::size_t n = 0; n < servers.size(); ++n) {
      const auto chosen = upstreams.choose(tried);
      require(chosen && (tried >> *chosen & 1) == 0, "there is always another one");
      for (std::size_t i = 0; i < servers.size(); ++i) {
        if ((tried >> i & 1) != 0 || !upstreams.up(i)) continue;
        require(upstreams.up(*chosen), "none that is down while another is up");
        require(servers[i].priority <= servers[*chosen].priority, "the highest priority first");
      }
      tried |= Upstreams::Set{1} << *chosen;
    }
    require(!upstreams.choose(tried), "each once");

    const auto next = upstreams.next_probe();
    require(!next || *next <= now + longest_pause, "pauses are capped");
    for (std::size_t i = 0; i < servers.size(); ++i) {
      require(upstreams.up(i) || probed[i] || next || servers.size() == 1, "who is down is asked again");
    }
  }
  return 0;
}
