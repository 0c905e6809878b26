// Sets of IPv4 and IPv6 networks (RFC 4632 3.1, RFC 4291 2.2 and 2.3). An address is looked up by binary search.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace mailbridge {

// Big-endian. An IPv4 address is stored as the IPv6 address that maps it (RFC 4291 2.5.5.2), so both kinds are compared alike.
using Address = std::array<std::uint8_t, 16>;

struct Network {
  Address first, last;
  bool operator==(const Network&) const = default;
};

// "192.0.2.0/24", "2001:db8::/32", or an address alone. Bits below the prefix are ignored.
Result<Network> parse_network(std::string_view text);

class Networks {
 public:
  Networks() = default;
  explicit Networks(std::vector<Network> networks);

  // `address` is text, and may have a zone ("fe80::1%eth0"). Text that is no address is in no network.
  bool contain(std::string_view address) const;

 private:
  std::vector<Network> ranges_;  // sorted; none overlaps or touches another
};

}  // namespace mailbridge
