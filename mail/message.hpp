// A message as it leaves: unstuffed, each line ended by CRLF. It lies in three parts.
//
//   header section   in one piece, always in memory
//   spooled part     the beginning of the rest, once memory was short: in an unlinked file, read back through a window
//   blocks           the end of the rest; each holds whole lines, so that a message that grows is never copied
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "mail/budget.hpp"
#include "platform/spool.hpp"

namespace mailbridge::mail {

class Message {
 public:
  // `budget` counts the bytes of the message, save a header section of up to 64 KiB. When the budget is used up, blocks move to a
  // spool file: the oldest first, and at most 1 MiB for each line that finds no room, so that no other session waits while a
  // large message is written. The message always keeps one block of 4 KiB, or of one line.
  explicit Message(std::shared_ptr<Budget> budget = unlimited());
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  ~Message();

  static std::shared_ptr<Budget> unlimited();

  // Appends a line, given without its line end. It may hold any byte but LF. If the line cannot be kept, failure() says why, and
  // the message is of no use any more.
  void append_line(std::string_view line);

  // To be called when the whole message is there. `head` is empty or ends in CRLF, and holds no empty line.
  void replace_head(std::string head);

  // Appends bytes to a message that is no mail but a transformed one: compressed, for instance. It has no header section, and
  // from() cuts it anywhere. At most max_piece bytes at once, and never mixed with append_line().
  void append_bytes(std::string_view bytes);
  static constexpr std::size_t max_piece = std::size_t{16} * 1024;

  // Marks the message as failed: its rest will not come.
  void fail(std::error_code why) { failure_ = why; }

  const std::shared_ptr<Budget>& budget() const { return budget_; }

  std::size_t size() const { return head_.size() + spooled_ + in_blocks_; }

  // The header section: all lines before the first empty one. Valid until the next append_line().
  std::string_view head() const { return head_; }

  // The bytes from `offset` on, or a first part of them that ends with a line. Empty at the end, and when reading failed. Valid
  // until the next call of a member other than size(), head() and failure().
  std::string_view from(std::size_t offset) const;

  // True if the spool file cannot be written or read, or if memory is short for the header section.
  bool failed() const { return static_cast<bool>(failure_); }
  std::error_code failure() const { return failure_; }

 private:
  struct Block {
    std::unique_ptr<char[]> bytes;
    std::size_t capacity;
    std::size_t size;
    std::size_t start;  // within the rest
  };
  void append_to_head(std::string_view line);
  void append_to_rest(std::string_view bytes, std::string_view end);
  void end_head();
  bool add_block(std::size_t line_size);
  void move_to_spool();
  std::string_view spooled_from(std::size_t offset) const;
  void close_window() const;

  std::shared_ptr<Budget> budget_;
  std::string head_;
  std::size_t head_taken_ = 0;
  bool in_head_ = true;
  bool in_lines_ = true;
  std::vector<Block> blocks_;
  std::size_t in_blocks_ = 0;
  std::optional<platform::SpoolFile> spool_;
  std::size_t spooled_ = 0;
  std::size_t longest_line_ = 0;  // with its line end
  mutable std::error_code failure_;

  // The part of the spool file that was read last.
  mutable std::vector<char> window_;
  mutable std::size_t window_start_ = 0;
  mutable std::size_t window_size_ = 0;
};

}  // namespace mailbridge::mail
