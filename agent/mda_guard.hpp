// Tells whether smtpd still waits for this agent.
//
// smtpd's child sets alarm(300) and becomes `sh -c "mail.mda …"`, and mail.mda starts the agent with system(3). After 300 seconds
// the alarm ends only that child. smtpd notes a temporary failure and will deliver again, while the agent lives on under the same
// parent. But then mail.mda has another parent, or is gone. The guard compares this with the state at its start. So an agent also
// delivers if it is run by hand, by init or in a container, where 1 is an ordinary parent.
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

  // Looks for mail.mda among the ancestors, from `parent` (getppid()) upwards. If there is none, or if the system tells nothing
  // about other processes, refusal() is always empty.
  explicit MdaGuard(pid_t parent, LookUp look_up = platform::process);

  // Why the delivery is no longer wanted. Empty while it is.
  std::string refusal() const;

 private:
  LookUp look_up_;
  pid_t pid_ = 0;
  std::optional<platform::Process> mda_;
};

}  // namespace mailbridge::agent
