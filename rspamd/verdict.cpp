#include "rspamd/verdict.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

// RapidJSON, because it is fast, has no library to link, and keeps repeated keys (docs/architecture.md).
#include <rapidjson/document.h>

#include "base/text.hpp"

namespace mailbridge::rspamd {
namespace {

constexpr std::size_t max_headers = 1000;                  // of one kind; mail servers refuse mail with fewer
constexpr std::size_t max_symbols = 1000;                  // rspamd 3.4 comes with some 800 symbols, and a mail hits a few dozen
constexpr std::size_t max_name = 255;                      // RFC 5322 2.1.1 leaves a name less than 998
constexpr std::size_t max_value = std::size_t{64} * 1024;  // smtpd reads header values up to 65,535 bytes
constexpr std::size_t max_error = 200;
constexpr unsigned max_depth = 1000;  // rspamd's own replies have some six

// The length of the well-formed UTF-8 sequence beyond ASCII that `text` begins with (RFC 3629), 0 when there is none.
std::size_t utf8_sequence(std::string_view text) {
  const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = at(0);
  const std::size_t size = first >= 0xc2 && first <= 0xdf   ? 2
                           : first >= 0xe0 && first <= 0xef ? 3
                           : first >= 0xf0 && first <= 0xf4 ? 4
                                                            : 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  const unsigned second = at(1);
  const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool beyond = (first == 0xed && second > 0x9f) || (first == 0xf4 && second > 0x8f);
  return overlong || beyond ? 0 : size;
}

// What is no JSON though it may come from a mail by way of rspamd: broken UTF-8 becomes '?', a raw control byte a space.
std::string repaired(std::string_view json) {
  std::string text(json);
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t size = byte < 0x80 ? 1 : utf8_sequence(std::string_view(text).substr(i));
    if (size == 0) text[i] = '?';
    else if (byte < 0x20) text[i] = ' ';
    i += std::max<std::size_t>(size, 1);
  }
  return text;
}

// RapidJSON's own does not tell when memory is short. This one throws.
struct Heap {
  static void* Malloc(std::size_t size) { return ::operator new(size); }
  static void* Realloc(void* old, std::size_t old_size, std::size_t size) {
    void* memory = Malloc(size);
    if (old_size > 0) std::memcpy(memory, old, std::min(old_size, size));
    Free(old);
    return memory;
  }
  static void Free(void* memory) { ::operator delete(memory); }
};

using Utf8 = rapidjson::UTF8<>;
using Document = rapidjson::GenericDocument<Utf8, rapidjson::MemoryPoolAllocator<Heap>, Heap>;
using Value = Document::ValueType;

// The reply, or null when it is no JSON. It is its own parser's handler, to set bounds; the rest is Document's.
class Reply : public Document {
 public:
  explicit Reply(std::string_view json) : text_(repaired(json)) {
    auto parse = [&](Document&) {
      // Not recursive. Numbers as they are written: RapidJSON 1.1 reads beyond a table for 0.0000000001e-2147483639.
      constexpr unsigned how =
          rapidjson::kParseIterativeFlag | rapidjson::kParseInsituFlag | rapidjson::kParseNumbersAsStringsFlag;
      rapidjson::InsituStringStream stream(text_.data());
      return rapidjson::GenericReader<Utf8, Utf8, Heap>().Parse<how>(stream, *this);
    };
    Populate(parse);
  }

  bool StartObject() { return ++depth_ <= max_depth && Document::StartObject(); }
  bool EndObject(rapidjson::SizeType members) {
    --depth_;
    return Document::EndObject(members);
  }
  bool StartArray() { return ++depth_ <= max_depth && Document::StartArray(); }
  bool EndArray(rapidjson::SizeType entries) {
    --depth_;
    return Document::EndArray(entries);
  }
  bool RawNumber(const char* text, rapidjson::SizeType size, bool /*copy*/) {
    // strtod(3), for not every standard library has from_chars for it. No program here sets a locale.
    errno = 0;
    const double value = std::strtod(std::string(text, size).c_str(), nullptr);
    const bool fits = std::isfinite(value) && (errno == 0 || value != 0);
    const bool integer = std::string_view(text, size).find_first_of(".eE") == std::string_view::npos;
    return fits && (!integer || std::abs(value) <= 0x1p64) && Double(value);
  }

 private:
  std::string text_;  // the values' strings are in it
  unsigned depth_ = 0;
};

std::string_view text_of(const Value& string) { return {string.GetString(), string.GetStringLength()}; }

// `from` as what it is to be; otherwise false, and `value` stays.
bool get(const Value& from, const Value*& value) {
  if (from.IsObject()) value = &from;
  return from.IsObject();
}
bool get(const Value& from, std::string_view& value) {
  if (from.IsString()) value = text_of(from);
  return from.IsString();
}
bool get(const Value& from, double& value) {
  if (from.IsNumber()) value = from.GetDouble();
  return from.IsNumber();
}
bool get(const Value& from, bool& value) {
  if (from.IsBool()) value = from.GetBool();
  return from.IsBool();
}

// The first one of that name; nullptr when there is none.
const Value* find(const Value& object, std::string_view name) {
  const auto member = object.FindMember(Value(rapidjson::StringRef(name.data(), name.size())));
  return member == object.MemberEnd() ? nullptr : &member->value;
}

// A member of that name and type; otherwise `value` stays.
template <class T>
bool read(const Value& object, std::string_view name, T& value) {
  const Value* member = find(object, name);
  return member && get(*member, value);
}

std::string read_string(const Value& from, std::string_view name) {
  std::string_view value;
  return read(from, name, value) ? std::string(value) : std::string();
}

double read_number(const Value& from, std::string_view name) {
  double value = 0;
  read(from, name, value);
  return value;
}

// Lua's numbers may come as 1.0: truncated, as ucl_object_toint does.
bool read_int(const Value& from, int& value) {
  double number = 0;
  if (!get(from, number)) return false;
  value = static_cast<int>(std::clamp<double>(std::trunc(number), -max_order, max_order));
  return true;
}

// RFC 5322 3.6.8.
bool is_field_name(std::string_view name) {
  return !name.empty() && name.size() <= max_name &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > 0x20 && c < 0x7f && c != ':'; });
}

