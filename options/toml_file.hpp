// Reads files, and options from a TOML file, in which each option is a key: its long name without the dashes.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace mailbridge::options {

// The largest file of settings that is read, in bytes.
inline constexpr std::size_t max_file = std::size_t{16} << 20;

// Reads a regular file. Other kinds are refused, because opening or reading a FIFO, for instance, could wait for ever. The fault
// names the file.
Result<std::string> read_file(const std::string& path);

enum class TomlKey { unknown, one, several };  // what values a key may have

// Calls take(key, values) for each key of the file. take() returns what is wrong with the values, or an empty text. `names` are
// the keys that exist, for suggestions. The fault is one line: "FILE:LINE: key: …".
Result<void> read_toml(const std::string& path, const std::vector<std::string_view>& names,
                       const std::function<TomlKey(std::string_view key)>& kind,
                       const std::function<std::string(std::string_view key, std::vector<std::string> values)>& take);

}  // namespace mailbridge::options
