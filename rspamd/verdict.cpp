#include "rspamd/verdict.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <simdjson.h>

#include "base/text.hpp"

namespace mailbridge::rspamd {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr std::size_t max_headers = 1000;                  // of one kind; mail servers refuse mail with fewer
constexpr std::size_t max_symbols = 1000;                  // rspamd 3.4 comes with some 800 symbols, and a mail hits a few dozen
constexpr std::size_t max_name = 255;                      // RFC 5322 2.1.1 leaves a name less than 998
constexpr std::size_t max_value = std::size_t{64} * 1024;  // smtpd reads header values up to 65,535 bytes
constexpr std::size_t max_error = 200;

// The length of the well-formed UTF-8 sequence `text` begins with (RFC 3629), 0 when there is none.
std::size_t utf8_sequence(std::string_view text) {
  const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = at(0);
  if (first < 0x80) return 1;
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

// What simdjson would refuse though it may come from a mail by way of rspamd: broken UTF-8 becomes '?', a raw control byte a
// space.
std::string repaired(std::string_view json) {
  std::string text(json);
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t size = utf8_sequence(std::string_view(text).substr(i));
    if (size == 0) text[i] = '?';
    else if (size == 1 && static_cast<unsigned char>(text[i]) < 0x20) text[i] = ' ';
    i += std::max<std::size_t>(size, 1);
  }
  return text;
}

// rspamd writes numbers that are not finite as null, so NaN is no JSON here either.
bool parse(simdjson::dom::parser& parser, std::string_view json, object& reply) {
  element root;
  return (parser.parse(json.data(), json.size()).get(root) == simdjson::SUCCESS ||
          parser.parse(repaired(json)).get(root) == simdjson::SUCCESS) &&
         root.get(reply) == simdjson::SUCCESS;
}

// A member of that name and type, the first one when there are several; otherwise `value` stays.
template <class T>
bool read(const object& from, std::string_view name, T& value) {
  return from.at_key(name).get(value) == simdjson::SUCCESS;
}

std::string read_string(const object& from, std::string_view name) {
  std::string_view value;
  return read(from, name, value) ? std::string(value) : std::string();
}

double read_number(const object& from, std::string_view name) {
  double value = 0;
  read(from, name, value);
  return value;
}

// Lua's numbers may come as 1.0: truncated, as ucl_object_toint does.
bool read_int(element from, int& value) {
  double number = 0;
  if (from.get(number) != simdjson::SUCCESS) return false;
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
bool each_of(element value, Each each) {
  array list;
  if (value.get(list) != simdjson::SUCCESS) return each(value);
  bool all = true;
  for (const element entry : list) all = each(entry) && all;
  return all;
}

bool append_header(std::vector<AddHeader>& headers, std::string_view name, element value) {
  AddHeader header;
  std::string_view text;
  object with_order;
  if (value.get(with_order) == simdjson::SUCCESS) {
    if (!read(with_order, "value", text)) return false;
    element order;
    if (read(with_order, "order", order) || read(with_order, "index", order)) read_int(order, header.order);
  } else if (value.get(text) != simdjson::SUCCESS) {
    return false;
  }
  if (!is_field_name(name) || text.size() > max_value || headers.size() == max_headers) return false;
  header.name = name;
  header.value = text;
  headers.push_back(std::move(header));
  return true;
}

bool read_add_headers(const object& from, std::vector<AddHeader>& headers) {
  bool all = true;
  for (const auto [name, value] : from) {
    all = each_of(value, [&, key = name](element entry) { return append_header(headers, key, entry); }) && all;
  }
  return all;
}

bool read_remove_headers(const object& from, std::vector<RemoveHeader>& headers) {
  bool all = true;
  for (const auto [name, value] : from) {
    all = each_of(value,
                  [&, key = name](element entry) {
                    int index = 0;
                    if (!read_int(entry, index) || !is_field_name(key) || headers.size() == max_headers) return false;
                    headers.push_back({std::string(key), index});
                    return true;
                  }) &&
          all;
  }
  return all;
}

void read_milter(const object& milter, Verdict& verdict) {
  const auto done = [&](bool all, std::string_view name) {
    if (!all) verdict.unsupported.emplace_back(name);
  };
  object members;
  std::string_view text;
  if (read(milter, "add_headers", members)) done(read_add_headers(members, verdict.add_headers), "add_headers");
  if (read(milter, "remove_headers", members)) done(read_remove_headers(members, verdict.remove_headers), "remove_headers");
  if (element spam; read(milter, "spam_header", spam)) {
    const bool all = spam.get(members) == simdjson::SUCCESS ? read_add_headers(members, verdict.spam_headers)
                                                            : append_header(verdict.spam_headers, "X-Spam", spam);
    done(all, "spam_header");
  }
  for (const std::string_view name : {"change_from", "add_rcpt", "del_rcpt"}) {
    if (element any; read(milter, name, any)) done(false, name);
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
  // A parser keeps its buffers, some ten times its largest document: one that is used again spares an ordinary reply their pages.
  constexpr std::size_t ordinary = 32 * 1024;
  thread_local simdjson::dom::parser used_again;
  simdjson::dom::parser for_a_large_one;
  simdjson::dom::parser& parser = json.size() <= ordinary ? used_again : for_a_large_one;
  object reply;
  if (!parse(parser, json, reply)) return unreadable("the reply is not a JSON object");
  Verdict verdict;
  verdict.action = read_string(reply, "action");
  if (verdict.action.empty()) {
    const std::string error = printable(read_string(reply, "error"), max_error);
    return unreadable(error.empty() ? "the reply has no action" : "the reply is an error: " + error);
  }
  verdict.score = read_number(reply, "score");
  verdict.required_score = read_number(reply, "required_score");
  verdict.subject = read_string(reply, "subject");
  object members;
  if (read(reply, "messages", members)) verdict.smtp_message = read_string(members, "smtp_message");
  if (read(reply, "symbols", members)) {
    for (const auto [name, value] : members) {
      object symbol;
      if (verdict.symbols.size() == max_symbols) break;
      if (value.get(symbol) == simdjson::SUCCESS) verdict.symbols.push_back({std::string(name), read_number(symbol, "score")});
    }
  }
  if (element signatures; read(reply, "dkim-signature", signatures)) {
    const bool all = each_of(signatures, [&](element entry) {
      std::string_view value;
      if (entry.get(value) != simdjson::SUCCESS || value.size() > max_value || verdict.dkim_signatures.size() == max_headers)
        return false;
      verdict.dkim_signatures.emplace_back(value);
      return true;
    });
    if (!all) verdict.unsupported.emplace_back("dkim-signature");
  }
  if (read(reply, "milter", members)) read_milter(members, verdict);
  return verdict;
}

std::string error_text(std::string_view json) {
  simdjson::dom::parser parser;
  object reply;
  return parse(parser, json, reply) ? read_string(reply, "error") : std::string();
}

}  // namespace mailbridge::rspamd
