#include "app/options.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "app/toml_file.hpp"
#include "base/text.hpp"

namespace mailbridge::app {
namespace {

constexpr std::size_t max_shown = 200;  // one line of log, and of smtpd's 254 bytes for an agent's last words

// What CLI11 says, without the name it begins with.
std::string_view without_name(std::string_view what, const std::string& name) {
  if (what.starts_with(name + ": ")) what.remove_prefix(name.size() + 2);
  return what;
}

Result<void> apply_file(CLI::App& app, const std::string& path) {
  const auto option_of = [&app](std::string_view key) {
    CLI::Option* option = app.get_option_no_throw("--" + std::string(key));
    return option && option->get_configurable() ? option : nullptr;
  };
  const auto kind = [&](std::string_view key) {
    const CLI::Option* option = option_of(key);
    return !option ? TomlKey::unknown : option->get_items_expected_max() > 1 ? TomlKey::several : TomlKey::one;
  };
  const auto take = [&](std::string_view key, std::vector<std::string> values) -> std::string {
    CLI::Option* option = option_of(key);
    if (option->count() > 0) return {};
    try {
      for (std::string& value : values) option->add_result(std::move(value));
      option->run_callback();
    } catch (const CLI::ParseError& error) {
      return std::string(without_name(error.what(), "--" + std::string(key)));
    }
    return {};
  };
  return read_toml(path, kind, take);
}

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
    if (auto applied = apply_file(app, file); !applied) return tl::unexpected(std::move(applied.error()));
  }
  return std::nullopt;
}

}  // namespace mailbridge::app
