// For the tests of linux.cpp.
#pragma once

#include "platform/platform.hpp"

namespace mailbridge::platform {

// As process(), with another directory in place of /proc.
std::optional<Process> process_in(const std::string& proc, pid_t id);

}  // namespace mailbridge::platform
