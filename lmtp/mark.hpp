// The mark of a queued copy: who has the mail already, for the filter has delivered it while the client waited. It is a header
// field at the very top of what smtpd queues:
//
//   X-Mailbridge-Delivered: id=2ac23942;
//   	to=<alice@example.org>,
//   	<bob@example.org>;
//   	seal=BASE64
//
// `id` is smtpd's message id and each recipient is what the client gave in RCPT, which is what smtpd tells an agent as LOCAL and
// DOMAIN. The seal is the HMAC-SHA256, under the key that filter and agent share, of all before it without its blanks.
//
// A mark counts only where nobody but the filter can have put it: above the topmost Received field, which is smtpd's own for it
// is written above whatever a client sends; and only when that field is of the message the mark was made for. So a mark that was
// seen once is of no use in another message.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace mailbridge::lmtp {

inline constexpr std::string_view mark_name = "X-Mailbridge-Delivered";

// What a mark may grow to; recipients for whom there is no room cannot be marked.
inline constexpr std::size_t max_mark = std::size_t{64} * 1024;

class MarkKey {
 public:
  // The text of a key file: at least 32 bytes (as many hex digits as `openssl rand -hex 32` prints are fine), at most 4 KiB,
  // blanks and line ends around it not counted.
  static Result<MarkKey> parse(std::string_view text);

  const std::string& bytes() const { return bytes_; }

 private:
  explicit MarkKey(std::string_view bytes) : bytes_(bytes) {}
  std::string bytes_;
};

// What one recipient adds to a mark.
constexpr std::size_t marked_size(std::string_view recipient) { return recipient.size() + 6; }

// Whether the mark of a message with this id would count on top of this header section: its topmost Received field is smtpd's.
bool can_be_marked(std::string_view head, std::string_view msgid);

// The field, its lines ended by CRLF. Recipients hold neither blanks nor angle brackets (mail::normalised_address).
std::string seal(const MarkKey& key, std::string_view msgid, const std::vector<std::string>& recipients);

struct Mark {
  std::size_t at;                       // where the field stands in the mail
  std::size_t size;                     // with its last line end
  std::vector<std::string> recipients;  // that have the mail; none when the seal is not right

  bool names(std::string_view recipient) const;
};

// The mark of a mail (of which the header section is enough, lines ended by LF or CRLF), right or not: to be cut out either way.
std::optional<Mark> find_mark(std::string_view mail, const MarkKey& key);

}  // namespace mailbridge::lmtp
