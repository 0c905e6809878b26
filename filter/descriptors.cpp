#include "filter/descriptors.hpp"

#include <algorithm>

namespace mailbridge::filter {

DescriptorShares share_descriptors(std::size_t limit, const DescriptorNeeds& needs, std::size_t max_scans) {
  const std::size_t reserved =
      needs.open + descriptors_of_ours + needs.rspamd_probes + needs.connections + needs.names * descriptors_of_a_name;
  const std::size_t left = limit - std::min(limit, reserved);
  const std::size_t scans = std::clamp<std::size_t>(left / descriptors_of_a_scan, 1, max_scans);
  return {scans, std::max(left, scans + 1) - scans};
}

}  // namespace mailbridge::filter
