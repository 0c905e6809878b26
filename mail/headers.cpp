#include "mail/headers.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

#include "base/text.hpp"

namespace mailbridge::mail {
namespace {

constexpr std::size_t max_line = 997;         // below 998, RFC 5322 2.1.1
constexpr std::size_t max_name = 256;         // smtpd refuses names above 1,023; no header in use comes near either
constexpr std::size_t max_value = 32 * 1024;  // smtpd refuses some fields from 64 KiB on

bool is_blank(char c) { return c == ' ' || c == '\t'; }

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= max_name &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > 0x20 && c < 0x7f && c != ':'; });
}

// `at`, or the beginning of the UTF-8 sequence (RFC 3629) that a cut at `at` would split.
std::size_t sequence_start(std::string_view text, std::size_t at) {
  std::size_t i = at;
  while (i > 0 && at - i < 3 && (static_cast<unsigned char>(text[i]) & 0xc0) == 0x80) --i;
  return (static_cast<unsigned char>(text[i]) & 0xc0) == 0xc0 ? i : at;
}

// Where to break a line that is too long: before a blank, or after ',' or ';', or else anywhere but within a UTF-8 sequence.
std::size_t break_at(std::string_view line) {
  const std::size_t half = max_line / 2;
  for (std::size_t i = max_line; i > half; --i) {
    if (is_blank(line[i]) && !is_blank(line[i - 1])) return i;
  }
  for (std::size_t i = max_line; i > half; --i) {
    if (line[i - 1] == ',' || line[i - 1] == ';') return i;
  }
  return sequence_start(line, max_line);
}

// A line of a value, without control bytes and trailing blanks. A line of blanks alone would end the header section for some
// readers.
std::string cleaned(std::string_view piece) {
  std::string line;
  line.reserve(piece.size());
  for (const char c : piece) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte >= 0x20 && byte != 0x7f) || c == '\t') line += c;
  }
  while (!line.empty() && is_blank(line.back())) line.pop_back();
  return line;
}

void append_broken(std::string& out, std::string line) {
  while (line.size() > max_line) {
    if (const std::size_t text = line.find_first_not_of(" \t"); text > 1) {  // a broken line must not be blanks alone
      line.erase(0, text - 1);
      continue;
    }
    const std::size_t at = break_at(line);
    out.append(line, 0, at);
    out += "\r\n";
    line.erase(0, at);
    if (!is_blank(line[0])) line.insert(0, 1, '\t');
  }
  out += line;
  out += "\r\n";
}

// True if two encoded words meet at this place. A blank between them is not shown (RFC 2047 6.2), and rspamd 3.12 writes none.
bool between_encoded_words(std::string_view line, std::size_t at) { return at >= 2 && line.substr(at - 2, 4) == "?==?"; }

// Where to fold: the last blank behind a word, or the last place between two encoded words, that leaves at most `width` bytes
// before it; otherwise the first such place. npos if there is none.
std::size_t fold_at(std::string_view line, std::size_t width) {
  std::size_t at = std::string_view::npos;
  for (std::size_t i = line.find_first_not_of(" \t"); i < line.size(); ++i) {
    if ((!is_blank(line[i]) || is_blank(line[i - 1])) && !between_encoded_words(line, i)) continue;
    if (i > width) return std::min(at, i);
    at = i;
  }
  return at;
}

void append_folded(std::string& out, std::string line, std::size_t width) {
  while (line.size() > width) {
    const std::size_t at = fold_at(line, width);
    if (at == std::string_view::npos) break;
    append_broken(out, line.substr(0, at));
    line.erase(0, at);
    if (!is_blank(line[0])) line.insert(0, 1, ' ');
  }
  append_broken(out, std::move(line));
}

// The fields of an ARC set, in the order from the top.
constexpr std::array<std::string_view, 3> arc_names = {"ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"};

// The index of a field in arc_names; arc_names.size() if it is no field of ARC.
std::size_t arc_rank(std::string_view name) {
  const auto found = std::find_if(arc_names.begin(), arc_names.end(), [&](std::string_view one) { return iequals(one, name); });
  return static_cast<std::size_t>(found - arc_names.begin());
}

