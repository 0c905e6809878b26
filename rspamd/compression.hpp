// zstd (RFC 8878), as rspamd takes and gives it with `Compression: zstd`. It pays over a network, and costs on one host.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include <zstd.h>

#include "base/result.hpp"
#include "mail/message.hpp"

namespace mailbridge::rspamd {

// Makes one frame of a message, as another message that shares the first one's budget.
class Compressor {
 public:
  // The message must not change any more.
  explicit Compressor(std::shared_ptr<const mail::Message> message);

  // Compresses about a MiB: true when it was the last. What cannot be read or kept makes a result that has failed().
  bool step();
  std::shared_ptr<const mail::Message> result() const { return compressed_; }

 private:
  struct Free {
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  };
  std::shared_ptr<const mail::Message> message_;
  std::shared_ptr<mail::Message> compressed_;
  std::unique_ptr<ZSTD_CCtx, Free> context_;
  std::size_t at_ = 0;
};

class Decompressor {
 public:
  // RFC 9659: what a peer may expect of us.
  static constexpr int max_window_log = 23;

  // More than `most` bytes in all are refused, for a few bytes can stand for as many as their sender likes.
  explicit Decompressor(std::size_t most);

  // What stands in the next piece is given to `sink`, until that says false. What is wrong, if anything.
  std::optional<Fault> feed(std::string_view compressed, const std::function<bool(std::string_view)>& sink);

  // Nothing is missing.
  bool complete() const { return complete_; }

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };
  std::unique_ptr<ZSTD_DCtx, Free> context_;
  std::size_t left_;
  bool complete_ = false;
};

}  // namespace mailbridge::rspamd
