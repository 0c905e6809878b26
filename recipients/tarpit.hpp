// A client that asks for many recipients who do not exist is answered slowly, over all its sessions together.
//
//   client   an IPv4 address, or an IPv6 /64
//   count    how many unknown recipients it has asked for; one is taken off each minute
//   slowed   a client with a count above the limit: it gets one answer a second, in the order of its questions
//   late     a question that would wait for more than 10 s is answered after 10 s; it is true only if the recipient exists
//   beyond   at most 50 late questions wait at a time; the others are refused, after 10 s as well
//
// So a client that guesses addresses gets one answer a second, with any number of connections. Another client that shares its
// address gets true answers about recipients that exist. The time of an answer never depends on the answer, because the time
// could be measured.
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
  // The count exceeds the limit by no more than this, so that a client is no longer slowed after an hour without an unknown
  // recipient.
  static constexpr std::size_t most_beyond = 60;

  // An entry takes some 200 bytes. If there are more than `clients` clients, the one that was not heard of for longest is
  // forgotten.
  explicit Tarpit(std::size_t clients = 10'000) : clients_(clients) {}

  // The limit from now on. 0: no client is counted or slowed.
  void use(std::size_t limit) { limit_ = limit; }

  // Counts an unknown recipient. `address` is the client's, as text. True if the client is slowed from this one on.
  bool count(std::string_view address, TimePoint now);

  struct Turn {
    enum class Answer { true_one, when_it_exists, none };
    TimePoint at;
    Answer answer = Answer::true_one;
  };
  // The earliest time at which a question of this client may be answered, and how.
  Turn take_turn(std::string_view address, TimePoint now);

 private:
  struct Client {
    std::size_t count = 0;
    TimePoint counted{};  // the count is correct for this time
    TimePoint last_turn{};
    TimePoint last_late{};  // late questions take turns as well, 200 ms apart
  };
  static void forget(Client& client, TimePoint now);

  std::size_t limit_ = 0;
  Lru<Client> clients_;
};

}  // namespace mailbridge::recipients
