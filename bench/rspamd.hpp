// rspamd, as far as a filter can tell: each POST gets the same verdict, some time after its body came. It serves any number of
// connections from one thread, which is the benchmark's.
#pragma once

#include <poll.h>

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bench/io.hpp"
#include "tests/support/descriptor.hpp"

namespace mailbridge::bench {

class Rspamd {
 public:
  // `verdict` is the JSON of each reply.
  explicit Rspamd(const std::string& verdict);

  std::string url() const { return "http://" + tcp_.endpoint(); }
  std::string local_url() const { return "unix:" + local_.endpoint(); }

  // How long each scan takes from now on; the next one takes `next` if that is longer.
  void take(Clock::duration each, Clock::duration next);

  // Appends what poll(2) is to watch.
  void add_to(std::vector<pollfd>& polls) const;
  void on_readable(int descriptor);

  // When the next answer is due, if there is one.
  std::optional<Clock::time_point> next_answer() const;
  // Gives all answers that are due.
  void answer();

 private:
  struct Talk {
    test::Descriptor descriptor;
    std::string head;
    std::size_t expected = 0;
    std::size_t received = 0;
    bool in_body = false;
    bool complete = false;
  };

  void accept_all(const test::Listener& listener);
  static void receive(Talk& talk, std::string_view bytes);

  test::Listener tcp_, local_;
  std::string reply_;
  Clock::duration each_{}, next_{};
  std::multimap<Clock::time_point, int> due_;
  std::unordered_map<int, Talk> talks_;
};

}  // namespace mailbridge::bench
