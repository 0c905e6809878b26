// Sizes as people write them.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/result.hpp"

namespace mailbridge {

// "65536", "64K", "64M", "2G": bytes, or times 1,024, its square or its cube; up to 1,024 G.
Result<std::size_t> parse_size(std::string_view text);

}  // namespace mailbridge
