#include "base/transcript.hpp"

#include <optional>

namespace mailbridge::transcript {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The bytes that the escaped text stands for. `ended` becomes false if a backslash is the very last character.
std::string unescape(std::string_view text, bool& ended) {
  std::string bytes;
  bytes.reserve(text.size() + 1);
  ended = true;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      bytes += text[i];
      continue;
    }
    if (i + 1 == text.size()) {
      ended = false;
      break;
    }
    const char c = text[++i];
    if (c == 'r') bytes += '\r';
    else if (c == 'n') bytes += '\n';
    else if (c == 't') bytes += '\t';
    else if (c == '\\') bytes += '\\';
    else if (c == 'x' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      bytes += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      bytes += '\\';
      bytes += c;
    }
  }
  return bytes;
}

std::optional<Line> parse_line(std::string_view line, std::size_t at) {
  if (line.empty()) return std::nullopt;
  Line parsed{line[0], ' ', 1, {}, at};
  line.remove_prefix(1);
  bool ended = true;
  if (std::string_view("OTNE").find(parsed.lane) != std::string_view::npos) {
    if (!line.starts_with(' ')) return std::nullopt;
    parsed.text = unescape(line.substr(1), ended);
    return parsed;
  }
  if (std::string_view("SRDLM").find(parsed.lane) == std::string_view::npos) return std::nullopt;
  unsigned number = 0;
  std::size_t digits = 0;
  while (digits < line.size() && digits < 7 && line[digits] >= '0' && line[digits] <= '9') {
    number = number * 10 + static_cast<unsigned>(line[digits++] - '0');
  }
  if (digits > 0 && (number == 0 || number > 999999)) return std::nullopt;
  if (digits > 0) parsed.number = number;
  line.remove_prefix(digits);
  const std::string_view directions = parsed.lane == 'R' || parsed.lane == 'D' ? "><!@" : "><!";
  if (line.empty() || directions.find(line[0]) == std::string_view::npos) return std::nullopt;
  parsed.direction = line[0];
  line.remove_prefix(1);
  if (!line.empty() && line[0] != ' ') return std::nullopt;
  if (!line.empty()) line.remove_prefix(1);
  parsed.text = unescape(line, ended);
  if ((parsed.direction == '>' || parsed.direction == '<') && ended) parsed.text += '\n';
  return parsed;
}

}  // namespace

std::vector<Line> parse(std::string_view text) {
  std::vector<Line> lines;
  for (std::size_t at = 1; !text.empty(); ++at) {
    const std::size_t lf = text.find('\n');
    if (auto line = parse_line(text.substr(0, lf), at)) lines.push_back(std::move(*line));
    if (lf == std::string_view::npos) break;
    text.remove_prefix(lf + 1);
  }
  return lines;
}

void append(std::string& out, std::string_view lane, std::string_view bytes) {
  constexpr std::string_view hex = "0123456789abcdef";
  while (!bytes.empty()) {
    const std::size_t lf = bytes.find('\n');
    out += lane;
    out += ' ';
    for (const char c : bytes.substr(0, lf)) {
      const auto byte = static_cast<unsigned char>(c);
      if (c == '\r') out += "\\r";
      else if (c == '\t') out += "\\t";
      else if (c == '\\') out += "\\\\";
      else if (byte >= 0x20 && byte < 0x7f) out += c;
      else {
        out += "\\x";
        out += hex[byte >> 4];
        out += hex[byte & 15];
      }
    }
    out += lf == std::string_view::npos ? "\\\n" : "\n";
    if (lf == std::string_view::npos) return;
    bytes.remove_prefix(lf + 1);
  }
}

}  // namespace mailbridge::transcript
