// What happened since the filter started, as one line for the log.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace mailbridge::session {

class Counters {
 public:
  // "action", "add header" counts as action.add_header, "mails" alone as mails. `what` may come from a
  // peer: of more than 64 names all others count as KIND.others.
  void add(std::string_view kind, std::string_view what = {});

  // "answer.proceed=17 mails=18", by name.
  std::string line() const;

 private:
  std::map<std::string, std::uint64_t, std::less<>> counts_{{"mails", 0}};
};

}  // namespace mailbridge::session
