#include "base/networks.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>

namespace mailbridge {
namespace {

constexpr std::size_t v4_offset = 12;

bool is_v4(std::string_view text) { return text.find(':') == std::string_view::npos; }

// The number that all of `text` stands for; signs and blanks are refused.
std::optional<unsigned> number(std::string_view text, int base, std::size_t max_digits, unsigned max) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size() || text.size() > max_digits || value > max) return std::nullopt;
  return value;
}

bool parse_v4(std::string_view text, std::uint8_t* octets) {
  for (int i = 0; i < 4; ++i) {
    const std::size_t dot = text.find('.');
    if ((dot == std::string_view::npos) != (i == 3)) return false;
    const auto octet = number(text.substr(0, dot), 10, 3, 255);
    if (!octet) return false;
    octets[i] = static_cast<std::uint8_t>(*octet);
    text.remove_prefix(i == 3 ? text.size() : dot + 1);
  }
  return true;
}

// Parses the groups on one side of "::"; the last one may be an IPv4 address. The number of octets, or nothing when the text is
// malformed.
std::optional<std::size_t> parse_groups(std::string_view text, Address& octets) {
  std::size_t size = 0;
  while (!text.empty()) {
    const std::size_t colon = text.find(':');
    const std::string_view group = text.substr(0, colon);
    const bool last = colon == std::string_view::npos;
    if (last && group.find('.') != std::string_view::npos) {
      if (size + 4 > octets.size() || !parse_v4(group, octets.data() + size)) return std::nullopt;
      return size + 4;
    }
    const auto value = number(group, 16, 4, 0xffff);
    if (!value || size + 2 > octets.size()) return std::nullopt;
    octets[size++] = static_cast<std::uint8_t>(*value >> 8);
    octets[size++] = static_cast<std::uint8_t>(*value & 0xff);
    if (last) break;
    text.remove_prefix(colon + 1);
    if (text.empty()) return std::nullopt;  // a colon at the end
  }
  return size;
}

std::optional<Address> parse_address(std::string_view text) {
  Address address{};
  if (is_v4(text)) {
    address[10] = address[11] = 0xff;
    return parse_v4(text, address.data() + v4_offset) ? std::optional(address) : std::nullopt;
  }
  const std::size_t gap = text.find("::");
  const auto head = parse_groups(text.substr(0, gap), address);
  if (!head) return std::nullopt;
  if (gap == std::string_view::npos) return *head == address.size() ? std::optional(address) : std::nullopt;
  Address tail{};
  const auto tail_size = parse_groups(text.substr(gap + 2), tail);
  if (!tail_size || *head + *tail_size > address.size() - 2) return std::nullopt;
  std::copy_n(tail.begin(), *tail_size, address.end() - static_cast<std::ptrdiff_t>(*tail_size));
  return address;
}

}  // namespace

Result<Network> parse_network(std::string_view text) {
  const std::size_t slash = text.find('/');
  const bool v4 = is_v4(text);
  const auto address = parse_address(text.substr(0, slash));
  const std::size_t bits = v4 ? 32 : 128;
  const auto prefix = slash == std::string_view::npos ? std::optional(static_cast<unsigned>(bits))
                                                      : number(text.substr(slash + 1), 10, 3, static_cast<unsigned>(bits));
  if (!address || !prefix) return fail(Errc::malformed, "an address or ADDRESS/BITS is wanted, not " + std::string(text));
  Network network{*address, *address};
  for (std::size_t bit = *prefix + 128 - bits; bit < 128; ++bit) {
    const auto mask = static_cast<std::uint8_t>(0x80U >> (bit % 8));
    network.first[bit / 8] &= static_cast<std::uint8_t>(~mask);
    network.last[bit / 8] |= mask;
  }
  return network;
}

Networks::Networks(std::vector<Network> networks) {
  std::sort(networks.begin(), networks.end(), [](const Network& a, const Network& b) { return a.first < b.first; });
  for (const Network& network : networks) {
    if (!ranges_.empty() && network.first <= ranges_.back().last) {
      ranges_.back().last = std::max(ranges_.back().last, network.last);
    } else {
      ranges_.push_back(network);
    }
  }
}

bool Networks::contain(std::string_view address) const {
  if (ranges_.empty()) return false;
  const auto parsed = parse_address(address.substr(0, address.find('%')));
  if (!parsed) return false;
  const auto after =
      std::upper_bound(ranges_.begin(), ranges_.end(), *parsed, [](const Address& a, const Network& b) { return a < b.first; });
  return after != ranges_.begin() && *parsed <= std::prev(after)->last;
}

}  // namespace mailbridge
