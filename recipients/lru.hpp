// A bounded memory: what was not asked for longest makes room.
#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace mailbridge::recipients {

template <class Fact>
class Lru {
 public:
  explicit Lru(std::size_t max) : max_(max) {}

  std::size_t size() const { return facts_.size(); }

  // Valid until the next call of a member that is not const.
  Fact* find(std::string_view key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return nullptr;
    facts_.splice(facts_.begin(), facts_, found->second);
    return &found->second->second;
  }

  void put(const std::string& key, Fact fact) {
    if (Fact* known = find(key)) {
      *known = std::move(fact);
      return;
    }
    Facts one;
    one.emplace_front(key, std::move(fact));
    index_.emplace(one.front().first, one.begin());
    facts_.splice(facts_.begin(), one);  // from here on nothing can fail, or it would be found by nobody and stay for ever
    if (facts_.size() > max_) erase(facts_.back().first);
  }

  void erase(std::string_view key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return;
    const auto fact = found->second;
    index_.erase(found);  // before the key it points to
    facts_.erase(fact);
  }

 private:
  using Facts = std::list<std::pair<std::string, Fact>>;  // the last asked for first

  std::size_t max_;
  Facts facts_;
  std::unordered_map<std::string_view, typename Facts::iterator> index_;
};

}  // namespace mailbridge::recipients
