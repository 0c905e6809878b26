// Options as a constant table: reading it costs next to nothing, which a program that starts for each mail needs.
//
// Words are read as everywhere: --name VALUE, --name=VALUE, -l VALUE, -lVALUE, and a flag --name. --help, --version and --config
// FILE are there without a row.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace mailbridge::options {

// What a table says of an option, for --help and the manual page (options/manual.hpp).
struct OptionText {
  char letter;  // 0: none
  std::string_view name;
  std::string_view type;  // of its value, as "FILE" or "one|other"
  enum Takes { nothing, value, optional_value, values } takes;
  std::string_view default_value;  // taken when it is not given; empty: none
  std::string_view text;
};

// What is made of a program's options: its --help, its list in a manual page (options/manual.hpp), completion (options/completion.hpp).
using Description = std::string (*)(std::string_view program, const std::vector<OptionText>& options);

struct Option : OptionText {
  // Keeps a value in what read_table() is given for it, or says what is wrong with it. A flag's is "true" or "false".
  std::string (*take)(void* values, std::string_view value);
  bool in_file = true;
};

struct OptionTable {
  std::string_view program;
  std::string_view about;  // one sentence
  std::span<const Option> options;

  // With those that have no row.
  std::vector<OptionText> texts() const;
};

// argv without its first word, then the file. A word that begins with '-' is no value unless it holds '@': with `-s %{sender}` in
// smtpd.conf a stranger chooses that word, and must not choose our options.
//
// Answers nothing (go on), or a text for standard output after which the program is to end (--help, --version), or what is wrong
// in one line: "--timeout: …" for argv, "FILE:LINE: timeout: …" for the file. `given` is told of each value that was given and
// taken, by either.
using Given = std::function<void(const Option& option, std::string_view value)>;
Result<std::optional<std::string>> read_table(const OptionTable& table, const std::vector<std::string>& argv, void* values,
                                              const Given& given = {});

}  // namespace mailbridge::options
