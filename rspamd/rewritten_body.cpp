#include "rspamd/rewritten_body.hpp"

#include <utility>

#include "base/dot_stuffing.hpp"

namespace mailbridge::rspamd {

RewrittenBody::RewrittenBody(BodyBounds bounds)
    : bounds_(std::move(bounds)), message_(std::make_shared<mail::Message>(bounds_.budget)) {
  message_->append_line("");
}

void RewrittenBody::append(std::string_view bytes) {
  size_ += bytes.size();
  if (size_ > bounds_.max_size) broken(Errc::too_large, "the rewritten body is larger than the bound set");
  while (message_ && !bytes.empty()) {
    const std::size_t lf = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, lf);
    if (line_.size() + piece.size() > bounds_.max_line + 1)
      return broken(Errc::too_large, "a line of the rewritten body is too long");
    line_ += piece;
    if (lf == std::string_view::npos) return;
    bytes.remove_prefix(lf + 1);
    end_line();
  }
}

void RewrittenBody::end_line() {
  if (line_.ends_with('\r')) line_.pop_back();
  if (line_.find('\0') != std::string::npos) return broken(Errc::unsupported, "a NUL in the rewritten body");
  if (line_.size() + (needs_dot(line_) ? 1 : 0) > bounds_.max_line) {
    return broken(Errc::too_large, "a line of the rewritten body is too long");
  }
  message_->append_line(line_);
  line_.clear();
  if (message_->failed()) broken(Errc::too_large, "the rewritten body cannot be kept: " + message_->failure().message());
}

void RewrittenBody::broken(Errc code, std::string what) {
  fault_ = {code, std::move(what)};
  message_.reset();
  line_ = {};
}

Result<std::shared_ptr<mail::Message>> RewrittenBody::finish() {
  if (message_ && !line_.empty()) end_line();
  if (!message_) return tl::unexpected(std::move(fault_));
  return std::move(message_);
}

}  // namespace mailbridge::rspamd
