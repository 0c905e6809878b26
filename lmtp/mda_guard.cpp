#include "lmtp/mda_guard.hpp"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

namespace mailbridge::lmtp {

MdaGuard::MdaGuard(pid_t parent, std::string proc) : proc_(std::move(proc)) {
  constexpr int max_depth = 8;  // sh, and a wrapper script or two, stand between mail.mda and the agent
  for (int depth = 0; depth < max_depth && parent > 1; ++depth) {
    auto process = look_up(parent);
    if (!process) return;
    if (process->name == "mail.mda") {
      pid_ = parent;
      mda_ = std::move(process);
      return;
    }
    parent = process->parent;
  }
}

std::string MdaGuard::refusal() const {
  if (!mda_) return {};
  const auto now = look_up(pid_);
  if (!now || now->started != mda_->started) return "mail.mda has ended, so smtpd has given up on this delivery";
  if (now->parent != mda_->parent) return "mail.mda has lost its parent, so smtpd has given up on this delivery";
  return {};
}

// proc(5): pid (name) state ppid … with the start as field 22. The name may hold blanks and parentheses.
std::optional<MdaGuard::Process> MdaGuard::look_up(pid_t pid) const {
  const std::string path = proc_ + "/" + std::to_string(pid) + "/stat";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (!file) return std::nullopt;
  char block[1024];
  const std::string text(block, std::fread(block, 1, sizeof block, file.get()));
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return std::nullopt;
  Process process{text.substr(open + 1, close - open - 1), 0, {}};
  std::size_t at = close;
  for (int field = 3; field <= 22; ++field) {
    at = text.find(' ', at);
    if (at == std::string::npos) return std::nullopt;
    ++at;
    if (field == 4) process.parent = static_cast<pid_t>(std::strtol(text.c_str() + at, nullptr, 10));
  }
  process.started = text.substr(at, text.find(' ', at) - at);
  return process;
}

}  // namespace mailbridge::lmtp
