#include "rspamd/compression.hpp"

#include <algorithm>
#include <array>
#include <new>
#include <utility>

namespace mailbridge::rspamd {
namespace {

constexpr int level = 1;  // rspamc's, too
constexpr std::size_t at_once = std::size_t{1024} * 1024;
constexpr std::size_t piece_size = std::size_t{16} * 1024;

}  // namespace

Compressor::Compressor(std::shared_ptr<const mail::Message> message)
    : message_(std::move(message)),
      compressed_(std::make_shared<mail::Message>(message_->budget())),
      context_(ZSTD_createCCtx()) {
  if (!context_) throw std::bad_alloc();
  ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level);
  // A small mail gets by with small tables, and rspamd learns how much there will be.
  ZSTD_CCtx_setPledgedSrcSize(context_.get(), message_->size());
}

bool Compressor::step() {
  if (!context_) return true;
  std::array<char, piece_size> out;
  const std::size_t pause = at_ + at_once;
  for (bool ended = false; !ended;) {
    if (at_ >= pause) return false;
    const std::string_view piece = message_->from(at_);
    if (piece.empty() && at_ < message_->size()) {
      compressed_->fail(message_->failure());
      break;
    }
    at_ += piece.size();
    const bool last = at_ == message_->size();
    ZSTD_inBuffer from{piece.data(), piece.size(), 0};
    for (bool more = true; more;) {
      ZSTD_outBuffer to{out.data(), out.size(), 0};
      const std::size_t left = ZSTD_compressStream2(context_.get(), &to, &from, last ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(left)) throw std::bad_alloc();  // nothing else can be wrong
      compressed_->append_bytes({out.data(), to.pos});
      more = last ? left > 0 : from.pos < from.size;
      ended = last && left == 0;
    }
  }
  context_.reset();
  return true;
}

Decompressor::Decompressor(std::size_t most) : context_(ZSTD_createDCtx()), left_(most) {
  if (!context_) throw std::bad_alloc();
  ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, max_window_log);
}

std::optional<Fault> Decompressor::feed(std::string_view compressed, const std::function<bool(std::string_view)>& sink) {
  std::array<char, piece_size> out;
  ZSTD_inBuffer from{compressed.data(), compressed.size(), 0};
  for (bool full = false; full || from.pos < from.size;) {
    if (complete_) return Fault{Errc::malformed, "something follows the compressed reply"};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    const std::size_t wanted = ZSTD_decompressStream(context_.get(), &to, &from);
    if (ZSTD_isError(wanted)) {
      return Fault{Errc::malformed, std::string("the reply cannot be decompressed: ") + ZSTD_getErrorName(wanted)};
    }
    if (to.pos > left_) return Fault{Errc::too_large, "the reply, decompressed, is larger than the bound set"};
    left_ -= to.pos;
    complete_ = wanted == 0;
    full = to.pos == to.size && !complete_;
    if (!sink({out.data(), to.pos})) return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace mailbridge::rspamd
