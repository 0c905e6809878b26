// The header section of a message and its edits (RFC 5322 2.2).
//
// The section ends at the first empty line. A line in it that belongs to no field (no colon, no name, a continuation of nothing)
// is kept as a field without a name. smtpd refuses such mail in the end, but readers disagree about where its header section
// ends, so the fields behind such a line are still treated as fields.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace mailbridge::mail {

struct Field {
  std::string_view name;  // as written, without blanks before the colon; empty if the line is no field
  std::string_view raw;   // the whole field with its folds, up to and with the last line end
};

// The value of a field, as written: what follows the colon, folds and final line end included.
std::string_view raw_value(const Field& field);

struct HeaderSection {
  std::vector<Field> fields;
  std::size_t size = 0;  // in bytes, without the empty line that ends the section
};

// Parses the beginning of a message whose lines end in LF or CRLF. The result holds views into `message`.
HeaderSection parse_headers(std::string_view message);

// Makes a field that can be sent; its lines end in CRLF. `value` may be folded with any style of line ends, and each of its lines
// becomes a line of the field. A continuation without a leading blank gets a tab, and one without text is dropped. Control bytes
// and trailing blanks are removed, and every line stays below 998 bytes (RFC 5322 2.1.1). A line longer than `width` is folded
// before blanks and between encoded words, so that readers see the same text; a longer word stays whole. Bytes of `value` beyond
// 32 KiB are left out. The result is empty if `name` is no field name (RFC 5322 3.6.8: printable ASCII but ':', 1 to 256 bytes).
std::string make_field(std::string_view name, std::string_view value, std::size_t width = std::string_view::npos);

// The longest line that may hold an encoded word, in bytes (RFC 2047 2).
inline constexpr std::size_t encoded_width = 76;

// Edits a header section. All removals are done first, then additions.
class HeaderEditor {
 public:
  // `section` and all names that are given must outlive the editor. Field i of the section is left out if `removed[i]` is true.
  // `head` is the number of fields at the top that are not counted as positions: those that smtpd itself wrote above its Received
  // field.
  HeaderEditor(const HeaderSection& section, const std::vector<bool>& removed, std::size_t head);
  HeaderEditor(const HeaderEditor&) = delete;
  HeaderEditor& operator=(const HeaderEditor&) = delete;

  // order 0: at the very top, and from then on not counted as a position; n > 0: after the n-th field; -1: at the end; -k: as the
  // k-th from the end; beyond either end: at that end. Several insertions at one position push each other down, as in rspamd's
  // milter. False if `name` is no field name.
  bool insert(std::string_view name, std::string_view value, int order);

  // Replaces all fields of that name: the new field stands where the first one stood, or at the end. It is folded to
  // encoded_width. False if `name` is no field name.
  bool replace(std::string_view name, std::string_view value);

  // To be called after all insertions. Of the inserted fields of one ARC set (RFC 8617 4.1: the same `i=`), ARC-Seal gets the
  // topmost of their places, then ARC-Message-Signature, then ARC-Authentication-Results. Some receivers want this order, and
  // rspamd before 4.1.0 names the fields in any order.
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

// Sets removed[i] for each field i that these removals name. All indexes count the fields of `section` as it is.
void mark_removed(const HeaderSection& section, const std::vector<Removal>& removals, std::vector<bool>& removed);

// The authserv-id of the value of an Authentication-Results field (RFC 8601 2.2), without comments and quotes. Empty if there is
// none.
std::string authserv_id(std::string_view value);

}  // namespace mailbridge::mail
