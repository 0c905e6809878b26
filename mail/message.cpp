#include "mail/message.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

namespace mailbridge::mail {
namespace {

constexpr std::string_view line_end = "\r\n";
constexpr std::size_t uncounted_head = std::size_t{64} * 1024;
// A new block is as large as all blocks before it together, within these bounds. Most mail is small, and of a large one only the
// last block has unused space.
constexpr std::size_t min_block = std::size_t{2} * 1024;
constexpr std::size_t max_block = std::size_t{16} * 1024;
constexpr std::size_t overdrawn_block = std::size_t{4} * 1024;
constexpr std::size_t moved_at_once = std::size_t{1024} * 1024;
constexpr std::size_t min_window = std::size_t{16} * 1024;

}  // namespace

Message::Message(std::shared_ptr<Budget> budget) : budget_(std::move(budget)) {}

Message::~Message() {
  for (const Block& block : blocks_) budget_->give_back(block.capacity);
  budget_->give_back(head_taken_);
  if (spool_) --budget_->files;
  close_window();
}

std::shared_ptr<Budget> Message::unlimited() {
  return std::make_shared<Budget>(Budget{std::numeric_limits<std::size_t>::max(), {}});
}

void Message::append_line(std::string_view line) {
  if (failed()) return;
  if (in_head_ && !line.empty()) return append_to_head(line);
  if (in_head_) end_head();
  append_to_rest(line, line_end);
}

void Message::append_bytes(std::string_view bytes) {
  if (failed()) return;
  in_head_ = in_lines_ = false;
  append_to_rest(bytes, {});
}

void Message::append_to_rest(std::string_view bytes, std::string_view end) {
  const std::size_t size = bytes.size() + end.size();
  if ((blocks_.empty() || blocks_.back().capacity - blocks_.back().size < size) && !add_block(size)) return;
  Block& block = blocks_.back();
  char* const to = block.bytes.get() + block.size;
  std::copy(end.begin(), end.end(), std::copy(bytes.begin(), bytes.end(), to));
  block.size += size;
  in_blocks_ += size;
  longest_line_ = std::max(longest_line_, size);
}

void Message::append_to_head(std::string_view line) {
  const std::size_t wanted = head_.size() + line.size() + line_end.size();
  if (wanted > head_.capacity()) {
    const std::size_t capacity = std::max(wanted, 2 * head_.capacity());
    if (capacity > uncounted_head) {
      if (!budget_->has_room_for(capacity - head_taken_)) {
        failure_ = std::make_error_code(std::errc::not_enough_memory);
        return;
      }
      budget_->take(capacity - head_taken_);
      head_taken_ = capacity;
    }
    head_.reserve(capacity);
  }
  head_.append(line).append(line_end);
}

void Message::end_head() {
  in_head_ = false;
  head_.shrink_to_fit();
  const std::size_t spare = head_taken_ - std::min(head_taken_, head_.capacity());
  budget_->give_back(spare);
  head_taken_ -= spare;
}

void Message::replace_head(std::string head) {
  head_ = std::move(head);
  budget_->give_back(head_taken_);
  head_taken_ = head_.capacity() > uncounted_head ? head_.capacity() : 0;
  budget_->take(head_taken_);
}

bool Message::add_block(std::size_t line_size) {
  std::size_t capacity = std::max(line_size, std::clamp(in_blocks_, min_block, max_block));
  if (!budget_->has_room_for(capacity)) {
    move_to_spool();
    if (failed()) return false;
    if (!budget_->has_room_for(capacity)) capacity = std::max(line_size, overdrawn_block);
  }
  blocks_.push_back({std::unique_ptr<char[]>(new char[capacity]), capacity, 0, spooled_ + in_blocks_});
  budget_->take(capacity);
  return true;
}

void Message::move_to_spool() {
  if (blocks_.empty()) return;
  if (!spool_) {
    if (budget_->files >= budget_->max_files) {
      failure_ = std::make_error_code(std::errc::too_many_files_open);
      return;
    }
    auto created = platform::SpoolFile::create(budget_->spool);
    if (!created) {
      failure_ = created.error();
      return;
    }
    spool_ = std::move(*created);
    ++budget_->files;
  }
  auto block = blocks_.begin();
  for (std::size_t moved = 0; block != blocks_.end() && moved < moved_at_once; ++block) {
    failure_ = spool_->write({block->bytes.get(), block->size}, block->start);
    if (failed()) break;
    spooled_ += block->size;
    in_blocks_ -= block->size;
    moved += block->size;
    budget_->give_back(block->capacity);
  }
  blocks_.erase(blocks_.begin(), block);
}

std::string_view Message::from(std::size_t offset) const {
  if (offset < head_.size()) return std::string_view(head_).substr(offset);
  offset -= head_.size();
  if (offset < spooled_) return spooled_from(offset);
  close_window();
  if (offset >= spooled_ + in_blocks_ || failed()) return {};
  const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), offset,
                                      [](std::size_t at, const Block& block) { return at < block.start; });
  const Block& block = *std::prev(after);
  return std::string_view(block.bytes.get(), block.size).substr(offset - block.start);
}

std::string_view Message::spooled_from(std::size_t offset) const {
  if (failed()) return {};
  if (offset < window_start_ || offset >= window_start_ + window_size_) {
    const std::size_t capacity = std::max(min_window, longest_line_);
    if (window_.size() < capacity) {
      close_window();
      window_.resize(capacity);
      budget_->take(capacity);
    }
    window_size_ = std::min(capacity, spooled_ - offset);
    failure_ = spool_->read(window_.data(), window_size_, offset);
    if (failed()) {
      close_window();
      return {};
    }
    window_start_ = offset;
    if (in_lines_) window_size_ = std::string_view(window_.data(), window_size_).rfind('\n') + 1;
  }
  return std::string_view(window_.data(), window_size_).substr(offset - window_start_);
}

void Message::close_window() const {
  budget_->give_back(window_.size());
  std::vector<char>().swap(window_);
  window_size_ = 0;
}

}  // namespace mailbridge::mail
