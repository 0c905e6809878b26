// The mark of a queued copy: which mailboxes have the mail already, for the filter has delivered it while the client waited. It
// is a header field at the very top of what smtpd queues:
//
//   X-Mailbridge-Delivered: id=2ac23942;
//   	to=DIGEST,
//   	DIGEST;
//   	seal=SEAL
//
// `id` is smtpd's message id. A mailbox is what RCPT of LMTP named, its domain in lower case; its digest is the beginning of the
// HMAC-SHA256, under a key that filter and agent share, of the id and the mailbox. The seal is the HMAC-SHA256 of all that stands
// before it, without its blanks.
//
// smtpd may send a copy to another host (an alias, a .forward file), so a mark tells a stranger nothing: digests name nobody
// without the key, differ from message to message, and are filled up with others so that their number tells little.
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

// The most mailboxes that one mark can name. smtpd takes 1,000 recipients of a message by default.
inline constexpr std::size_t max_marked = 2048;

// What filter and agent share. The first key seals; a mark that any of them has sealed is believed.
class MarkKeys {
 public:
  // The text of a key file: a key of 32 to 1,024 bytes on each line (as `openssl rand -hex 32` prints them), 8 at most. Blanks
  // around a key, empty lines, and lines that begin with '#' do not count.
  static Result<MarkKeys> parse(std::string_view text);

  const std::vector<std::string>& keys() const { return keys_; }  // at least one

  // A short name of a key that tells nothing of it: by these two files can be compared. 16 hex digits.
  static std::string fingerprint(std::string_view key);

  // Why somebody could guess a key, in words that follow "the key"; empty when there is no reason known.
  static std::string weakness(std::string_view key);

 private:
  std::vector<std::string> keys_;
};

// Whether the mark of a message with this id would count on top of this header section: its topmost Received field is smtpd's.
bool can_be_marked(std::string_view head, std::string_view msgid);

// The field, its lines ended by CRLF. At least one mailbox, and max_marked at most.
std::string seal(const MarkKeys& keys, std::string_view msgid, const std::vector<std::string>& mailboxes);

// Where a mark stands in a mail (of which the header section is enough, lines ended by LF or CRLF), right or not: to be cut out
// either way.
struct MarkPlace {
  std::size_t at;
  std::size_t size;  // with its last line end
};
std::optional<MarkPlace> find_mark(std::string_view mail);

// What a mark says, once its seal was found to be right.
class Mark {
 public:
  // Nothing when the mark at this place is not sealed by any of the keys, or is another message's.
  static std::optional<Mark> open(std::string_view mail, const MarkPlace& place, const MarkKeys& keys);

  // True if the filter has delivered the mail to this mailbox. Upper and lower case count, but in the domain.
  bool names(std::string_view mailbox) const;

 private:
  Mark(std::string key, std::string id, std::vector<std::string> digests)
      : key_(std::move(key)), id_(std::move(id)), digests_(std::move(digests)) {}

  std::string key_;  // that sealed it
  std::string id_;
  std::vector<std::string> digests_;
};

}  // namespace mailbridge::lmtp
