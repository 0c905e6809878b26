// What lda2lmtp was asked to do: argv, the environment smtpd gives to agents, a configuration file.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "lmtp/agent.hpp"

namespace mailbridge::lmtp {

struct Environment {
  std::optional<std::string> sender;     // SENDER; empty for the null sender
  std::optional<std::string> recipient;  // RECIPIENT
};

// What argv asks for besides a delivery: --help, --version.
struct Text {
  std::string text;
};

// Options as in lda2lmtp(8). The fault is one line.
Result<std::variant<Request, Text>> read_request(const std::vector<std::string>& argv, const Environment& environment);

}  // namespace mailbridge::lmtp