// The value of its tag `i`; empty if there is none.
std::string_view arc_instance(std::string_view value) {
  while (!value.empty()) {
    const std::string_view tag = value.substr(0, value.find(';'));
    value.remove_prefix(std::min(value.size(), tag.size() + 1));
    const std::size_t equals = tag.find('=');
    if (equals != std::string_view::npos && trim(tag.substr(0, equals)) == "i") return trim(tag.substr(equals + 1));
  }
  return {};
}

}  // namespace

std::string_view raw_value(const Field& field) {
  const std::size_t colon = field.raw.find(':');
  return colon == std::string_view::npos ? std::string_view{} : field.raw.substr(colon + 1);
}

HeaderSection parse_headers(std::string_view message) {
  HeaderSection section;
  std::string_view rest = message;
  while (!rest.empty()) {
    const std::size_t lf = rest.find('\n');
    const std::string_view raw = rest.substr(0, lf == std::string_view::npos ? rest.size() : lf + 1);
    if (raw == "\r\n" || raw == "\n") break;
    rest.remove_prefix(raw.size());
    if (is_blank(raw[0]) && !section.fields.empty()) {
      std::string_view& last = section.fields.back().raw;
      last = std::string_view(last.data(), last.size() + raw.size());
      continue;
    }
    Field field{{}, raw};
    if (const std::size_t colon = raw.find(':'); colon != std::string_view::npos && !is_blank(raw[0])) {
      std::string_view name = raw.substr(0, colon);
      while (!name.empty() && is_blank(name.back())) name.remove_suffix(1);
      field.name = name;
    }
    section.fields.push_back(field);
  }
  section.size = message.size() - rest.size();
  return section;
}

std::string make_field(std::string_view name, std::string_view value, std::size_t width) {
  std::string out;
  if (!is_name(name)) return out;
  if (value.size() > max_value) value = value.substr(0, sequence_start(value, max_value));
  std::string line(name);
  line += ':';
  bool first = true;
  while (!value.empty()) {
    const auto end = std::find_if(value.begin(), value.end(), [](char c) { return c == '\r' || c == '\n'; });
    const std::string piece = cleaned(std::string_view(value.begin(), end));
    value.remove_prefix(static_cast<std::size_t>(end - value.begin()) + (end == value.end() ? 0 : 1));
    if (piece.empty()) continue;
    if (first) {
      line += ' ';
      line.append(piece, piece.find_first_not_of(" \t"));
      first = false;
      continue;
    }
    append_folded(out, std::move(line), width);
    line = is_blank(piece[0]) ? "" : "\t";
    line += piece;
  }
  append_folded(out, std::move(line), width);
  return out;
}

HeaderEditor::HeaderEditor(const HeaderSection& section, const std::vector<bool>& removed, std::size_t head) {
  for (std::size_t i = 0; i < section.fields.size(); ++i) {
    if (removed[i]) continue;
    if (i < head) ++head_;
    fields_.push_back({section.fields[i], false});
  }
}

bool HeaderEditor::insert(std::string_view name, std::string_view value, int order) {
  return place(name, make_field(name, value), order);
}

bool HeaderEditor::place(std::string_view name, std::string made, int order) {
  if (made.empty()) return false;
  const std::size_t size = fields_.size();
  std::size_t at = 0;
  if (order == 0) {
    ++head_;
  } else if (order > 0) {
    at = std::min(size, head_ + static_cast<std::size_t>(order));
  } else {
    const auto from_end = static_cast<std::size_t>(-(order + 1));
    at = from_end < size ? size - from_end : 0;
  }
  made_.push_back(std::move(made));
  fields_.insert(fields_.begin() + static_cast<std::ptrdiff_t>(at), Placed{{name, made_.back()}, true});
  return true;
}

