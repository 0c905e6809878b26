// Whether smtpd still waits for this agent.
//
// smtpd's child sets alarm(300) and becomes `sh -c "mail.mda …"`, and mail.mda starts the agent with system(3). At 300 seconds
// the alarm ends only that child: smtpd notes a temporary failure and will deliver again, while the agent lives on and its own
// parent does not change. What does change is mail.mda's parent, or mail.mda is gone. Compared with what was at the start, so
// that an agent run by hand, from init or in a container, where 1 is an ordinary parent, delivers.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>

#include "platform/platform.hpp"

namespace mailbridge::agent {

class MdaGuard {
 public:
  using LookUp = std::function<std::optional<platform::Process>(pid_t)>;

  // Looks for mail.mda among the ancestors, from `parent` (getppid()) up. Without one, or where the system says nothing of other
  // processes, nothing is ever refused.
  explicit MdaGuard(pid_t parent, LookUp look_up = platform::process);

  // Why the delivery is no longer wanted; empty while it is.
  std::string refusal() const;

 private:
  LookUp look_up_;
  pid_t pid_ = 0;
  std::optional<platform::Process> mda_;
};

}  // namespace mailbridge::agent
