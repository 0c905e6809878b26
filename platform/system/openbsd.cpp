// OpenBSD. Not run yet: tests/platform compiles it against declarations like OpenBSD's, and counts its calls.
#include <sys/types.h>
// Before the two headers that need it.
#include <sys/sysctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "platform/platform.hpp"
#include "platform/system/plain.hpp"

namespace mailbridge::platform {
namespace {

Result<void> cannot(const char* what) { return fail(Errc::unsupported, std::string(what) + ": " + std::strerror(errno)); }

}  // namespace

// connect(2) to a unix socket needs the promise "w" for its path, and after SIGHUP other sockets may be needed. So files
// elsewhere can be neither created nor removed, but existing files that the filter's account may write stay writable.
Result<void> confine(const std::vector<std::string>& writable) {
  if (unveil("/", "rw") != 0) return cannot("unveil");
  for (const std::string& directory : writable) {
    if (unveil(directory.c_str(), "rwc") != 0 && errno != ENOENT) return cannot("unveil");
  }
  // "error": a system call that is missing here fails. Without it the call would end the filter, and that ends smtpd.
  if (pledge("error stdio rpath wpath cpath inet unix dns", nullptr) != 0) return cannot("pledge");
  return {};
}

tl::expected<int, std::error_code> nameless_file(const std::string& directory) { return plain::nameless_file(directory); }

std::optional<Process> process(pid_t id) {
  const int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, id, static_cast<int>(sizeof(kinfo_proc)), 1};
  kinfo_proc info{};
  std::size_t size = sizeof info;
  if (sysctl(name, 6, &info, &size, nullptr, 0) != 0 || size < sizeof info) return std::nullopt;
  return Process{info.p_comm, info.p_ppid, std::to_string(info.p_ustart_sec) + "." + std::to_string(info.p_ustart_usec)};
}

void look_names_up_without_modules() {}  // OpenBSD has no such modules

void choose_port_when_connecting(int) {}

int connect_outcome(int socket, const sockaddr*, socklen_t) { return plain::connect_outcome(socket); }

std::string_view run_as_user() { return "chroot -u USER -g GROUP /"; }

}  // namespace mailbridge::platform
