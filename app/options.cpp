#include "app/options.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1  // Debian's shared libtomlplusplus would cost the agent a third of its start
#include <toml++/toml.h>

#include "base/text.hpp"

namespace mailbridge::app {
namespace {

constexpr std::size_t max_shown = 200;  // one line of log, and of smtpd's 254 bytes for an agent's last words

// What CLI11 says, without the name it begins with.
std::string_view without_name(std::string_view what, const std::string& name) {
  if (what.starts_with(name + ": ")) what.remove_prefix(name.size() + 2);
  return what;
}

std::optional<std::string> scalar(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* number = node.as_floating_point()) {
    char digits[32];  // std::to_chars(double) would have the agent load libm, a twentieth of its start
    std::snprintf(digits, sizeof digits, "%.15g", number->get());
    return std::string(digits);
  }
  return std::nullopt;
}

class File {
 public:
  explicit File(const std::string& path) : path_(path) {}

  Result<void> apply_to(CLI::App& app) const {
    const auto text = read_file(path_);
    if (!text) return tl::unexpected(text.error());
    const toml::parse_result parsed = toml::parse(*text, path_);
    if (!parsed) return wrong(parsed.error().source(), {}, parsed.error().description());
    for (const auto& [key, node] : parsed.table()) {
      if (auto applied = apply(app, std::string(key.str()), node); !applied) return applied;
    }
    return {};
  }

 private:
  tl::unexpected<Fault> wrong(const toml::source_region& at, std::string_view key, std::string_view what) const {
    std::string line = path_ + ":" + std::to_string(at.begin.line) + ": ";
    if (!key.empty()) line.append(key).append(": ");
    line += what;
    return fail(Errc::malformed, printable(line, max_shown));
  }

  Result<void> apply(CLI::App& app, const std::string& key, const toml::node& node) const {
    const std::string name = "--" + key;
    CLI::Option* option = app.get_option_no_throw(name);
    if (!option || !option->get_configurable()) return wrong(node.source(), key, "no such option");
    std::vector<std::string> values;
    if (const auto* array = node.as_array(); array && option->get_items_expected_max() > 1) {
      for (const toml::node& item : *array) {
        auto value = scalar(item);
        if (!value) return wrong(item.source(), key, "an array of plain values is wanted");
        values.push_back(std::move(*value));
      }
    } else if (auto value = scalar(node)) {
      values.push_back(std::move(*value));
    } else {
      return wrong(node.source(), key, "one plain value is wanted");
    }
    if (option->count() > 0) return {};
    try {
      for (std::string& value : values) option->add_result(std::move(value));
      option->run_callback();
    } catch (const CLI::ParseError& error) {
      return wrong(node.source(), key, without_name(error.what(), name));
    }
    return {};
  }

  const std::string& path_;
};

}  // namespace

Result<std::string> read_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  std::string text;
  char block[4096];
  while (file) {
    const std::size_t n = std::fread(block, 1, sizeof block, file.get());
    text.append(block, n);
    if (n < sizeof block) break;
  }
  if (!file || std::ferror(file.get()) != 0)
    return fail(Errc::malformed, printable(path + ": " + std::strerror(errno), max_shown));
  return text;
}

Result<std::optional<std::string>> read_options(CLI::App& app, int argc, const char* const* argv) {
  std::string file;
  app.add_option("--config", file, "TOML file; its keys are the names of the options")->type_name("FILE")->configurable(false);
  app.set_version_flag("--version", MAILBRIDGE_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return app.help();
  } catch (const CLI::CallForVersion&) {
    return app.get_name() + " " + app.version() + "\n";
  } catch (const CLI::ParseError& error) {
    return fail(Errc::malformed, printable(error.what(), max_shown));
  }
  if (!file.empty()) {
    if (auto applied = File(file).apply_to(app); !applied) return tl::unexpected(std::move(applied.error()));
  }
  return std::nullopt;
}

}  // namespace mailbridge::app
