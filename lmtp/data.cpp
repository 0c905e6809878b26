#include "lmtp/data.hpp"

namespace mailbridge::lmtp {

void DataEncoder::fill() {
  encoded_.clear();
  left_ = 0;
  while (at_ < mail_.size() && encoded_.size() + 4 <= max_) {
    if (line_begins_ && mail_[at_] == '.') encoded_ += '.';
    line_begins_ = false;
    const std::string_view piece = mail_.substr(at_, max_ - encoded_.size() - 2);
    const std::size_t lf = piece.find('\n');
    encoded_.append(piece.substr(0, lf));
    if (lf == std::string_view::npos) {
      at_ += piece.size();
      continue;
    }
    at_ += lf;
    const bool has_cr = at_ > 0 && mail_[at_ - 1] == '\r';
    encoded_.append(has_cr ? "\n" : "\r\n");
    ++at_;
    line_begins_ = true;
  }
  if (at_ == mail_.size() && !line_begins_ && encoded_.size() + 2 <= max_) {
    encoded_.append("\r\n");
    line_begins_ = true;
  }
}

std::size_t wire_size(std::string_view mail) {
  std::size_t size = mail.size();
  for (std::size_t lf = mail.find('\n'); lf != std::string_view::npos; lf = mail.find('\n', lf + 1)) {
    if (lf == 0 || mail[lf - 1] != '\r') ++size;
  }
  return mail.empty() || mail.ends_with('\n') ? size : size + 2;
}

}  // namespace mailbridge::lmtp
