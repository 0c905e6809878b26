#include "rspamd/http_reply.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/text.hpp"

namespace mailbridge::rspamd {
namespace {

// Digits only: no sign, no blanks, nothing after them.
std::optional<std::size_t> parse_number(std::string_view text, int base) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool has_control_byte(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
  });
}

}  // namespace

void HttpReplyReader::receive(std::string_view bytes) {
  while (!bytes.empty() && !fault_ && state_ != State::complete) {
    switch (state_) {
      case State::open_body:
        take(bytes, bytes.size());
        break;
      case State::sized_body:
      case State::chunk_data: {
        const std::size_t before = bytes.size();
        take(bytes, remaining_);
        remaining_ -= before - bytes.size();
        if (fault_ || remaining_ > 0) break;
        if (state_ == State::chunk_data) state_ = State::chunk_end;
        else finish();
        break;
      }
      case State::complete:
        break;
      case State::status_line:
      case State::header:
      case State::chunk_size:
      case State::chunk_end:
      case State::trailer: {
        const std::size_t lf = bytes.find('\n');
        const std::string_view piece = bytes.substr(0, lf == std::string_view::npos ? lf : lf + 1);
        if (line_.size() + piece.size() > max_line) return broken(Errc::too_large, "a line of the reply is too long");
        line_ += piece;
        bytes.remove_prefix(piece.size());
        if (!line_.ends_with('\n')) break;
        if (!line_.ends_with("\r\n")) return broken(Errc::malformed, "a line of the reply does not end in CRLF");
        const std::string line = std::exchange(line_, {});
        on_line(std::string_view(line).substr(0, line.size() - 2));
        break;
      }
    }
  }
}

void HttpReplyReader::close() {
  if (!fault_ && state_ == State::open_body) finish();
}

void HttpReplyReader::take(std::string_view& bytes, std::size_t most) {
  const std::string_view part = bytes.substr(0, most);
  bytes.remove_prefix(part.size());
  if (!decompressor_) return keep(part);
  auto wrong = decompressor_->feed(part, [this](std::string_view piece) {
    keep(piece);
    return !fault_;
  });
  if (wrong) broken(wrong->code, std::move(wrong->what));
}

void HttpReplyReader::keep(std::string_view part) {
  const std::string_view kept = part.substr(0, message_offset_.value_or(std::string::npos) - reply_.body.size());
  if (kept.size() > max_body_ - reply_.body.size()) return broken(Errc::too_large, "the reply is larger than the bound set");
  reply_.body += kept;
  reply_.rewritten_size += part.size() - kept.size();
  if (rewritten_) rewritten_->append(part.substr(kept.size()));
}

void HttpReplyReader::on_line(std::string_view line) {
  if (state_ == State::status_line || state_ == State::header || state_ == State::trailer) {
    head_size_ += line.size() + 2;
    if (head_size_ > max_head) return broken(Errc::too_large, "the head of the reply is too large");
  }
  if (has_control_byte(line)) return broken(Errc::malformed, "a control byte in the head of the reply");
  switch (state_) {
    case State::status_line:
      return on_status_line(line);
    case State::header:
      return line.empty() ? on_end_of_head() : on_header(line);
    case State::chunk_size:
      return on_chunk_size(line);
    case State::chunk_end:
      if (!line.empty()) return broken(Errc::malformed, "a chunk of the reply is longer than its size says");
      state_ = State::chunk_size;
      return;
    case State::trailer:
      if (line.empty()) finish();
      return;
    case State::sized_body:
    case State::open_body:
    case State::chunk_data:
    case State::complete:
      return;
  }
}

