// SMTP transparency (RFC 5321 4.5.2), a line at a time and without line ends.
#pragma once

#include <string_view>

namespace mailbridge {

inline bool is_end_of_data(std::string_view line) { return line == "."; }

// The line without the dot that the sender added. Not for the line that ends the data.
inline std::string_view unstuffed(std::string_view line) { return line.starts_with('.') ? line.substr(1) : line; }

// True if a dot must be added in front of the line when it is sent.
inline bool needs_dot(std::string_view line) { return line.starts_with('.'); }

}  // namespace mailbridge
