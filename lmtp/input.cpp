#include "lmtp/input.hpp"

namespace mailbridge::lmtp {
namespace {

std::string_view without_cr(std::string_view line) { return line.ends_with('\r') ? line.substr(0, line.size() - 1) : line; }

}  // namespace

void Input::feed(std::string_view bytes) {
  for (std::size_t lf = bytes.find('\n'); lf != std::string_view::npos; lf = bytes.find('\n')) {
    if (unfinished_.empty()) {
      message_->append_line(without_cr(bytes.substr(0, lf)));
    } else {
      unfinished_.append(bytes.substr(0, lf));
      message_->append_line(without_cr(unfinished_));
      unfinished_.clear();
    }
    bytes.remove_prefix(lf + 1);
  }
  unfinished_.append(bytes);
}

std::shared_ptr<const mail::Message> Input::finish() {
  if (!unfinished_.empty()) message_->append_line(unfinished_);  // its CR, if any, ends no line
  unfinished_.clear();
  return message_;
}

}  // namespace mailbridge::lmtp
