#include "options/manual.hpp"

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <utility>

#include "base/text.hpp"

namespace mailbridge::options {
namespace {

// The position at which the first sentence ends.
std::size_t sentence(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') return i;
    if (text[i] == '.' && (i + 1 == text.size() || text[i + 1] == ' ' || text[i + 1] == '\n')) return i + 1;
  }
  return text.size();
}

class Mdoc {
 public:
  std::string page;

  // Writes a macro line. `punctuation` follows as an argument of its own.
  void macro(std::string_view line, std::string_view punctuation = {}) {
    end_line();
    page.append(line);
    for (const char c : punctuation) page.append(" ").append(1, c);
    page += '\n';
  }

  void text(std::string_view description) {
    while (!description.empty()) {
      const std::size_t end = sentence(description);
      words(description.substr(0, end));
      end_line();
      description.remove_prefix(end);
      if (description.starts_with('\n')) macro(".Pp");
      while (!description.empty() && (description[0] == ' ' || description[0] == '\n')) description.remove_prefix(1);
    }
  }

 private:
  void words(std::string_view text) {
    while (!text.empty()) {
      const bool literal = text[0] == '`';
      const std::size_t close = literal ? text.find('`', 1) : text.find(' ');
      std::string_view word = text.substr(0, close);
      text.remove_prefix(close == std::string_view::npos ? text.size() : close);
      if (literal) {
        word.remove_prefix(1);
        if (!text.empty()) text.remove_prefix(1);
        marked(".Li " + quoted(word), text);
      } else if (word.starts_with("--")) {
        const std::size_t name = word.find_last_not_of(".,;:)") + 1;
        macro(".Fl " + std::string(word.substr(1, name - 1)), word.substr(name));
      } else if (!word.empty()) {
        plain(word);
      }
      if (text.starts_with(' ')) text.remove_prefix(1);
    }
  }

  // Writes a literal, with the punctuation that follows it without a blank.
  void marked(const std::string& line, std::string_view& text) {
    const std::size_t blank = std::min(text.find(' '), text.size());
    macro(line, text.substr(0, blank));
    text.remove_prefix(blank);
  }

  static std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"') out += '"';
      out += c;
      if (c == '\\') out += 'e';
    }
    return out + '"';
  }

  void plain(std::string_view word) {
    if (column_ + word.size() > 78) end_line();
    if (column_ > 0) page += ' ';
    page.append(word);
    column_ += word.size() + 1;
  }

  void end_line() {
    if (column_ > 0) page += '\n';
    column_ = 0;
  }

  std::size_t column_ = 0;
};

// The type of a value in mdoc(7): a word in small letters is written as it is (Cm), another one stands for a value (Ar).
std::string value(std::string_view type) {
  std::string out;
  std::string_view macro;
  while (!type.empty()) {
    const std::string_view word = type.substr(0, type.find('|'));
    type.remove_prefix(std::min(type.size(), word.size() + 1));
    const bool stands_for_something = std::any_of(word.begin(), word.end(), [](unsigned char c) { return std::isupper(c); });
    const std::string_view wanted = stands_for_something ? " Ar" : " Cm";
    if (!out.empty()) out += " |";
    if (std::exchange(macro, wanted) != wanted) out += wanted;
    out.append(" ").append(lower(word));
  }
  return out;
}

}  // namespace

std::string first_sentence(std::string_view description) {
  std::string text(description.substr(0, sentence(description)));
  if (text.ends_with('.')) text.pop_back();
  std::erase(text, '`');
  return text;
}

std::string manual_list(std::string_view, const std::vector<OptionText>& options) {
  Mdoc mdoc;
  mdoc.macro(".Bl -tag -width Ds");
  for (const OptionText& option : options) {
    if (option.name == "help") continue;
    std::string item = ".It Fl ";
    if (option.letter != 0) item.append(1, option.letter).append(" , ");
    item.append("-").append(option.name);
    if (option.takes == OptionText::optional_value) item += " Op";
    if (option.takes != OptionText::nothing) item += value(option.type);
    mdoc.macro(item);
    mdoc.text(option.text);
    if (option.takes != OptionText::nothing && !option.default_value.empty())
      mdoc.text("The default is `" + std::string(option.default_value) + "`.");
    if (option.takes == OptionText::values) mdoc.text("May be given several times; an array in the configuration file.");
  }
  mdoc.macro(".El");
  return mdoc.page;
}

std::string help(const OptionTable& table) {
  constexpr std::size_t column = 42;
  std::string text(table.about);
  text.append("\nusage: ").append(table.program).append(" [option ...]\n\n");
  for (const OptionText& option : table.texts()) {
    std::string line = option.letter == 0 ? "      " : std::string("  -") + option.letter + ", ";
    line.append("--").append(option.name);
    if (!option.type.empty()) line.append(" ").append(option.type);
    line.resize(std::max(line.size() + 2, column), ' ');
    line.append(first_sentence(option.text));
    if (!option.default_value.empty()) line.append(" [").append(option.default_value).append("]");
    text.append(line).append("\n");
  }
  return text;
}

}  // namespace mailbridge::options
