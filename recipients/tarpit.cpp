#include "recipients/tarpit.hpp"

#include <algorithm>
#include <string>

#include "base/networks.hpp"

namespace mailbridge::recipients {
namespace {

constexpr std::string_view v4_prefix("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
constexpr std::size_t network_size = 8;  // bytes of an IPv6 address: a client that has one address has the whole /64

std::string key_of(std::string_view address) {
  const auto parsed = parse_network(address.substr(0, address.find('%')));
  if (!parsed) return std::string(address);
  std::string key(parsed->first.begin(), parsed->first.end());
  if (!key.starts_with(v4_prefix)) key.resize(network_size);
  return key;
}

}  // namespace

void Tarpit::forget(Client& client, TimePoint now) {
  const auto forgotten = std::max<Duration::rep>(0, (now - client.counted) / forgotten_in);
  client.count -= std::min(client.count, static_cast<std::size_t>(forgotten));
  client.counted += forgotten * forgotten_in;
}

bool Tarpit::count(std::string_view address, TimePoint now) {
  if (limit_ == 0) return false;
  const std::string key = key_of(address);
  Client* client = clients_.find(key);
  if (!client) {
    clients_.put(key, {1, now});
    return false;
  }
  forget(*client, now);
  client->count = std::min(client->count + 1, limit_ + most_beyond);
  return client->count == limit_ + 1;
}

Tarpit::Turn Tarpit::take_turn(std::string_view address, TimePoint now) {
  Client* client = limit_ == 0 ? nullptr : clients_.find(key_of(address));
  if (!client) return {now};
  forget(*client, now);
  if (client->count <= limit_) return {now};
  const TimePoint latest = now + longest;
  const auto take = [&](TimePoint& last, Duration distance) {
    const TimePoint next = std::max(now, last) + distance;
    if (next <= latest) last = next;
    return next <= latest;
  };
  if (take(client->last_turn, apart)) return {client->last_turn};
  return {latest, take(client->last_late, late_apart) ? Turn::Answer::when_it_exists : Turn::Answer::none};
}

}  // namespace mailbridge::recipients
