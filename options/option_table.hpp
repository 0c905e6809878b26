// The options of a program as a constant table. Reading it costs next to nothing, which matters for a program that starts once
// for each mail.
//
// Options are written in the usual ways: --name VALUE, --name=VALUE, -l VALUE, -lVALUE, and a flag --name. The options --help,
// --version and --config FILE have no row.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace mailbridge::options {

// The texts of an option, for --help and the manual page (options/manual.hpp).
struct OptionText {
  char letter;  // of its short form; 0: it has none
  std::string_view name;
  std::string_view type;  // the name of its value, as "FILE" or "one|other"; empty for a flag
  enum Takes { nothing, value, optional_value, values } takes;
  std::string_view default_value;  // is taken if the option is not given; empty: there is none
  std::string_view text;
};

// A text made of a program's options: --help, the list in its manual page (options/manual.hpp), or its completion
// (options/completion.hpp).
using Description = std::string (*)(std::string_view program, const std::vector<OptionText>& options);

struct Option : OptionText {
  // Stores a value in the struct that was given to read_table(), or returns what is wrong with it. The value of a flag is "true"
  // or "false".
  std::string (*take)(void* values, std::string_view value);
  bool in_file = true;  // a configuration file may have it as a key
};

struct OptionTable {
  std::string_view program;
  std::string_view about;  // one sentence
  std::span<const Option> options;

  // The texts of all options, --help, --version and --config included.
  std::vector<OptionText> texts() const;
};

// Reads argv without its first word, then the configuration file that it names. A word that begins with '-' is no value, unless
// it holds '@': with `-s %{sender}` in smtpd.conf a stranger chooses that word, and must not be able to choose our options.
//
// The result is nothing if the program is to go on; or a text for standard output, after which it is to end (--help, --version);
// or a fault of one line: "--timeout: …" for argv, "FILE:LINE: timeout: …" for the file. `given` is called for each value that
// argv or the file gives.
using Given = std::function<void(const Option& option, std::string_view value)>;
Result<std::optional<std::string>> read_table(const OptionTable& table, const std::vector<std::string>& argv, void* values,
                                              const Given& given = {});

}  // namespace mailbridge::options
