#include "policy/spam_headers.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <string>

#include "base/text.hpp"

namespace mailbridge::policy {
namespace {

using Headers = std::vector<rspamd::AddHeader>;

constexpr int at_top = 0;
constexpr int at_end = -1;
constexpr double max_stars = 32;
constexpr std::size_t max_status_line = 68;  // bytes, as in filter-rspamd
constexpr std::size_t max_action = 100;

// A number as std::to_chars() writes it with these arguments. The longest double in fixed notation has 309 digits before the
// point.
template <class... Format>
std::string number(Format... format) {
  std::array<char, 400> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), format...).ptr};
}

std::string fixed(double value, int digits) { return number(value, std::chars_format::fixed, digits); }

// A number as Go prints a float32 with %v: the shortest form, and without an exponent if that would be from -4 to 20.
std::string shortest(double value) {
  const auto single = static_cast<float>(value);
  const float size = std::abs(single);
  const bool plain = size == 0 || (size >= 1e-4F && size < 1e21F);
  return number(single, plain ? std::chars_format::fixed : std::chars_format::scientific);
}

Headers milter(const rspamd::Verdict& verdict, Spam spam) {
  if (verdict.action == "add header" && !verdict.spam_headers.empty() && (spam == Spam::junk || verdict.no_action)) {
    Headers headers = verdict.spam_headers;
    for (rspamd::AddHeader& header : headers) header.order = at_end;
    return headers;
  }
  if (spam == Spam::junk) return {{"X-Spam", "Yes", at_end}};
  return {};
}

void add_scanner(Headers& headers, Duration scan_time) {
  headers.push_back({"X-Spam-Scanner", "filter-mailbridge", at_end});
  const double seconds = std::chrono::duration<double>(scan_time).count();
  headers.push_back({"X-Spam-Scan-Time", number(seconds, std::chars_format::general, 3), at_end});
}

Headers rspamc(const rspamd::Verdict& verdict, Spam spam, Duration scan_time) {
  Headers headers;
  add_scanner(headers, scan_time);
  if (spam != Spam::no) headers.push_back({"X-Spam", "yes", at_end});
  headers.push_back({"X-Spam-Action", header_line(verdict.action, max_action), at_end});
  headers.push_back({"X-Spam-Score", fixed(verdict.score, 2) + " / " + fixed(verdict.required_score, 2), at_end});
  const double stars = std::ceil(std::clamp(verdict.score, 0.0, max_stars));
  headers.push_back({"X-Spam-Level", std::string(static_cast<std::size_t>(stars), '*'), at_end});
  std::string symbols;
  for (const rspamd::Symbol& symbol : verdict.symbols) {
    if (!symbols.empty()) symbols += ",\n\t";
    symbols += symbol.name;
  }
  headers.push_back({"X-Spam-Symbols", std::move(symbols), at_end});
  return headers;
}

// Lines are broken between symbols; the last symbol of a line has no comma behind it.
std::string status(const rspamd::Verdict& verdict) {
  std::map<std::string_view, double> sorted;
  for (const rspamd::Symbol& symbol : verdict.symbols) sorted[symbol.name] = symbol.score;
  std::string text = "Yes, score=" + fixed(static_cast<float>(verdict.score), 3) +
                     " required=" + fixed(static_cast<float>(verdict.required_score), 3);
  std::string line = "tests=[";
  bool first = true;
  for (const auto& [name, score] : sorted) {
    const std::string symbol = std::string(name) + "=" + fixed(static_cast<float>(score), 3);
    if (!line.empty() && line.size() + symbol.size() > max_status_line) {
      text += "\n\t" + line;
      line.clear();
    }
    if (!line.empty() && !first) line += ", ";
    line += symbol;
    first = false;
  }
  return text + "\n\t" + line + "]";
}

Headers filter_rspamd(const rspamd::Verdict& verdict, Spam spam) {
  if (spam != Spam::junk) return {};
  Headers headers;  // each is added on top of those before it
  if (!verdict.symbols.empty()) headers.push_back({"X-Spam-Status", status(verdict), at_top});
  headers.push_back({"X-Spam-Score", shortest(verdict.score) + " / " + shortest(verdict.required_score), at_top});
  headers.push_back({"X-Spam", "yes", at_top});
  return headers;
}

}  // namespace

Result<SpamHeaders> parse_spam_headers(std::string_view word) {
  if (word == "milter") return SpamHeaders::milter;
  if (word == "rspamc") return SpamHeaders::rspamc;
  if (word == "filter-rspamd") return SpamHeaders::filter_rspamd;
  return fail(Errc::malformed, "one of milter, rspamc, filter-rspamd is wanted");
}

Headers spam_headers(const Marking& marking, const rspamd::Verdict& verdict, Spam spam) {
  switch (marking.set) {
    case SpamHeaders::milter:
      return milter(verdict, spam);
    case SpamHeaders::rspamc:
      return rspamc(verdict, spam, marking.scan_time);
    case SpamHeaders::filter_rspamd:
      return filter_rspamd(verdict, spam);
  }
  return {};
}

Headers spam_headers(const Marking& marking, std::string_view error) {
  Headers headers;
  if (marking.set == SpamHeaders::rspamc) add_scanner(headers, marking.scan_time);
  headers.push_back({"X-Spam-Error", std::string(error), at_end});
  return headers;
}

}  // namespace mailbridge::policy
