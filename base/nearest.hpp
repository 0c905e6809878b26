// "Did you mean …?" for a mistyped name.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace mailbridge {

// How many letters have to be added, removed, replaced or swapped with their neighbour to turn one name into the other (optimal
// string alignment). Names of more than 64 letters are not compared: equal ones have distance 0, others the length of the longer
// one.
inline std::size_t distance(std::string_view a, std::string_view b) {
  constexpr std::size_t longest = 64;
  if (a.size() > longest || b.size() > longest) return a == b ? 0 : std::max(a.size(), b.size());
  std::vector<std::vector<std::size_t>> steps(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        steps[i][j] = i + j;
        continue;
      }
      const std::size_t replaced = steps[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      steps[i][j] = std::min({replaced, steps[i - 1][j] + 1, steps[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        steps[i][j] = std::min(steps[i][j], steps[i - 2][j - 2] + 1);
    }
  }
  return steps[a.size()][b.size()];
}

// The name that was probably meant: the first of the nearest names, if at most a quarter of its letters differ, or one letter.
// Empty if there is none.
template <class Names>
std::string_view nearest(std::string_view written, const Names& names) {
  std::string_view best;
  std::size_t least = 0;
  for (const std::string_view name : names) {
    const std::size_t away = distance(written, name);
    if (away > std::max<std::size_t>(name.size() / 4, 1) || (!best.empty() && away >= least)) continue;
    best = name;
    least = away;
  }
  return best;
}

// "; did you mean --name?", to be appended to a message. Empty if no name is near.
template <class Names>
std::string suggestion(std::string_view written, const Names& names, std::string_view prefix = {}) {
  const std::string_view meant = nearest(written, names);
  return meant.empty() ? std::string() : "; did you mean " + std::string(prefix) + std::string(meant) + "?";
}

}  // namespace mailbridge
