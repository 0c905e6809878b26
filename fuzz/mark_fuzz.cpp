// The mark of a queued copy, on any mail: what is found stands above the trace and can be cut out, and only what seal() has
// written is right.
//
// Input: one byte that is changed in a mark of ours and by how much, then the recipients of that mark, one a line up to an empty
// one, then a mail.
#include <algorithm>
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

// As mailboxes: upper and lower case do not count in a domain.
bool names_one(const std::vector<std::string>& recipients, const std::string& address) {
  const auto folded = [](std::string text) {
    const std::size_t at = text.rfind('@');
    return at == std::string::npos ? text : text.substr(0, at) + lower(text.substr(at));
  };
  return std::any_of(recipients.begin(), recipients.end(),
                     [&](const std::string& one) { return folded(one) == folded(address); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const lmtp::MarkKeys keys = lmtp::MarkKeys::parse("a key of ours that is long enough for it").value();
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
  if (const auto place = lmtp::find_mark(text)) {
    require(place->size > 0 && place->at + place->size <= text.size());
    require(istarts_with(text.substr(place->at), lmtp::mark_name));
    require(place->at == 0 || text[place->at - 1] == '\n');
    require(!lmtp::Mark::open(text, *place, keys));
  }
  if (recipients.empty() || recipients.size() > lmtp::max_marked) return 0;

  const std::string mark = lmtp::seal(keys, "2ac23942", recipients);
  const auto place = lmtp::find_mark(mark + trace);
  require(place && place->at == 0 && place->size == mark.size());
  const auto right = lmtp::Mark::open(mark + trace, *place, keys);
  require(right.has_value());
  for (const std::string& recipient : recipients) {
    require(right->names(recipient));
    const std::string other = "x" + recipient;
    require(right->names(other) == names_one(recipients, other));
  }

  std::string changed = mark;
  changed[where % changed.size()] = change;
  const auto there = lmtp::find_mark(changed + trace);
  if (there && lmtp::Mark::open(changed + trace, *there, keys)) {
    const std::size_t begin = lmtp::mark_name.size() + 1;
    require(without_blanks(changed.substr(begin)) == without_blanks(mark.substr(begin)));
  }
  return 0;
}
