// A map with a bounded number of entries: when it is full, the entry that was not asked for longest is dropped.
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
    facts_.splice(facts_.begin(), one);  // must not fail from here on: an entry in only one of the containers would stay for ever
    if (facts_.size() > max_) erase(facts_.back().first);
  }

  void erase(std::string_view key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return;
    const auto fact = found->second;
    index_.erase(found);  // first: it points to the key
    facts_.erase(fact);
  }

 private:
  using Facts = std::list<std::pair<std::string, Fact>>;  // the one that was asked for last comes first

  std::size_t max_;
  Facts facts_;
  std::unordered_map<std::string_view, typename Facts::iterator> index_;
};

}  // namespace mailbridge::recipients
