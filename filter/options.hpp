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

// What argv asks for besides serving smtpd: --help, --version.
struct Text {
  std::string text;
};

// The fault is one line.
Result<std::variant<Settings, Text>> read_settings(const std::vector<std::string>& argv);

// As Settings::given of a recording has them.
Result<Settings> read_settings(const std::vector<GivenOption>& given);

std::string describe_options(options::Description description);

}  // namespace mailbridge::filter
