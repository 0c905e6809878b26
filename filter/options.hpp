// The table of filter-mailbridge's options: the command line, the keys of the configuration file, their validators, --help, and
// the list in filter-mailbridge(8) all come from it.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "filter/settings.hpp"
#include "options/option_table.hpp"

namespace mailbridge::filter {

// The text that argv asks for: --help, --version.
struct Text {
  std::string text;
};

// The fault is one line.
Result<std::variant<Settings, Text>> read_settings(const std::vector<std::string>& argv);

// Reads options as Settings::given has them, from a recording for instance. Without any the settings are the defaults.
Result<Settings> read_settings(const std::vector<GivenOption>& given);

std::string describe_options(options::Description description);

}  // namespace mailbridge::filter
