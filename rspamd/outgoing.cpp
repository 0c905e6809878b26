#include "rspamd/outgoing.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <variant>

namespace mailbridge::rspamd {
namespace {

// Most mail is smaller and leaves in one write; of a larger one this much is copied, at the beginning or, encrypted, at a time.
constexpr std::size_t buffer_size = std::size_t{16} * 1024;
constexpr std::size_t prepared_at_once = std::size_t{1024} * 1024;

std::string first_lines(std::string_view command, std::string_view host) {
  std::string lines;
  lines.append(command).append(" HTTP/1.1\r\nHost: ").append(host).append("\r\nConnection: close\r\n");
  return lines;
}

std::string content_length(std::size_t size) { return "Content-Length: " + std::to_string(size) + "\r\n"; }

}  // namespace

std::string host_of(const Endpoint& endpoint) {
  return std::holds_alternative<UnixEndpoint>(endpoint) ? "localhost" : to_string(endpoint);
}

Outgoing::Outgoing(std::string_view command, std::string_view headers, std::shared_ptr<const mail::Message> message,
                   const Wire& wire)
    : head_(first_lines(command, wire.host)),
      headers_(headers),
      message_(std::move(message)),
      host_(wire.host),
      sealing_(wire.sealing) {
  if (message_ && wire.compress) compressor_.emplace(message_);
}

bool Outgoing::prepare() {
  if (ready_) return true;
  if (compressor_) {
    if (!compressor_->step()) return false;
    message_ = compressor_->result();
    compressor_.reset();
    // Newer versions know both, and 3.4 the first alone.
    headers_.insert(0, "Compression: zstd\r\nContent-Encoding: zstd\r\n");
  }
  if (!headers_.empty()) {
    if (message_) size_ = message_->size();
    if (message_) head_ += content_length(size_);
    head_ += std::exchange(headers_, {});
  }
  if (!sealing_) {
    buffer_ = std::exchange(head_, {});
    refill();
    return ready_ = true;
  }
  const httpcrypt::Key& shared = sealing_->secret->shared;
  std::array<char, buffer_size> encrypted;
  const auto authenticate = [&](std::string_view bytes) {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), encrypted.size()))) {
      const std::string_view piece = bytes.substr(0, encrypted.size());
      cipher_->apply(piece, encrypted.data());
      authenticator_->update({encrypted.data(), piece.size()});
    }
  };
  if (!authenticator_) {
    authenticator_.emplace(shared, sealing_->nonce);
    cipher_.emplace(shared, sealing_->nonce);
    authenticate(head_);
  }
  for (const std::size_t pause = message_at_ + prepared_at_once; message_at_ < size_;) {
    if (message_at_ >= pause) return false;
    const std::string_view piece = message_->from(message_at_).substr(0, pause - message_at_);
    if (piece.empty()) break;  // then this request is never complete
    authenticate(piece);
    message_at_ += piece.size();
  }
  const httpcrypt::Mac mac = authenticator_->finish();
  authenticator_.reset();
  buffer_ = first_lines("POST /post", host_) + content_length(httpcrypt::overhead + head_.size() + size_);
  buffer_.append("Content-Type: application/octet-stream\r\nKey: ").append(sealing_->secret->header).append("\r\n\r\n");
  buffer_.append(sealing_->nonce.begin(), sealing_->nonce.end()).append(mac.begin(), mac.end());
  cipher_.emplace(shared, sealing_->nonce);
  append(std::exchange(head_, {}));
  message_at_ = 0;
  refill();
  return ready_ = true;
}

void Outgoing::refill() {
  while (message_ && buffer_.size() < buffer_size) {
    const std::string_view piece = message_->from(message_at_).substr(0, buffer_size - buffer_.size());
    if (piece.empty()) return;
    append(piece);
    message_at_ += piece.size();
  }
}

void Outgoing::append(std::string_view bytes) {
  if (!cipher_) {
    buffer_ += bytes;
    return;
  }
  const std::size_t at = buffer_.size();
  buffer_.resize(at + bytes.size());
  cipher_->apply(bytes, buffer_.data() + at);
}

std::string_view Outgoing::unsent() {
  while (!prepare()) continue;
  if (buffer_sent_ < buffer_.size()) return std::string_view(buffer_).substr(buffer_sent_);
  return message_ && !sealing_ ? message_->from(message_at_) : std::string_view();
}

void Outgoing::sent(std::size_t n) {
  n = std::min(n, unsent().size());
  if (buffer_sent_ == buffer_.size()) {
    message_at_ += n;
    return;
  }
  buffer_sent_ += n;
  if (buffer_sent_ < buffer_.size()) return;
  buffer_sent_ = 0;
  buffer_.clear();
  if (sealing_) refill();
  // A request that waits for its reply holds nothing but the message.
  if (buffer_.empty()) std::string().swap(buffer_);
}

bool Outgoing::complete() { return unsent().empty() && message_at_ == size_; }

}  // namespace mailbridge::rspamd
