#include "lmtp/data.hpp"

namespace mailbridge::lmtp {

void DataEncoder::fill() {
  encoded_.clear();
  left_ = 0;
  while (at_ < stop_ && encoded_.size() + 2 <= max_) {
    std::string_view run = mail_.bytes(at_).substr(0, stop_ - at_);
    if (run.empty()) return;
    const bool dots = framing_ == Framing::dots;
    if (dots && line_begins_ && run.front() == '.') encoded_ += '.';
    run = run.substr(0, max_ - encoded_.size());
    // Up to the LF behind which another dot wants stuffing.
    if (const std::size_t lf = run.find("\n."); dots && lf != std::string_view::npos) run = run.substr(0, lf + 1);
    encoded_.append(run);
    at_ += run.size();
    line_begins_ = run.back() == '\n';
  }
}

}  // namespace mailbridge::lmtp
