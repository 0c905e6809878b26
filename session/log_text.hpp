// Values as the log line of a mail writes them.
#pragma once

#include <string>
#include <vector>

#include "base/conversation.hpp"
#include "rspamd/verdict.hpp"

namespace mailbridge::session {

// Whole milliseconds.
std::string milliseconds(Duration duration);

// "15.00"; from 1e15 on in the shortest form.
std::string decimal(double value);

// "NAME(4.00),OTHER(-1.50)": the five with the largest absolute scores.
std::string top_symbols(const std::vector<rspamd::Symbol>& symbols);

}  // namespace mailbridge::session
