// A client that asks for many recipients who do not exist is answered slowly, over all its sessions together.
//
//   client   an IPv4 address, or an IPv6 /64
//   count    of its unknown recipients; one of them is forgotten each minute
//   slowed   above a limit: its answers come one a second, in the order of the questions
//   late     who would have to wait for more than 10 s: is answered after 10 s, and rightly only if the recipient exists
//   beyond   of the late ones only so many are: the others are turned away, after 10 s as well
//
// So whoever guesses gets an answer a second, whatever number of connections he has; and who shares his address gets true answers
// about recipients that exist. When an answer comes never depends on what it is, or the time would tell.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/conversation.hpp"
#include "recipients/lru.hpp"

namespace mailbridge::recipients {

class Tarpit {
 public:
  static constexpr Duration forgotten_in = std::chrono::minutes(1);
  static constexpr Duration apart = std::chrono::seconds(1);
  static constexpr Duration longest = std::chrono::seconds(10);
  static constexpr Duration late_apart = std::chrono::milliseconds(200);  // hence 50 within the longest
  // No more than these are counted beyond the limit: after an hour without another one nobody is slowed.
  static constexpr std::size_t most_beyond = 60;

  // An entry takes some 200 bytes. When there are more clients, the one that was not heard of for longest is forgotten.
  explicit Tarpit(std::size_t clients = 10'000) : clients_(clients) {}

  // From now on. 0: nobody is counted or slowed.
  void use(std::size_t limit) { limit_ = limit; }

  // Another recipient is unknown. `address` of the client as text. True when it is slowed because of this one.
  bool count(std::string_view address, TimePoint now);

  struct Turn {
    enum class Answer { true_one, when_it_exists, none };
    TimePoint at;
    Answer answer = Answer::true_one;
  };
  // When a question of this client may be answered, at the earliest, and how.
  Turn take_turn(std::string_view address, TimePoint now);

 private:
  struct Client {
    std::size_t count = 0;
    TimePoint counted{};  // what was to be forgotten by then is
    TimePoint last_turn{};
    TimePoint last_late{};  // as if they were answered one after the other
  };
  static void forget(Client& client, TimePoint now);

  std::size_t limit_ = 0;
  Lru<Client> clients_;
};

}  // namespace mailbridge::recipients
