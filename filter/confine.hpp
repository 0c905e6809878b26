// What a filter that was taken over by hostile content could still do is made small (landlock(7)).
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace mailbridge::filter {

// From now on this process and its threads start no program, and create, write, remove and rename files beneath these directories
// only. Reading and sockets stay as they are. A directory that is missing is passed over. The fault: this kernel cannot, or may
// not (it wants Linux 5.13 with Landlock enabled).
Result<void> confine(const std::vector<std::string>& writable);

}  // namespace mailbridge::filter
