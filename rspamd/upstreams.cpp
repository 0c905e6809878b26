#include "rspamd/upstreams.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/text.hpp"

namespace mailbridge::rspamd {
namespace {

constexpr std::string_view priority_name = "priority=";
constexpr std::string_view key_name = "key=";
constexpr std::size_t max_shown = 100;

constexpr Upstreams::Set bit(std::size_t server) { return Upstreams::Set{1} << server; }

Duration pause(unsigned failures, double random) {
  Duration longest = Upstreams::first_pause;
  for (unsigned i = 1; i < failures && longest < Upstreams::last_pause; ++i) longest *= 2;
  longest = std::min(longest, Upstreams::last_pause);
  return std::chrono::duration_cast<Duration>(longest * (0.8 + 0.4 * std::clamp(random, 0.0, 1.0)));
}

}  // namespace

Result<Upstream> parse_upstream(std::string_view text) {
  auto endpoint = parse_http_endpoint(text.substr(0, text.find(',')));
  if (!endpoint) return tl::unexpected(std::move(endpoint.error()));
  Upstream upstream{std::move(*endpoint)};
  bool has_priority = false;
  for (std::size_t comma = text.find(','); comma != std::string_view::npos; comma = text.find(',')) {
    text.remove_prefix(comma + 1);
    std::string_view setting = text.substr(0, text.find(','));
    if (setting.starts_with(priority_name) && !has_priority) {
      has_priority = true;
      setting.remove_prefix(priority_name.size());
      const auto [end, error] = std::from_chars(setting.data(), setting.data() + setting.size(), upstream.priority);
      if (error != std::errc{} || end != setting.data() + setting.size() || upstream.priority < 0 ||
          upstream.priority > max_priority) {
        return fail(Errc::malformed, "a priority is a number from 0 to " + std::to_string(max_priority) + ", not '" +
                                         printable(setting, max_shown) + "'");
      }
    } else if (setting.starts_with(key_name) && !upstream.key) {
      auto key = httpcrypt::parse_key(setting.substr(key_name.size()));
      if (!key) return tl::unexpected(std::move(key.error()));
      upstream.key = *key;
    } else {
      return fail(Errc::malformed,
                  "'priority=N' and 'key=KEY' can follow an endpoint, each once, not '" + printable(setting, max_shown) + "'");
    }
  }
  return upstream;
}

Result<std::vector<Upstream>> upstreams_of(const std::vector<std::string>& texts, std::string_view key) {
  if (texts.size() > Upstreams::max_count) {
    return fail(Errc::too_large, "--rspamd: " + std::to_string(Upstreams::max_count) + " servers at most");
  }
  std::vector<Upstream> upstreams;
  for (const std::string& text : texts) upstreams.push_back(parse_upstream(text).value());
  if (key.empty()) return upstreams;
  const httpcrypt::Key of_all = httpcrypt::parse_key(key).value();
  for (Upstream& upstream : upstreams) upstream.key = upstream.key.value_or(of_all);
  return upstreams;
}

std::string to_string(const Upstream& upstream) {
  const auto* tcp = std::get_if<TcpEndpoint>(&upstream.endpoint);
  std::string text = !tcp ? "" : tcp->tls ? "https://" : "http://";
  text += to_string(upstream.endpoint);
  if (upstream.priority != 0) text.append(",").append(priority_name).append(std::to_string(upstream.priority));
  if (upstream.key)
    text.append(",").append(key_name).append(
        httpcrypt::base32({reinterpret_cast<const char*>(upstream.key->data()), upstream.key->size()}));
  return text;
}

Upstreams::Upstreams(const std::vector<Upstream>& upstreams) : last_(upstreams.size() - 1) {
  servers_.reserve(upstreams.size());
  for (const Upstream& upstream : upstreams) servers_.push_back({upstream.priority});
}

std::optional<std::size_t> Upstreams::choose(Set without) {
  std::optional<std::size_t> best;
  for (std::size_t turn = 1; turn <= servers_.size(); ++turn) {
    const std::size_t i = (last_ + turn) % servers_.size();
    if ((without & bit(i)) != 0) continue;
    if (!best) {
      best = i;
      continue;
    }
    const Server& candidate = servers_[i];
    const Server& chosen = servers_[*best];
    if (candidate.up != chosen.up) {
      if (candidate.up) best = i;
    } else if (candidate.up ? candidate.priority > chosen.priority : candidate.probe_at < chosen.probe_at) {
      best = i;
    }
  }
  if (best) last_ = *best;
  return best;
}

bool Upstreams::fail(Server& server, TimePoint now, double random) {
  ++server.failures;
  server.probe_at = now + pause(server.failures, random);
  if (!server.up) return false;
  server.up = false;
  server.down_since = now;
  return true;
}

bool Upstreams::answered(std::size_t i, TimePoint begun) {
  Server& server = servers_[i];
  if (!server.up && begun < server.down_since) return false;  // it went down after this attempt began
  server.failures = 0;
  server.timeouts = 0;
  if (std::exchange(server.up, true)) return false;
  server.probe_at.reset();
  return true;
}

// A server that is down already is not down once more: scans that were under way when it went down all end like this.
bool Upstreams::not_connected(std::size_t i, TimePoint now, double random) {
  return servers_[i].up && fail(servers_[i], now, random);
}

bool Upstreams::timed_out(std::size_t i, TimePoint now, double random) {
  Server& server = servers_[i];
  if (!server.up) return false;
  if (++server.timeouts >= max_timeouts) return fail(server, now, random);
  lost(i, now);
  return false;
}

void Upstreams::lost(std::size_t i, TimePoint now) {
  Server& server = servers_[i];
  if (server.up && !server.probe_at) server.probe_at = now;
}

std::optional<TimePoint> Upstreams::next_probe() const {
  std::optional<TimePoint> next;
  if (servers_.size() == 1) return next;
  for (const Server& server : servers_) {
    if (server.probe_at && !server.probing && (!next || *server.probe_at < *next)) next = server.probe_at;
  }
  return next;
}

std::optional<std::size_t> Upstreams::take_probe(TimePoint now) {
  const auto due = next_probe();
  if (!due || *due > now) return std::nullopt;
  const auto server = std::find_if(servers_.begin(), servers_.end(),
                                   [&](const Server& candidate) { return !candidate.probing && candidate.probe_at == due; });
  server->probing = true;
  return static_cast<std::size_t>(server - servers_.begin());
}

bool Upstreams::pinged(std::size_t i, bool answers, TimePoint now, double random) {
  Server& server = servers_[i];
  server.probing = false;
  if (!answers) return fail(server, now, random);
  server.probe_at.reset();
  return !std::exchange(server.up, true);
}

void Upstreams::not_pinged(std::size_t i, TimePoint now) {
  servers_[i].probing = false;
  servers_[i].probe_at = now + first_pause;
}

std::optional<std::size_t> Attempts::next(Upstreams& upstreams) const {
  if (ended_) return std::nullopt;
  if (!lost_on_) return upstreams.choose(unconnected_);
  const auto another = upstreams.choose(unconnected_ | bit(*lost_on_));
  return another ? another : upstreams.choose(unconnected_ | ~bit(*lost_on_));
}

void Attempts::not_connected(std::size_t server, std::string what) {
  unconnected_ |= bit(server);
  if (!lacked_) result_ = tl::unexpected(ScanFailure{ScanFailure::Kind::unreachable, std::move(what)});
}

void Attempts::not_tried(std::size_t server, std::string what) {
  unconnected_ |= bit(server);
  lacked_ = true;
  result_ = tl::unexpected(ScanFailure{ScanFailure::Kind::overload, std::move(what)});
}

void Attempts::finished(std::size_t server, ScanResult result) {
  const bool lost = !result && result.error().kind == ScanFailure::Kind::unreachable;
  ended_ = !lost || lost_on_.has_value();
  if (lost && ended_) result.error() = {ScanFailure::Kind::http, "refused: connection lost twice, last: " + result.error().what};
  lost_on_ = server;
  if (ended_ || !lacked_) result_ = std::move(result);
}

}  // namespace mailbridge::rspamd