void HttpReplyReader::on_status_line(std::string_view line) {
  // "HTTP/1.1 200 OK", RFC 9112 4; the blank before an empty reason may be missing, as many servers leave it out.
  const std::size_t status = line.size() >= 12 ? parse_number(line.substr(9, 3), 10).value_or(0) : 0;
  if (!(line.starts_with("HTTP/1.0 ") || line.starts_with("HTTP/1.1 ")) || status < 100 || status > 599 ||
      (line.size() > 12 && line[12] != ' ')) {
    return broken(Errc::malformed, "the reply does not begin with an HTTP/1.x status line");
  }
  // We never ask for another protocol.
  if (status == 101) return broken(Errc::unsupported, "the reply wants to switch protocols");
  reply_.status = static_cast<int>(status);
  reply_.reason = line.size() > 13 ? line.substr(13) : std::string_view();
  state_ = State::header;
}

void HttpReplyReader::on_header(std::string_view line) {
  const std::size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  if (colon == std::string_view::npos || !is_token(name)) return broken(Errc::malformed, "a header of the reply is malformed");
  const std::string_view value = trim(line.substr(colon + 1));
  const auto number_once = [&](std::optional<std::size_t>& slot) {
    const auto number = parse_number(value, 10);
    // Twice the same is allowed (RFC 9110 8.6) but nothing rspamd writes.
    if (!number || slot) return broken(Errc::malformed, std::string(name) + " is repeated or not a number");
    slot = number;
  };
  if (iequals(name, "Server")) {
    reply_.server = value;
  } else if (iequals(name, "Content-Length")) {
    number_once(content_length_);
  } else if (iequals(name, "Message-Offset")) {
    number_once(message_offset_);
  } else if (iequals(name, "Transfer-Encoding")) {
    if (chunked_ || !iequals(value, "chunked")) return broken(Errc::unsupported, "a transfer encoding other than chunked");
    chunked_ = true;
  } else if (iequals(name, "Compression") || iequals(name, "Content-Encoding")) {
    // Newer versions of rspamd say it in both headers.
    if (iequals(value, "zstd")) decompressor_.emplace(max_decompressed);
    else if (!iequals(value, "identity")) broken(Errc::unsupported, "the reply is compressed, but not with zstd");
  }
}

void HttpReplyReader::on_end_of_head() {
  if (chunked_ && content_length_) return broken(Errc::malformed, "both Content-Length and Transfer-Encoding");
  if (reply_.status < 200) {
    reply_ = {};
    content_length_.reset();
    message_offset_.reset();
    chunked_ = false;
    decompressor_.reset();
    state_ = State::status_line;
  } else if (reply_.status == 204 || reply_.status == 304) {
    finish();  // no body whatever the headers say, RFC 9112 6.3
  } else if (chunked_) {
    state_ = State::chunk_size;
  } else if (!content_length_) {
    state_ = State::open_body;
  } else if (std::min(*content_length_, message_offset_.value_or(std::string::npos)) > max_body_) {
    broken(Errc::too_large, "the reply is larger than the bound set");
  } else {
    remaining_ = *content_length_;
    state_ = State::sized_body;
    if (remaining_ == 0) finish();
  }
}

void HttpReplyReader::on_chunk_size(std::string_view line) {
  // Extensions after ';' mean nothing to us, RFC 9112 7.1.1.
  const auto size = parse_number(trim(line.substr(0, line.find(';'))), 16);
  if (!size) return broken(Errc::malformed, "a chunk of the reply has no size");
  remaining_ = *size;
  state_ = remaining_ == 0 ? State::trailer : State::chunk_data;
}

void HttpReplyReader::finish() {
  if (decompressor_ && !decompressor_->complete()) return broken(Errc::malformed, "the compressed reply ends too early");
  if (message_offset_.value_or(0) > reply_.body.size()) return broken(Errc::malformed, "Message-Offset lies beyond the reply");
  reply_.has_offset = message_offset_.has_value();
  state_ = State::complete;
}

void HttpReplyReader::broken(Errc code, std::string what) {
  fault_ = Fault{code, std::move(what)};
  reply_.body = {};
  line_ = {};
}

}  // namespace mailbridge::rspamd
