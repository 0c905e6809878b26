// One message as it will leave, unstuffed, every line ended by CRLF. Its header section lies in one piece; the rest, from the
// empty line on, in blocks that hold whole lines, so that a message that grows is never copied.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mailbridge::mail {

class Message {
 public:
  // A line without its line end; it may hold any byte but LF.
  void append_line(std::string_view line);

  std::size_t size() const { return head_.size() + body_size_; }

  // The header section: all lines before the first empty one. Valid until the next append_line().
  std::string_view head() const { return head_; }

  // The bytes from `offset` on, or a first part of them that ends with a line; empty at the end, and when reading failed. Valid
  // until the next call of any member.
  std::string_view from(std::size_t offset) const;

  // What from() left out can no longer be read.
  bool failed() const { return false; }

 private:
  struct Block {
    std::unique_ptr<char[]> bytes;
    std::size_t capacity;
    std::size_t size;
    std::size_t start;  // within the rest
  };
  Block& block_for(std::size_t line_size);

  std::string head_;
  bool in_head_ = true;
  std::vector<Block> blocks_;
  std::size_t body_size_ = 0;  // of all that is not head
};

}  // namespace mailbridge::mail
