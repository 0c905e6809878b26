// One message as it will leave, unstuffed, every line ended by CRLF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mailbridge::mail {

class Message {
 public:
  // A line without its line end; it may hold any byte but LF.
  void append_line(std::string_view line) {
    bytes_.append(line);
    bytes_.append("\r\n", 2);
  }

  std::size_t size() const { return bytes_.size(); }

  // The bytes from `offset` on, or a first part of them; empty at the end. Valid until the next append_line().
  std::string_view from(std::size_t offset) const { return std::string_view(bytes_).substr(offset); }

 private:
  std::string bytes_;
};

}  // namespace mailbridge::mail
