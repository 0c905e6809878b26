// The contract between a pure protocol machine and the driver that carries its bytes (net/converse.hpp, the transcript
// player and the fuzzers drive the same machines).
//
//   next(now)      what the machine wants: Send (some of) these bytes, Await more, or it is Done. Asked before every step;
//                  asking twice without anything happening in between answers the same.
//   sent(n)        the first n bytes of the last Send have left. The driver may send a part only.
//   receive(bytes) the peer said this. May come at any time, also while a Send is under way: the machine may then stop
//                  sending (a server that refuses in mid-body is heard).
//   end(ending)    nothing more will come: the peer closed, the step's patience ran out, or the system reported an error.
//                  The machine's next step is Done.
//
// The machine decides, the driver obeys. Everything that comes after Done is ignored, and the result is read from the machine.
// Patience is protocol knowledge, so it is part of every step: when `until` passes, the driver calls end(timed_out).
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <variant>

namespace mailbridge {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = Clock::duration;

// A driver ends what it was asked for at its deadline. If the driver is stuck, who asked gives that up this much later.
inline constexpr Duration grace = std::chrono::seconds(1);

struct Send {
  std::string_view bytes;  // never empty; may point into the machine or a Message and stays valid until the next call
  TimePoint until;
};
struct Await {
  TimePoint until;
};
struct Done {};
using Step = std::variant<Send, Await, Done>;

struct Ending {
  enum class Kind { closed, timed_out, failed };
  Kind kind;
  std::string error = {};  // failed: the system's words ("Connection reset by peer"); timed_out: what took too long
};

// The words of a transcript: "closed", "timed_out", "failed Connection reset by peer", "timed_out no connection in time".
inline std::string to_string(const Ending& ending) {
  std::string text;
  switch (ending.kind) {
    case Ending::Kind::closed:
      text = "closed";
      break;
    case Ending::Kind::timed_out:
      text = "timed_out";
      break;
    case Ending::Kind::failed:
      text = "failed";
      break;
  }
  return ending.error.empty() ? text : text + " " + ending.error;
}

template <class M>
concept Conversation = requires(M& machine, TimePoint now, std::size_t n, std::string_view bytes, const Ending& ending) {
  { machine.next(now) } -> std::same_as<Step>;
  { machine.sent(n) } -> std::same_as<void>;
  { machine.receive(bytes) } -> std::same_as<void>;
  { machine.end(ending) } -> std::same_as<void>;
};

}  // namespace mailbridge
