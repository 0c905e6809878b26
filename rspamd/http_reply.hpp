// One HTTP/1.x reply, read as its bytes arrive (RFC 9112). One request per connection: what follows the reply is ignored.
//
//   status line ─► headers ─► empty line ─┬─ 1xx: the next status line
//                                         ├─ Transfer-Encoding: chunked: chunks, trailers
//                                         ├─ Content-Length: so many bytes
//                                         └─ neither: bytes until the peer closes
//
// Strict, for rspamd has one way to write a reply: lines end in CRLF, no folded headers, one Content-Length or one
// Transfer-Encoding, no compression but zstd.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"
#include "rspamd/compression.hpp"
#include "rspamd/rewritten_body.hpp"

namespace mailbridge::rspamd {

// rspamd's largest replies are some hundred kB (long lists of URLs). What is kept is bounded, so a rewritten mail does not count.
inline constexpr std::size_t default_reply_cap = std::size_t{4} * 1024 * 1024;

// Of a compressed reply, the rewritten mail included: rspamd itself takes mail up to 50 MiB.
inline constexpr std::size_t max_decompressed = std::size_t{64} * 1024 * 1024;

struct HttpReply {
  int status = 0;  // 0 until the status line is there
  std::string reason;
  std::string server;              // the header of that name
  std::string body;                // up to Message-Offset where given
  bool has_offset = false;         // Message-Offset was given: a rewritten body follows, be it empty
  std::size_t rewritten_size = 0;  // of that body, which may be as large as the mail
};

class HttpReplyReader {
 public:
  static constexpr std::size_t max_line = 8192;   // rspamd's longest is a reason phrase with an error text
  static constexpr std::size_t max_head = 65536;  // all status lines, headers and trailers; rspamd itself takes 80 KiB

  // A rewritten body is kept when it has bounds.
  explicit HttpReplyReader(std::size_t max_body, const std::optional<BodyBounds>& rewritten_bounds = std::nullopt)
      : max_body_(max_body) {
    if (rewritten_bounds) rewritten_.emplace(*rewritten_bounds);
  }

  void receive(std::string_view bytes);
  void close();  // no more will come: completes a body that lasts until then

  bool complete() const { return state_ == State::complete; }
  const std::optional<Fault>& fault() const { return fault_; }
  const HttpReply& reply() const { return reply_; }  // status and reason from the status line on, all when complete

  // What has come of the body since it was last taken, without Message-Offset having a meaning. The bound is then on what was not
  // taken yet.
  std::string take_body() { return std::exchange(reply_.body, {}); }

  // Of a complete reply, once; null when there is none or it was not to be kept.
  Result<std::shared_ptr<mail::Message>> take_rewritten_body() {
    if (!rewritten_ || !reply_.has_offset) return nullptr;
    return rewritten_->finish();
  }

 private:
  enum class State { status_line, header, sized_body, open_body, chunk_size, chunk_data, chunk_end, trailer, complete };

  void on_line(std::string_view line);
  void on_status_line(std::string_view line);
  void on_header(std::string_view line);
  void on_end_of_head();
  void on_chunk_size(std::string_view line);
  void finish();
  void broken(Errc code, std::string what);
  void take(std::string_view& bytes, std::size_t most);
  void keep(std::string_view part);

  std::size_t max_body_;
  State state_ = State::status_line;
  std::optional<Fault> fault_;
  HttpReply reply_;
  std::string line_;  // the beginning of a line whose end has not come
  std::size_t head_size_ = 0;
  std::size_t remaining_ = 0;  // of the body, or of the chunk
  std::optional<std::size_t> content_length_;
  std::optional<std::size_t> message_offset_;
  std::optional<RewrittenBody> rewritten_;
  bool chunked_ = false;
  std::optional<Decompressor> decompressor_;
};

}  // namespace mailbridge::rspamd