// Calls `each` with the elements of an array, or with what is no array itself. False when one of them was refused.
template <class Each>
bool each_of(const Value& value, Each each) {
  if (!value.IsArray()) return each(value);
  bool all = true;
  for (const Value& entry : value.GetArray()) all = each(entry) && all;
  return all;
}

bool append_header(std::vector<AddHeader>& headers, std::string_view name, const Value& value) {
  AddHeader header;
  std::string_view text;
  if (value.IsObject()) {
    if (!read(value, "value", text)) return false;
    const Value* order = find(value, "order");
    if (!order) order = find(value, "index");
    if (order) read_int(*order, header.order);
  } else if (!get(value, text)) {
    return false;
  }
  if (!is_field_name(name) || text.size() > max_value || headers.size() == max_headers) return false;
  header.name = name;
  header.value = text;
  headers.push_back(std::move(header));
  return true;
}

bool read_add_headers(const Value& from, std::vector<AddHeader>& headers) {
  bool all = true;
  for (const auto& member : from.GetObject()) {
    const std::string_view name = text_of(member.name);
    all = each_of(member.value, [&](const Value& entry) { return append_header(headers, name, entry); }) && all;
  }
  return all;
}

bool read_remove_headers(const Value& from, std::vector<RemoveHeader>& headers) {
  bool all = true;
  for (const auto& member : from.GetObject()) {
    const std::string_view name = text_of(member.name);
    all = each_of(member.value,
                  [&](const Value& entry) {
                    int index = 0;
                    if (!read_int(entry, index) || !is_field_name(name) || headers.size() == max_headers) return false;
                    headers.push_back({std::string(name), index});
                    return true;
                  }) &&
          all;
  }
  return all;
}

void read_milter(const Value& milter, Verdict& verdict) {
  const auto done = [&](bool all, std::string_view name) {
    if (!all) verdict.unsupported.emplace_back(name);
  };
  const Value* members = nullptr;
  std::string_view text;
  if (read(milter, "add_headers", members)) done(read_add_headers(*members, verdict.add_headers), "add_headers");
  if (read(milter, "remove_headers", members)) done(read_remove_headers(*members, verdict.remove_headers), "remove_headers");
  if (const Value* spam = find(milter, "spam_header")) {
    const bool all =
        spam->IsObject() ? read_add_headers(*spam, verdict.spam_headers) : append_header(verdict.spam_headers, "X-Spam", *spam);
    done(all, "spam_header");
  }
  for (const std::string_view name : {"change_from", "add_rcpt", "del_rcpt"}) {
    if (find(milter, name)) done(false, name);
  }
  read(milter, "no_action", verdict.no_action);
  if (read(milter, "reject", text) && (text == "discard" || text == "quarantine")) verdict.instead_of_reject = text;
}

ScanResult unreadable(std::string what) { return tl::unexpected(ScanFailure{ScanFailure::Kind::unreadable, std::move(what)}); }

}  // namespace

std::string_view to_string(ScanFailure::Kind kind) {
  switch (kind) {
    case ScanFailure::Kind::unreachable:
      return "unreachable";
    case ScanFailure::Kind::timed_out:
      return "timed_out";
    case ScanFailure::Kind::http:
      return "http";
    case ScanFailure::Kind::unreadable:
      return "unreadable";
    case ScanFailure::Kind::overload:
      return "overload";
    case ScanFailure::Kind::too_large:
      return "too_large";
  }
  return "";
}

ScanResult parse_verdict(std::string_view json) {
  const Reply reply(json);
  if (!reply.IsObject()) return unreadable("the reply is not a JSON object");
  Verdict verdict;
  verdict.action = read_string(reply, "action");
  if (verdict.action.empty()) {
    const std::string error = printable(read_string(reply, "error"), max_error);
    return unreadable(error.empty() ? "the reply has no action" : "the reply is an error: " + error);
  }
  verdict.score = read_number(reply, "score");
  verdict.required_score = read_number(reply, "required_score");
  verdict.subject = read_string(reply, "subject");
  const Value* members = nullptr;
  if (read(reply, "messages", members)) verdict.smtp_message = read_string(*members, "smtp_message");
  if (read(reply, "symbols", members)) {
    for (const auto& [name, symbol] : members->GetObject()) {
      if (verdict.symbols.size() == max_symbols) break;
      if (symbol.IsObject()) verdict.symbols.push_back({std::string(text_of(name)), read_number(symbol, "score")});
    }
  }
  if (const Value* signatures = find(reply, "dkim-signature")) {
    const bool all = each_of(*signatures, [&](const Value& entry) {
      std::string_view value;
      if (!get(entry, value) || value.size() > max_value || verdict.dkim_signatures.size() == max_headers) return false;
      verdict.dkim_signatures.emplace_back(value);
      return true;
    });
    if (!all) verdict.unsupported.emplace_back("dkim-signature");
  }
  if (read(reply, "milter", members)) read_milter(*members, verdict);
  return verdict;
}

std::string error_text(std::string_view json) {
  const Reply reply(json);
  return reply.IsObject() ? read_string(reply, "error") : std::string();
}

}  // namespace mailbridge::rspamd
