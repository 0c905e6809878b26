// Texts made of a table of options: --help, and the list in the manual page.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "options/option_table.hpp"

namespace mailbridge::options {

// The options as an mdoc(7) list, in the order of the table, without --help. In descriptions `text` between backquotes is
// literal, --name is another option, and a line end begins a paragraph. The default is added, and whether an option may be given
// several times.
std::string manual_list(std::string_view program, const std::vector<OptionText>& options);

// The first sentence of a description, without its markup.
std::string first_sentence(std::string_view description);

// The text of --help.
std::string help(const OptionTable& table);

}  // namespace mailbridge::options
