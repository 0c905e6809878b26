#include "lmtp/data.hpp"

namespace mailbridge::lmtp {

void DataEncoder::fill() {
  encoded_.clear();
  left_ = 0;
  while (encoded_.size() + 2 <= max_) {
    std::string_view run = mail_.bytes(at_);
    if (run.empty()) return;
    if (line_begins_ && run.front() == '.') encoded_ += '.';
    run = run.substr(0, max_ - encoded_.size());
    // Up to the LF behind which another dot wants stuffing.
    if (const std::size_t lf = run.find("\n."); lf != std::string_view::npos) run = run.substr(0, lf + 1);
    encoded_.append(run);
    at_ += run.size();
    line_begins_ = run.back() == '\n';
  }
}

}  // namespace mailbridge::lmtp