bool HeaderEditor::replace(std::string_view name, std::string_view value) {
  const auto named = [&](const Placed& one) { return iequals(one.field.name, name); };
  const auto found = std::find_if(fields_.begin(), fields_.end(), named);
  std::string made = make_field(name, value, encoded_width);
  if (found == fields_.end()) return place(name, std::move(made), -1);
  if (made.empty()) return false;
  made_.push_back(std::move(made));
  found->field = Field{name, made_.back()};
  const auto others = std::next(found);
  const auto below_head = fields_.begin() + static_cast<std::ptrdiff_t>(head_);
  if (others < below_head) head_ -= static_cast<std::size_t>(std::count_if(others, below_head, named));
  fields_.erase(std::remove_if(others, fields_.end(), named), fields_.end());
  return true;
}

void HeaderEditor::order_arc_sets() {
  std::map<std::string_view, std::vector<Field*>> sets;  // by instance, from the top
  for (Placed& one : fields_) {
    if (!one.inserted || arc_rank(one.field.name) == arc_names.size()) continue;
    const std::string_view instance = arc_instance(raw_value(one.field));
    if (!instance.empty()) sets[instance].push_back(&one.field);
  }
  for (const auto& [instance, places] : sets) {
    std::vector<Field> fields;
    for (const Field* place : places) fields.push_back(*place);
    std::stable_sort(fields.begin(), fields.end(),
                     [](const Field& a, const Field& b) { return arc_rank(a.name) < arc_rank(b.name); });
    for (std::size_t i = 0; i < places.size(); ++i) *places[i] = fields[i];
  }
}

std::string HeaderEditor::bytes() const {
  std::size_t size = 0;
  for (const Placed& one : fields_) size += one.field.raw.size();
  std::string out;
  out.reserve(size);
  for (const Placed& one : fields_) out += one.field.raw;
  return out;
}

// One pass, however many removals there are: a header section can have a million fields.
void mark_removed(const HeaderSection& section, const std::vector<Removal>& removals, std::vector<bool>& removed) {
  std::unordered_map<std::string, std::vector<std::size_t>> named;
  std::vector<bool> sizes;  // sizes of the names to be removed: most fields have another size and need no comparison
  for (const Removal& removal : removals) {
    named.try_emplace(lower(removal.name));
    sizes.resize(std::max(sizes.size(), removal.name.size() + 1));
    sizes[removal.name.size()] = true;
  }
  for (std::size_t i = 0; i < section.fields.size(); ++i) {
    const std::string_view name = section.fields[i].name;
    if (name.size() >= sizes.size() || !sizes[name.size()]) continue;
    if (const auto found = named.find(lower(name)); found != named.end()) found->second.push_back(i);
  }
  for (const Removal& removal : removals) {
    std::vector<std::size_t>& at = named.at(lower(removal.name));
    const auto count = static_cast<long long>(at.size());
    const long long k = removal.index > 0 ? removal.index - 1LL : count + removal.index;
    if (removal.index == 0) {
      for (const std::size_t i : at) removed[i] = true;
      at.clear();  // all of that name are removed, so nothing else matters for them
    } else if (k >= 0 && k < count) {
      removed[at[static_cast<std::size_t>(k)]] = true;
    }
  }
}

std::string authserv_id(std::string_view value) {
  std::size_t i = 0;
  const auto skip = [&] {  // blanks, line ends and nested comments (CFWS, RFC 5322 3.2.2)
    int depth = 0;
    for (; i < value.size(); ++i) {
      const char c = value[i];
      if (c == '(') ++depth;
      else if (c == ')' && depth > 0) --depth;
      else if (c == '\\' && depth > 0) ++i;
      else if (depth == 0 && !is_blank(c) && c != '\r' && c != '\n') return;
    }
  };
  skip();
  std::string id;
  if (i < value.size() && value[i] == '"') {
    for (++i; i < value.size() && value[i] != '"'; ++i) {
      if (value[i] == '\\' && i + 1 < value.size()) ++i;
      id += value[i];
    }
    return id;
  }
  for (; i < value.size(); ++i) {
    const char c = value[i];
    if (static_cast<unsigned char>(c) <= 0x20 || c == ';' || c == '(') break;
    id += c;
  }
  return id;
}

}  // namespace mailbridge::mail
