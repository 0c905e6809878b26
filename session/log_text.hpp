// Values as the log line of a mail writes them.
#pragma once

#include <string>
#include <vector>

#include "base/conversation.hpp"
#include "rspamd/verdict.hpp"

namespace mailbridge::session {

// Whole milliseconds.
std::string milliseconds(Duration duration);

// "15.00"; numbers that are no scores stay short in their shortest form.
std::string decimal(double value);

// "NAME(4.00),OTHER(-1.50)": those that count most, five at most.
std::string top_symbols(const std::vector<rspamd::Symbol>& symbols);

}  // namespace mailbridge::session
