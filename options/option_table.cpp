#include "options/option_table.hpp"

#include <algorithm>
#include <utility>

#include "base/nearest.hpp"
#include "base/text.hpp"
#include "options/manual.hpp"
#include "options/toml_file.hpp"

namespace mailbridge::options {
namespace {

constexpr std::size_t max_shown = 200;

constexpr OptionText help_option{0, "help", "", OptionText::nothing, "", "Write this to standard output and exit."};
constexpr OptionText version_option{0, "version", "", OptionText::nothing, "", "Write the version to standard output and exit."};
constexpr OptionText config_option{
    0, "config", "FILE", OptionText::value, "", "Read options from a TOML file; its keys are their names. What argv gives wins."};

// A word of argv: an option, and its value if the same word holds it.
struct Word {
  std::string_view name;  // the name with its dashes
  std::optional<std::string_view> value = std::nullopt;
};

Word split(std::string_view word) {
  if (word.starts_with("--")) {
    const std::size_t equals = word.find('=');
    if (equals != std::string_view::npos) return {word.substr(0, equals), word.substr(equals + 1)};
    return {word};
  }
  if (word.starts_with('-') && word.size() > 2) return {word.substr(0, 2), word.substr(2)};
  return {word};
}

bool is(const OptionText& option, std::string_view name) {
  return (name.starts_with("--") && name.substr(2) == option.name) ||
         (name.size() == 2 && name[0] == '-' && option.letter != 0 && name[1] == option.letter);
}

bool is_value(std::string_view word) {
  return !word.starts_with('-') || word.size() == 1 || word.find('@') != std::string_view::npos;
}

tl::unexpected<Fault> wrong(const std::string& what) { return fail(Errc::malformed, printable(what, max_shown)); }

std::string no_such_word(const OptionTable& table, const std::string& word) {
  std::vector<std::string_view> names;
  for (const OptionText& text : table.texts()) names.push_back(text.name);
  return "no such option: " + word + (word.starts_with("--") ? suggestion(std::string_view(word).substr(2), names, "--") : "");
}

// Goes through the words of argv.
class Words {
 public:
  explicit Words(const std::vector<std::string>& argv) : argv_(argv) {}

  std::optional<Word> next() {
    if (at_ == argv_.size()) return std::nullopt;
    last_ = split(argv_[at_++]);
    return last_;
  }

  // The value of the last word that next() gave; nothing if it has none.
  std::optional<std::string_view> value() {
    if (last_.value || at_ == argv_.size() || !is_value(argv_[at_])) return last_.value;
    return argv_[at_++];
  }

 private:
  const std::vector<std::string>& argv_;
  std::size_t at_ = 1;
  Word last_;
};

Result<void> read_config(const OptionTable& table, const std::string& path, void* values, std::vector<bool>& given,
                         const Given& tell) {
  std::vector<bool> in_file(table.options.size());
  const auto row = [&](std::string_view key) {
    return std::find_if(table.options.begin(), table.options.end(),
                        [&](const Option& option) { return option.in_file && option.name == key; });
  };
  const auto kind = [&](std::string_view key) {
    const auto option = row(key);
    return option == table.options.end()                ? TomlKey::unknown
           : option->takes == OptionText::Takes::values ? TomlKey::several
                                                        : TomlKey::one;
  };
  const auto take = [&](std::string_view key, std::vector<std::string> written) -> std::string {
    const auto option = row(key);
    const auto number = static_cast<std::size_t>(option - table.options.begin());
    if (given[number]) return {};
    in_file[number] = true;
    if (written.empty()) return "at least one value is wanted";
    for (const std::string& value : written) {
      if (option->takes == OptionText::nothing && value != "true" && value != "false")
        return "true or false is wanted, not " + value;
      if (std::string fault = option->take(values, value); !fault.empty()) return fault;
      if (tell) tell(*option, value);
    }
    return {};
  };
  std::vector<std::string_view> names;
  for (const Option& option : table.options) {
    if (option.in_file) names.push_back(option.name);
  }
  auto done = read_toml(path, names, kind, take);
  for (std::size_t i = 0; i < given.size(); ++i) given[i] = given[i] || in_file[i];
  return done;
}

}  // namespace

std::vector<OptionText> OptionTable::texts() const {
  std::vector<OptionText> all(options.begin(), options.end());
  all.insert(all.end(), {config_option, help_option, version_option});
  return all;
}

Result<std::optional<std::string>> read_table(const OptionTable& table, const std::vector<std::string>& argv, void* values,
                                              const Given& tell) {
  std::vector<bool> given(table.options.size());
  std::string config;
  Words words(argv);
  while (const auto word = words.next()) {
    const std::string name(word->name);
    if (is(help_option, name)) return help(table);
    if (is(version_option, name)) return std::string(table.program) + " " MAILBRIDGE_VERSION "\n";
    const bool names_file = is(config_option, name);
    const auto option =
        std::find_if(table.options.begin(), table.options.end(), [&](const Option& row) { return is(row, name); });
    if (!names_file && option == table.options.end()) return wrong(no_such_word(table, name));
    const auto takes = names_file ? OptionText::value : option->takes;
    const auto value = takes == OptionText::nothing ? word->value : words.value();
    if (!value && (takes == OptionText::value || takes == OptionText::values)) return wrong(name + ": a value is wanted");
    if (takes == OptionText::nothing && value && *value != "true" && *value != "false")
      return wrong(name + ": no value is wanted");
    if (names_file) {
      if (!config.empty()) return wrong(name + ": once is enough");
      config = *value;
      continue;
    }
    const auto number = static_cast<std::size_t>(option - table.options.begin());
    if (given[number] && takes != OptionText::values) return wrong(name + ": once is enough");
    given[number] = true;
    const std::string_view taken = value.value_or(takes == OptionText::nothing ? "true" : "");
    const std::string fault = option->take(values, taken);
    if (!fault.empty()) return wrong("--" + std::string(option->name) + ": " + fault);
    if (tell) tell(*option, taken);
  }
  if (!config.empty()) {
    if (auto done = read_config(table, config, values, given, tell); !done) return tl::unexpected(std::move(done.error()));
  }
  for (std::size_t i = 0; i < given.size(); ++i) {
    const Option& option = table.options[i];
    if (!given[i] && !option.default_value.empty()) option.take(values, option.default_value);
  }
  return std::nullopt;
}

}  // namespace mailbridge::options
