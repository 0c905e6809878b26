#include "options/toml_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1  // Debian's shared libtomlplusplus would cost the agent a third of its start
#include <toml++/toml.h>

#include "base/nearest.hpp"
#include "base/text.hpp"

namespace mailbridge::options {
namespace {

constexpr std::size_t max_shown =
    200;  // bytes; fits into a log line, and into the 254 bytes of an agent's last line that smtpd keeps

std::optional<std::string> scalar(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* number = node.as_floating_point()) {
    char digits[32];  // with snprintf(), because std::to_chars(double) would make the filter load libm
    std::snprintf(digits, sizeof digits, "%.15g", number->get());
    return std::string(digits);
  }
  return std::nullopt;
}

tl::unexpected<Fault> wrong(const std::string& path, const toml::source_region& at, std::string_view key, std::string_view what) {
  std::string line = path + ":" + std::to_string(at.begin.line) + ": ";
  if (!key.empty()) line.append(key).append(": ");
  line += what;
  return fail(Errc::malformed, printable(line, max_shown));
}

}  // namespace

Result<std::string> read_file(const std::string& path) {
  const auto wrong_with = [&](const std::string& what) {
    return fail(Errc::malformed, printable(path + ": " + what, max_shown));
  };
  const int descriptor = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (descriptor < 0) return wrong_with(std::strerror(errno));
  const std::unique_ptr<const int, void (*)(const int*)> closed(&descriptor, [](const int* open) { close(*open); });
  struct stat status {};
  if (fstat(descriptor, &status) != 0) return wrong_with(std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return wrong_with(S_ISDIR(status.st_mode) ? std::strerror(EISDIR) : "not a regular file");
  std::string text;
  char block[4096];
  for (ssize_t n; (n = read(descriptor, block, sizeof block)) != 0;) {
    if (n < 0) return wrong_with(std::strerror(errno));
    text.append(block, static_cast<std::size_t>(n));
    if (text.size() > max_file) return wrong_with("larger than 16 MiB");
  }
  return text;
}

Result<void> read_toml(const std::string& path, const std::vector<std::string_view>& names,
                       const std::function<TomlKey(std::string_view key)>& kind,
                       const std::function<std::string(std::string_view key, std::vector<std::string> values)>& take) {
  const auto text = read_file(path);
  if (!text) return tl::unexpected(text.error());
  const toml::parse_result parsed = toml::parse(*text, path);
  if (!parsed) return wrong(path, parsed.error().source(), {}, parsed.error().description());
  for (const auto& [name, node] : parsed.table()) {
    const std::string_view key = name.str();
    const TomlKey wanted = kind(key);
    if (wanted == TomlKey::unknown) return wrong(path, node.source(), key, "no such option" + suggestion(key, names));
    std::vector<std::string> values;
    if (const auto* array = node.as_array(); array && wanted == TomlKey::several) {
      for (const toml::node& item : *array) {
        auto value = scalar(item);
        if (!value) return wrong(path, item.source(), key, "an array of plain values is wanted");
        values.push_back(std::move(*value));
      }
    } else if (auto value = scalar(node)) {
      values.push_back(std::move(*value));
    } else {
      return wrong(path, node.source(), key, "one plain value is wanted");
    }
    if (const std::string fault = take(key, std::move(values)); !fault.empty()) return wrong(path, node.source(), key, fault);
  }
  return {};
}

}  // namespace mailbridge::options
