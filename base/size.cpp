#include "base/size.hpp"

#include <charconv>
#include <string>

#include "base/text.hpp"

namespace mailbridge {
namespace {

constexpr std::size_t max_size = std::size_t{1} << 40;

}  // namespace

Result<std::size_t> parse_size(std::string_view text) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  const unsigned shift = unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : 0;
  if (error != std::errc{} || (shift == 0 && !unit.empty()) || value > max_size >> shift) {
    return fail(Errc::malformed, "a size such as 4096, 512K, 64M or 1G is wanted, not " + printable(text, 40));
  }
  return value << shift;
}

}  // namespace mailbridge
