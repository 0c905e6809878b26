#include "options/check_keys.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/text.hpp"

namespace mailbridge::options {
namespace {

constexpr std::size_t max_shown = 300;

// The lowest three bits of a mode, as ls(1) shows them.
std::string letters(unsigned mode) {
  return {(mode & 4) != 0 ? 'r' : '-', (mode & 2) != 0 ? 'w' : '-', (mode & 1) != 0 ? 'x' : '-'};
}

std::string line(const std::string& path, const std::string& what) { return header_line(path + ": " + what, max_shown) + "\n"; }

}  // namespace

CheckedKeys check_keys(const std::string& path, const Result<lmtp::MarkKeys>& keys,
                       const std::function<std::string(unsigned)>& owner, const std::function<std::string(unsigned)>& group) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return {false, line(path, std::strerror(errno))};
  const std::string access = owner(status.st_uid) + " (" + letters(status.st_mode >> 6) + "), " + group(status.st_gid) + " (" +
                             letters(status.st_mode >> 3) + "), others (" + letters(status.st_mode) + ")";
  if (!keys) return {false, line(path, keys.error().what + "; " + access)};
  CheckedKeys checked;
  std::string names;
  for (const std::string& key : keys->keys()) {
    names += (names.empty() ? "key " : ", then key ") + lmtp::MarkKeys::fingerprint(key);
    const std::string weakness = lmtp::MarkKeys::weakness(key);
    if (weakness.empty()) continue;
    checked.good = false;
    checked.text += line(path, "a key " + weakness + "; openssl rand -hex 32 makes a better one");
  }
  if ((status.st_mode & 022) != 0) {
    checked.good = false;
    checked.text += line(path, "others than its owner can change it; chmod go-w " + path);
  }
  checked.text += line(path, std::string(checked.good ? "OK, " : "") + names + "; " + access);
  if ((status.st_mode & 04) != 0)
    checked.text += "    Everybody on this host can read it, which is right only where mail is delivered as each recipient.\n";
  return checked;
}

}  // namespace mailbridge::options
