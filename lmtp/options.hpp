// The table of lda2lmtp's options: the command line, the keys of the configuration file, their validators, --help, and the list
// in lda2lmtp(8) all come from it.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "lmtp/addressing.hpp"
#include "lmtp/agent.hpp"

namespace mailbridge::lmtp {

// What argv asks for besides a delivery: --help, --version.
struct Text {
  std::string text;
};

// The fault is one line.
Result<std::variant<Request, Text>> read_request(const std::vector<std::string>& argv, const Environment& environment);

// mdoc(7).
std::string options_manual();

}  // namespace mailbridge::lmtp
