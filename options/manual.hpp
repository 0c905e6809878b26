// What a table of options says of itself: --help, and the list in the manual page.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "options/option_table.hpp"

namespace mailbridge::options {

// The options as an mdoc(7) list, in the order of their declaration; all but --help. In descriptions, `text` between backquotes
// is literal, --name another option, a line end begins a paragraph. The default, and that an option may be given several times,
// are added.
std::string manual_list(std::string_view program, const std::vector<OptionText>& options);

// Of a description, without its markup.
std::string first_sentence(std::string_view description);

// The text of --help.
std::string help(const OptionTable& table);

}  // namespace mailbridge::options
