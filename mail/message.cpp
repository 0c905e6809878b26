#include "mail/message.hpp"

#include <algorithm>
#include <iterator>

namespace mailbridge::mail {
namespace {

constexpr std::string_view line_end = "\r\n";
// A block is as large as all before it, within these: most mail is small, and of a large one only the last block has slack.
constexpr std::size_t min_block = std::size_t{2} * 1024;
constexpr std::size_t max_block = std::size_t{16} * 1024;

}  // namespace

void Message::append_line(std::string_view line) {
  if (in_head_) {
    if (!line.empty()) {
      head_.append(line).append(line_end);
      return;
    }
    head_.shrink_to_fit();
    in_head_ = false;
  }
  const std::size_t size = line.size() + line_end.size();
  Block& block = block_for(size);
  char* const to = block.bytes.get() + block.size;
  std::copy(line_end.begin(), line_end.end(), std::copy(line.begin(), line.end(), to));
  block.size += size;
  body_size_ += size;
}

Message::Block& Message::block_for(std::size_t line_size) {
  if (blocks_.empty() || blocks_.back().capacity - blocks_.back().size < line_size) {
    const std::size_t capacity = std::max(line_size, std::clamp(body_size_, min_block, max_block));
    blocks_.push_back({std::make_unique_for_overwrite<char[]>(capacity), capacity, 0, body_size_});
  }
  return blocks_.back();
}

std::string_view Message::from(std::size_t offset) const {
  if (offset < head_.size()) return std::string_view(head_).substr(offset);
  offset -= head_.size();
  if (offset >= body_size_) return {};
  const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), offset,
                                      [](std::size_t at, const Block& block) { return at < block.start; });
  const Block& block = *std::prev(after);
  return std::string_view(block.bytes.get(), block.size).substr(offset - block.start);
}

}  // namespace mailbridge::mail
