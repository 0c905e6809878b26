#include "agent/mda_guard.hpp"

#include <utility>

namespace mailbridge::agent {

MdaGuard::MdaGuard(pid_t parent, LookUp look_up) : look_up_(std::move(look_up)) {
  constexpr int max_depth = 8;  // between mail.mda and the agent are sh and perhaps one or two wrapper scripts
  for (int depth = 0; depth < max_depth && parent > 1; ++depth) {
    auto process = look_up_(parent);
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
  const auto now = look_up_(pid_);
  if (!now || now->started != mda_->started) return "mail.mda has ended, so smtpd has given up on this delivery";
  if (now->parent != mda_->parent) return "mail.mda has lost its parent, so smtpd has given up on this delivery";
  return {};
}

}  // namespace mailbridge::agent
