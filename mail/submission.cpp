#include "mail/submission.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "mail/headers.hpp"

namespace mailbridge::mail {
namespace {

constexpr std::size_t max_smtpd_value = 65535;  // smtpd's buffer for one address; it refuses From, To and Cc beyond it
constexpr std::size_t max_growth = std::size_t{1}
                                   << 20;  // a list of bare names can grow a hundredfold; smtpd does the rest itself
constexpr std::size_t max_date = 64;       // smtpd writes less than 40 bytes

// isspace() of the C locale.
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// The state of quotes, comments and backslashes before the next character, as smtpd keeps it. Only quotes and parentheses are
// escaped by a backslash; every other character after a backslash is read as usual.
struct Reader {
  bool escape = false;
  bool quote = false;
  int comment = 0;

  void read(char c, bool escapes_in_quotes) {
    if (c == '(' && !escape && !quote) ++comment;
    if (c == '"' && !escape && comment == 0) quote = !quote;
    if (c == ')' && !escape && !quote && comment > 0) --comment;
    escape = c == '\\' && !escape && comment == 0 && (!quote || escapes_in_quotes);
  }
  bool plain() const { return !escape && !quote && comment == 0; }
};

// The place for "@host" in one address, as in smtpd's header_append_domain_buffer(). Nothing if the address has a domain, if the
// text is no address, or if smtpd does not understand it.
std::optional<std::size_t> domain_position(std::string_view address) {
  Reader reader;
  bool bracket = false, has_bracket = false;
  std::size_t bracket_end = 0, component_end = 0;
  for (std::size_t i = 0; i < address.size(); ++i) {
    const char c = address[i];
    reader.read(c, false);
    if (reader.plain()) {
      if (c == '@' || c == ':') return std::nullopt;
      if (c == '<' && !bracket) bracket = has_bracket = true;
      if (c == '>' && bracket) {
        bracket = false;
        bracket_end = i;
      }
    }
    if (reader.comment == 0 && c != ')' && !is_space(c)) component_end = i;
  }
  if (!reader.plain() || bracket) return std::nullopt;
  if (!has_bracket) {
    if (address.empty() || is_space(address[component_end])) return std::nullopt;
    return component_end + 1;
  }
  do --bracket_end;
  while (is_space(address[bracket_end]));
  if (address[bracket_end] == '<') return std::nullopt;
  return bracket_end + 1;
}

void append_address(std::string& out, std::string_view address, std::string_view host) {
  const std::optional<std::size_t> at =
      address.size() + host.size() + 1 < max_smtpd_value ? domain_position(address) : std::nullopt;
  out += address.substr(0, at.value_or(address.size()));
  if (!at) return;
  out += '@';
  out += host;
  out += address.substr(*at);
}

std::string with_line_ends(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (;;) {
    const std::size_t at = text.find(from);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += to;
    text.remove_prefix(at + from.size());
  }
}

std::size_t longest_line(std::string_view text) {
  std::size_t longest = 0;
  for (std::size_t lf = text.find('\n'); lf != std::string_view::npos; lf = text.find('\n')) {
    longest = std::max(longest, lf);
    text.remove_prefix(lf + 1);
  }
  return std::max(longest, text.size());
}

void append_qualified(std::string& out, const Field& field, std::string_view name, const Submission& submission) {
  const std::string value = with_line_ends(raw_value(field), "\r\n", "\n");
  if (value.size() <= max_smtpd_value) {
    const std::string qualified = append_domain(value, submission.host, submission.escapes_in_quotes);
    // smtpd will process this field again. A change that it would change once more is of no use ("To:(x)" becomes "To:(@hostx)"
    // and so on).
    if (qualified != value && name.size() + 1 + longest_line(qualified) <= submission.max_line &&
        append_domain(qualified, submission.host, submission.escapes_in_quotes) == qualified) {
      out += name;
      out += ':';
      out += with_line_ends(qualified, "\n", "\r\n");
      return;
    }
  }
  out += field.raw;
}

}  // namespace

std::string append_domain(std::string_view value, std::string_view host, bool escapes_in_quotes) {
  std::string out;
  Reader reader;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value[i] == '\n') continue;
    reader.read(value[i], escapes_in_quotes);
    if (value[i] != ',' || !reader.plain()) continue;
    append_address(out, value.substr(begin, i - begin), host);
    out += ',';
    begin = i + 1;
  }
  append_address(out, value.substr(begin), host);
  return out;
}

std::optional<std::string> as_submitted(std::string_view head, const Submission& submission) {
  const HeaderSection section = parse_headers(head);
  std::string out;
  bool has_date = submission.date.empty();
  bool has_message_id = submission.message_id.empty();
  for (const Field& field : section.fields) {
    const std::string_view name =
        field.raw.substr(0, field.raw.find(':'));  // for smtpd a blank before the colon belongs to the name
    if (name.size() == field.raw.size() || name.front() == ' ' || name.front() == '\t') return std::nullopt;
    if (iequals(name, "Bcc")) continue;
    if (iequals(name, "Date")) has_date = true;
    if (iequals(name, "Message-ID")) has_message_id = true;
    const bool addresses = iequals(name, "From") || iequals(name, "To") || iequals(name, "Cc");
    const auto read = static_cast<std::size_t>(field.raw.data() - head.data());
    if (addresses && out.size() < read + max_growth) append_qualified(out, field, name, submission);
    else out += field.raw;
  }
  if (!has_date) out += make_field("Date", submission.date);
  if (!has_message_id) out += make_field("Message-ID", submission.message_id);
  if (out == head) return std::nullopt;
  return out;
}

// The date follows the first line that ends in ';'. That line may end with a name that the client chose; then another line stands
// before the date. If the first line of the client begins with a blank, it continues the field.
std::string_view received_date(std::string_view head, std::string_view msgid) {
  for (const Field& field : parse_headers(head).fields) {
    if (!iequals(field.name, "Received")) continue;
    const std::size_t id = field.raw.find(" id " + std::string(msgid));
    if (msgid.empty() || id == std::string_view::npos) return {};
    for (std::size_t lf = field.raw.find('\n', id); lf != std::string_view::npos; lf = field.raw.find('\n', lf + 1)) {
      const std::string_view next = field.raw.substr(lf + 1);
      if (!trim(field.raw.substr(0, lf)).ends_with(';') || next.starts_with("\tfor <")) continue;
      const std::string_view date = trim(next.substr(0, next.find('\n')));
      return date.size() <= max_date ? date : std::string_view{};
    }
    return {};
  }
  return {};
}

}  // namespace mailbridge::mail
