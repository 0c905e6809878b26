// What the benchmark's peers share: clocks, reading, and how a run fails.
#pragma once

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace mailbridge::bench {

using Clock = std::chrono::steady_clock;

inline constexpr std::size_t io_size = 64 * 1024;

// Ends the run.
[[noreturn]] inline void fail(const std::string& what) { throw std::runtime_error(what); }

// The bytes that can be read without waiting, up to io_size; nothing at the end of the stream. Valid until the next call.
std::optional<std::string_view> read_some(int descriptor);

}  // namespace mailbridge::bench
