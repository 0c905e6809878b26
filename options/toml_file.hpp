// Files, and options from a TOML file: one key for each, spelled as its long name without the dashes.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace mailbridge::options {

// No file of settings is larger.
inline constexpr std::size_t max_file = std::size_t{16} << 20;

// The bytes of a regular file: to open or to read another kind, a FIFO for instance, could wait for ever. The fault names it.
Result<std::string> read_file(const std::string& path);

enum class TomlKey { unknown, one, several };  // what values a key may have

// Calls take(key, values) for each key; it answers what is wrong with them, or nothing. `names` are the keys there are. The fault
// is one line: "FILE:LINE: key: …".
Result<void> read_toml(const std::string& path, const std::vector<std::string_view>& names,
                       const std::function<TomlKey(std::string_view key)>& kind,
                       const std::function<std::string(std::string_view key, std::vector<std::string> values)>& take);

}  // namespace mailbridge::options
