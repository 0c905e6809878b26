// The conversation that the drivers are tried with.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/conversation.hpp"

namespace mailbridge::net {

// Says `out`, then waits for a line. A line that comes early ends it as well.
class Machine {
 public:
  explicit Machine(std::string out, std::chrono::milliseconds patience = std::chrono::seconds(20))
      : out_(std::move(out)), patience_(patience) {}
  Step next(TimePoint now) {
    if (!until_) until_ = now + patience_;
    if (ended || heard.find('\n') != std::string::npos) return Done{};
    if (sent_ < out_.size()) return Send{std::string_view(out_).substr(sent_), *until_};
    return Await{*until_};
  }
  void sent(std::size_t n) { sent_ += n; }
  void receive(std::string_view bytes) { heard += bytes; }
  void end(const Ending& ending) { ended = ending; }

  std::size_t left() const { return out_.size() - sent_; }
  std::string heard;
  std::optional<Ending> ended;

 private:
  std::string out_;
  std::size_t sent_ = 0;
  std::chrono::milliseconds patience_;
  std::optional<TimePoint> until_;
};

}  // namespace mailbridge::net
