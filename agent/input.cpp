#include "agent/input.hpp"

#include <algorithm>

namespace mailbridge::agent {
namespace {

std::string_view without_cr(std::string_view line) { return line.ends_with('\r') ? line.substr(0, line.size() - 1) : line; }

}  // namespace

// Takes one line without its line end.
void Input::take(std::string_view line) {
  if (!blank_bare_cr_ || line.find('\r') == std::string_view::npos) return message_->append_line(line);
  std::string changed(line);
  std::replace(changed.begin(), changed.end(), '\r', ' ');
  message_->append_line(changed);
}

void Input::feed(std::string_view bytes) {
  for (std::size_t lf = bytes.find('\n'); lf != std::string_view::npos; lf = bytes.find('\n')) {
    if (unfinished_.empty()) {
      take(without_cr(bytes.substr(0, lf)));
    } else {
      unfinished_.append(bytes.substr(0, lf));
      take(without_cr(unfinished_));
      unfinished_.clear();
    }
    bytes.remove_prefix(lf + 1);
  }
  unfinished_.append(bytes);
}

std::shared_ptr<mail::Message> Input::finish() {
  if (!unfinished_.empty()) take(unfinished_);  // a CR at its end is no line end
  unfinished_.clear();
  return message_;
}

}  // namespace mailbridge::agent
