// argv, then a TOML file with the same names, by CLI11.
#pragma once

#include <optional>
#include <string>

#include "app/option_table.hpp"
#include "base/result.hpp"

namespace CLI {
class App;
}

namespace mailbridge::app {

// Adds --config FILE (and --version) to what `app` already has, reads argv, then the file: one key per option, spelled as the
// long name without its dashes; an array where an option takes several values. What argv gives wins over the file,
// which knows no option that is not configurable().
//
// Answers nothing (go on), or a text for standard output after which the program is to end (--help, --version), or what is wrong
// in one line: "--timeout: …" for argv, "FILE:LINE: timeout: …" for the file.
Result<std::optional<std::string>> read_options(CLI::App& app, int argc, const char* const* argv);

// Has --help show the first sentence of each option's description.
void shorten_help(CLI::App& app);

std::string describe(const CLI::App& app, Description description);

}  // namespace mailbridge::app
