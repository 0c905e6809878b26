#include "lmtp/mda_guard.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <string_view>
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
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  char block[1024];  // the kernel gives the whole line at once
  const ssize_t n = read(fd, block, sizeof block);
  close(fd);
  if (n <= 0) return std::nullopt;
  const std::string_view text(block, static_cast<std::size_t>(n));
  const std::size_t begin = text.find('(');
  const std::size_t end = text.rfind(')');
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return std::nullopt;
  Process process{std::string(text.substr(begin + 1, end - begin - 1)), 0, {}};
  std::size_t at = end;
  for (int field = 3; field <= 22; ++field) {
    at = text.find(' ', at);
    if (at == std::string_view::npos) return std::nullopt;
    ++at;
    if (field == 4) std::from_chars(text.data() + at, text.data() + text.size(), process.parent);
  }
  process.started = text.substr(at, text.find(' ', at) - at);
  return process;
}

}  // namespace mailbridge::lmtp
