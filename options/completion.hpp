// Completion of a program's options in bash(1) and zsh(1), made from its table of options.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "options/option_table.hpp"

namespace mailbridge::options {

// Both return a whole script. The type of an option says how its value is completed: "FILE", "DIRECTORY", or words as
// "refuse|smtpd".
std::string bash_completion(std::string_view program, const std::vector<OptionText>& options);
std::string zsh_completion(std::string_view program, const std::vector<OptionText>& options);

}  // namespace mailbridge::options
