#include "base/text.hpp"

#include <algorithm>

namespace mailbridge {
namespace {

constexpr char lower_of(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

constexpr bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// Each run of blanks and control bytes becomes one space. `map` gives what every other byte becomes.
template <class Map>
std::string squeeze(std::string_view text, std::size_t max, Map map) {
  std::string line;
  line.reserve(std::min(text.size(), max));
  bool gap = false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7f) {
      gap = !line.empty();
      continue;
    }
    if (line.size() + (gap ? 1 : 0) >= max) break;
    if (gap) line += ' ';
    gap = false;
    line += map(c, byte);
  }
  return line;
}

}  // namespace

bool iequals(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower_of(x) == lower_of(y); });
}

bool istarts_with(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && iequals(text.substr(0, prefix.size()), prefix);
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower_of);
  return out;
}

bool is_token(std::string_view text) {
  constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || marks.find(c) != std::string_view::npos;
  });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

std::string printable(std::string_view text, std::size_t max) {
  return squeeze(text, max, [](char c, unsigned char byte) { return c == '"' ? '\'' : byte >= 0x80 ? '?' : c; });
}

std::string header_line(std::string_view text, std::size_t max) {
  return squeeze(text, max, [](char c, unsigned char) { return c; });
}

std::size_t enhanced_code_size(std::string_view text, char status_class) {
  if (!text.starts_with(status_class)) return 0;
  std::size_t at = 1;
  for (int part = 0; part < 2; ++part) {
    if (at == text.size() || text[at] != '.') return 0;
    const std::size_t first = ++at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    if (at == first || at - first > 3) return 0;
  }
  return at == text.size() || text[at] == ' ' ? at : 0;
}

void append_field(std::string& line, std::string_view key, std::string_view value) {
  constexpr std::size_t max_value = 256;  // bytes; keeps our log lines below syslog's usual 1,024 bytes
  const std::string shown = printable(value, max_value);
  if (!line.empty()) line += ' ';
  line += key;
  line += '=';
  const bool quoted = shown.empty() || shown.find_first_of(" =") != std::string::npos;
  if (quoted) line += '"';
  line += shown;
  if (quoted) line += '"';
}

}  // namespace mailbridge
