#include "lmtp/reply.hpp"

#include "base/text.hpp"

namespace mailbridge::lmtp {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::optional<Result<Reply>> ReplyReader::take(std::string_view line) {
  if (broken_) return std::nullopt;
  const auto malformed = [this](const char* what) {
    broken_ = true;
    return Result<Reply>(fail(Errc::malformed, what));
  };
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.size() < 3 || line[0] < '2' || line[0] > '5' || line[1] < '0' || line[1] > '5' || !is_digit(line[2])) {
    return malformed("a reply begins with a code of three digits");
  }
  const char mark = line.size() > 3 ? line[3] : ' ';
  if (mark != ' ' && mark != '-') return malformed("a blank or '-' must follow the code of a reply");
  const int code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
  std::string_view text = line.substr(line.size() > 3 ? 4 : 3);
  if (!partial_) partial_ = Reply{code, {}, {}};
  if (partial_->code != code) return malformed("the lines of a reply carry different codes");
  if (const std::size_t length = enhanced_code_size(text, line[0]); length > 0) {
    if (partial_->enhanced.empty()) partial_->enhanced = text.substr(0, length);
    text.remove_prefix(length < text.size() ? length + 1 : length);
  }
  if (partial_->lines.size() == max_lines) partial_->lines.pop_back();
  partial_->lines.emplace_back(text);
  if (mark == '-') return std::nullopt;
  Result<Reply> whole(std::move(*partial_));
  partial_.reset();
  return whole;
}

}  // namespace mailbridge::lmtp
