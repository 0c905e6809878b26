// The replies of an LMTP server (RFC 5321 4.2), read as they come: several in one read, split anywhere, of many lines.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/line_buffer.hpp"
#include "base/result.hpp"

namespace mailbridge::lmtp {

struct Reply {
  int code;                        // 200 to 559
  std::string enhanced;            // "5.1.1" (RFC 2034); empty when the server gave none of the code's own class
  std::vector<std::string> lines;  // at least one; without code and enhanced code

  bool is(int kind) const { return code / 100 == kind; }
  const std::string& first() const { return lines.front(); }
  const std::string& last() const { return lines.back(); }
};

class ReplyReader {
 public:
  // RFC 5321 4.5.3.1.5 allows 512 bytes; Dovecot quotes whole addresses in its texts. What is longer is cut, not refused.
  static constexpr std::size_t max_line = 2048;
  // Dovecot answers LHLO with about ten. Of a longer reply the first lines and the last are kept: it counts like any other, above
  // all after the dot.
  static constexpr std::size_t max_lines = 100;

  // Calls on_reply(Result<Reply>) for every reply that ends within `bytes`. After a fault nothing more is read: the lines that
  // follow can no longer be told apart.
  template <class OnReply>
  void feed(std::string_view bytes, OnReply&& on_reply) {
    lines_.feed(bytes, [&](std::string_view line, bool) {
      if (auto reply = take(line)) on_reply(std::move(*reply));
    });
  }

  // Nothing of another reply was read.
  bool between_replies() const { return !partial_ && !broken_ && lines_.unfinished().empty(); }

 private:
  std::optional<Result<Reply>> take(std::string_view line);

  LineBuffer lines_{max_line};
  std::optional<Reply> partial_;
  bool broken_ = false;
};

}  // namespace mailbridge::lmtp
