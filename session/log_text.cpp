#include "session/log_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>

namespace mailbridge::session {
namespace {

constexpr std::size_t symbols_logged = 5;

}  // namespace

std::string milliseconds(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

std::string decimal(double value) {
  std::array<char, 32> text{};
  const bool plain = std::abs(value) < 1e15;
  const auto [end, error] = plain ? std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed, 2)
                                  : std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), end};
}

std::string top_symbols(const std::vector<rspamd::Symbol>& symbols) {
  std::vector<const rspamd::Symbol*> top;
  top.reserve(symbols.size());
  for (const rspamd::Symbol& symbol : symbols) top.push_back(&symbol);
  const auto shown = top.begin() + static_cast<std::ptrdiff_t>(std::min(top.size(), symbols_logged));
  std::partial_sort(top.begin(), shown, top.end(), [](const rspamd::Symbol* a, const rspamd::Symbol* b) {
    return std::abs(a->score) != std::abs(b->score) ? std::abs(a->score) > std::abs(b->score) : a < b;
  });
  std::string text;
  for (auto symbol = top.begin(); symbol != shown; ++symbol) {
    if (!text.empty()) text += ',';
    text += (*symbol)->name + "(" + decimal((*symbol)->score) + ")";
  }
  return text;
}

}  // namespace mailbridge::session
