// FreeBSD. Not run yet: tests/platform compiles it against declarations like FreeBSD's.
#include <sys/types.h>
// Before the two headers that need it.
#include <sys/sysctl.h>
#include <sys/user.h>

#include "platform/platform.hpp"
#include "platform/system/plain.hpp"

namespace mailbridge::platform {

// Capsicum is not used: its capability mode refuses connect(2) (ECAPMODE), and each scan needs a new connection.
Result<void> confine(const std::vector<std::string>&) {
  return fail(Errc::unsupported, "Capsicum does not let a process connect sockets");
}

tl::expected<int, std::error_code> nameless_file(const std::string& directory) { return plain::nameless_file(directory); }

std::optional<Process> process(pid_t id) {
  const int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, id};
  kinfo_proc info{};
  std::size_t size = sizeof info;
  if (sysctl(name, 4, &info, &size, nullptr, 0) != 0 || size < sizeof info) return std::nullopt;
  return Process{info.ki_comm, info.ki_ppid, std::to_string(info.ki_start.tv_sec) + "." + std::to_string(info.ki_start.tv_usec)};
}

void look_names_up_without_modules() {}  // on FreeBSD a statically linked program loads no modules

void choose_port_when_connecting(int) {}

int connect_outcome(int socket, const sockaddr*, socklen_t) { return plain::connect_outcome(socket); }

std::string_view run_as_user() { return "chroot -u USER -g GROUP -G GROUP /"; }

}  // namespace mailbridge::platform
