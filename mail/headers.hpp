// The header section of a message and its edits (RFC 5322 2.2).
//
// A section ends at the first empty line. What stands in it and is no field (no colon, no name, a continuation of nothing) is
// kept as a field without a name: smtpd refuses such mail in the end, and readers disagree about where its header section ends,
// so nothing after it may escape us.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace mailbridge::mail {

struct Field {
  std::string_view name;  // as written, without blanks before the colon; empty for what is no field
  std::string_view raw;   // the whole field with its folds, up to and with the last line end
};

// The value of a field, as written: what follows the colon, folds and final line end included.
std::string_view raw_value(const Field& field);

struct HeaderSection {
  std::vector<Field> fields;
  std::size_t size = 0;  // bytes of the section; what follows begins with the empty line, unless the message ends here
};

// Views into `message`, whose lines end in LF or CRLF.
HeaderSection parse_headers(std::string_view message);

// A field as it is sent, its lines ended by CRLF. `value` may be folded with any newline style: each of its lines becomes a line
// of the field (a continuation without a leading blank gets a tab, one without text is dropped), control bytes and trailing
// blanks go, and every line stays below 998 bytes (RFC 5322 2.1.1). A line longer than `width` is folded before its blanks and
// between encoded words, which changes nothing of what is shown; a word that is longer stays whole. What is beyond 32 KiB of
// `value` is left out. Empty when `name` is no field name (RFC 5322 3.6.8: printable ASCII but ':', 1 to 256 bytes).
std::string make_field(std::string_view name, std::string_view value, std::size_t width = std::string_view::npos);

// The width of a line with an encoded word (RFC 2047 2).
inline constexpr std::size_t encoded_width = 76;

// The header section as it will leave. First all removals, then additions.
class HeaderEditor {
 public:
  // `section` and all names given must outlive the editor. `doomed[i]`: field i goes. `head` is how many fields at the top are
  // not counted as a position: what smtpd itself wrote above its Received field.
  HeaderEditor(const HeaderSection& section, const std::vector<bool>& doomed, std::size_t head);
  HeaderEditor(const HeaderEditor&) = delete;
  HeaderEditor& operator=(const HeaderEditor&) = delete;

  // order 0: very top, and not counted as a position from then on; n > 0: after the n-th field; -1: at the end; -k: as the k-th
  // from the end; beyond either end: at that end. As rspamd's milter does it: several insertions at one position push each other
  // down. False for a name that is none.
  bool insert(std::string_view name, std::string_view value, int order);

  // In place of all fields of that name, where the first one stood, or at the end; folded to encoded_width.
  bool replace(std::string_view name, std::string_view value);

  // After all insertions: of those that belong to one ARC set (RFC 8617 4.1: the same `i=`), ARC-Seal gets the topmost of the
  // places they have, then comes ARC-Message-Signature, then ARC-Authentication-Results. Some receivers want this order, and
  // rspamd before 4.1.0 names the fields in any.
  void order_arc_sets();

  std::string bytes() const;

 private:
  struct Placed {
    Field field;
    bool inserted;
  };
  bool place(std::string_view name, std::string made, int order);

  std::deque<Placed> fields_;  // insertions are near one of its ends
  std::deque<std::string> made_;
  std::size_t head_ = 0;
};

struct Removal {
  std::string_view name;
  int index;  // 0: all of that name, k > 0: the k-th from the top, k < 0: the k-th from the end
};

// Marks what these name, all counted on `section` as it is.
void mark_removed(const HeaderSection& section, const std::vector<Removal>& removals, std::vector<bool>& doomed);

// The authserv-id of an Authentication-Results value (RFC 8601 2.2): comments skipped, quotes removed. Empty when there is none.
std::string authserv_id(std::string_view value);

}  // namespace mailbridge::mail
