#include "filter/confine.hpp"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace mailbridge::filter {
namespace {

// Since kernel 6.2, and not in every header: LANDLOCK_ACCESS_FS_TRUNCATE.
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

}  // namespace mailbridge::filter
