// The mark of a queued copy, on any mail: what is found stands above the trace and can be cut out, and only what seal() has
// written is right.
//
// Input: one byte that is changed in a mark of ours and by how much, then the recipients of that mark, one a line up to an empty
// one, then a mail.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "lmtp/mark.hpp"
#include "mail/envelope.hpp"

namespace {

using namespace mailbridge;

void require(bool condition) {
  if (!condition) std::abort();
}

std::string without_blanks(std::string_view text) {
  std::string out(text);
  std::erase_if(out, [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; });
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const lmtp::MarkKey key = lmtp::MarkKey::parse("a key of ours that is long enough for it").value();
  static const std::string trace =
      "Received: from x (y [192.0.2.1])\r\n\tby mail.example.org (OpenSMTPD) with ESMTP id 2ac23942;\r\n\tnow\r\n";
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.size() < 3) return 0;
  const std::size_t where = std::size_t{256} * static_cast<unsigned char>(text[0]) + static_cast<unsigned char>(text[1]);
  const char change = text[2];
  text.remove_prefix(3);

  std::vector<std::string> recipients;
  while (!text.empty()) {
    const std::size_t lf = text.find('\n');
    const std::string address = mail::normalised_address(text.substr(0, lf), "mail.example.org");
    text.remove_prefix(lf == std::string_view::npos ? text.size() : lf + 1);
    if (address.empty()) break;
    recipients.push_back(address);
  }

  // Nobody but seal() makes one that is right: the fuzzer does not know HMAC.
  if (const auto found = lmtp::find_mark(text, key)) {
    require(found->size > 0 && found->at + found->size <= text.size());
    require(istarts_with(text.substr(found->at), lmtp::mark_name));
    require(found->at == 0 || text[found->at - 1] == '\n');
    require(found->recipients.empty());
  }
  if (recipients.empty()) return 0;

  const std::string mark = lmtp::seal(key, "2ac23942", recipients);
  std::size_t room = 100;
  for (const std::string& recipient : recipients) room += lmtp::marked_size(recipient);
  require(mark.size() <= room);
  const auto right = lmtp::find_mark(mark + trace, key);
  require(right && right->at == 0 && right->size == mark.size());
  require(right->recipients == (mark.size() <= lmtp::max_mark ? recipients : std::vector<std::string>()));

  std::string changed = mark;
  changed[where % changed.size()] = change;
  const auto other = lmtp::find_mark(changed + trace, key);
  if (other && !other->recipients.empty()) {
    const std::size_t begin = lmtp::mark_name.size() + 1;
    require(without_blanks(changed.substr(begin)) == without_blanks(mark.substr(begin)));
    require(other->recipients == recipients);
  }
  return 0;
}
