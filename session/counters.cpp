#include "session/counters.hpp"

#include <algorithm>
#include <cstddef>

#include "base/text.hpp"

namespace mailbridge::session {
namespace {

constexpr std::size_t max_names = 64;  // some thirty are ours, and rspamd has a handful of actions
constexpr std::size_t max_what = 40;

}  // namespace

void Counters::add(std::string_view kind, std::string_view what) {
  std::string name(kind);
  if (!what.empty()) name += "." + printable(what, max_what);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ' ' || c == '='; }, '_');
  if (counts_.size() >= max_names && !counts_.contains(name)) name = std::string(kind) + ".others";
  ++counts_[name];
}

std::string Counters::line() const {
  std::string line;
  for (const auto& [name, count] : counts_) {
    if (!line.empty()) line += ' ';
    line += name + "=" + std::to_string(count);
  }
  return line;
}

}  // namespace mailbridge::session
