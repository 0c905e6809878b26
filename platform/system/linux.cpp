// Linux with glibc: Landlock, O_TMPFILE, /proc.
#include "platform/system/linux.hpp"

#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <nss.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>

#include "platform/system/plain.hpp"

namespace mailbridge::platform {
namespace {

// LANDLOCK_ACCESS_FS_TRUNCATE: since kernel 6.2, and missing in some headers.
constexpr std::uint64_t truncate_access = 1U << 14;

constexpr std::uint64_t writing = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE;
constexpr std::uint64_t other_changes =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
    LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

Result<void> cannot(const char* what) { return fail(Errc::unsupported, std::string(what) + ": " + std::strerror(errno)); }

struct Descriptor {
  explicit Descriptor(long number) : fd(static_cast<int>(number)) {}
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  const int fd;
};

}  // namespace

Result<void> confine(const std::vector<std::string>& writable) {
  const long version = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return cannot("no Landlock");
  const std::uint64_t beneath = writing | (version >= 3 ? truncate_access : 0);
  landlock_ruleset_attr handled{};
  handled.handled_access_fs = beneath | other_changes;
  const Descriptor rules(syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0));
  if (rules.fd < 0) return cannot("landlock_create_ruleset");
  for (const std::string& directory : writable) {
    const Descriptor at(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (at.fd < 0) continue;
    landlock_path_beneath_attr rule{};
    rule.allowed_access = beneath;
    rule.parent_fd = at.fd;
    if (syscall(SYS_landlock_add_rule, rules.fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) return cannot("landlock_add_rule");
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return cannot("prctl");
  if (syscall(SYS_landlock_restrict_self, rules.fd, 0) != 0) return cannot("landlock_restrict_self");
  return {};
}

tl::expected<int, std::error_code> nameless_file(const std::string& directory) {
  const int descriptor = open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor >= 0) return descriptor;
  if (errno == EOPNOTSUPP || errno == EISDIR) return plain::nameless_file(directory);  // NFS, older overlays
  return tl::unexpected(std::error_code(errno, std::generic_category()));
}

// proc(5): pid (name) state ppid …; field 22 is the start, in clock ticks after boot. The name may hold blanks and parentheses.
std::optional<Process> process_in(const std::string& proc, pid_t id) {
  const std::string path = proc + "/" + std::to_string(id) + "/stat";
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0) return std::nullopt;
  char block[1024];  // one read(2) gives the whole line
  const ssize_t n = read(file.fd, block, sizeof block);
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

std::optional<Process> process(pid_t id) { return process_in("/proc", id); }

// glibc asks /etc/hosts and DNS by itself. The modules that nsswitch.conf(5) names are shared objects, and a statically linked
// program that loads them can crash (in libnss_myhostname it does).
void look_names_up_without_modules() { __nss_configure_lookup("hosts", "files dns"); }

void choose_port_when_connecting(int socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
}

// A second connect(2) tells the result of the first.
int connect_outcome(int socket, const sockaddr* address, socklen_t size) {
  return connect(socket, address, size) == 0 ? 0 : errno;
}

std::string_view run_as_user() { return "setpriv --reuid=USER --regid=GROUP --clear-groups"; }

}  // namespace mailbridge::platform
