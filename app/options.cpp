#include "app/options.hpp"

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "app/manual.hpp"
#include "app/toml_file.hpp"
#include "base/nearest.hpp"
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
  std::vector<std::string_view> names;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_configurable() && !option->get_lnames().empty()) names.push_back(option->get_lnames()[0]);
  }
  return read_toml(path, names, kind, take);
}

class Help : public CLI::Formatter {
  std::string make_option_desc(const CLI::Option* option) const override { return first_sentence(option->get_description()); }
};

}  // namespace

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
  } catch (const CLI::ExtrasError& error) {
    std::vector<std::string_view> names;
    for (const CLI::Option* option : app.get_options()) names.push_back(option->get_lnames()[0]);
    const std::string extra = app.remaining().empty() ? "" : app.remaining()[0];
    const std::string_view written = std::string_view(extra).substr(0, extra.find('='));
    const std::string meant = written.starts_with("--") ? suggestion(written.substr(2), names, "--") : "";
    return fail(Errc::malformed, printable(error.what() + meant, max_shown));
  } catch (const CLI::ParseError& error) {
    return fail(Errc::malformed, printable(error.what(), max_shown));
  }
  if (!file.empty()) {
    if (auto applied = apply_file(app, file); !applied) return tl::unexpected(std::move(applied.error()));
  }
  return std::nullopt;
}

void shorten_help(CLI::App& app) { app.formatter(std::make_shared<Help>()); }

std::string describe(const CLI::App& app, Description description) {
  std::vector<std::string> kept;  // what the views point into
  kept.reserve(app.get_options().size() * 2);
  std::vector<OptionText> options;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_lnames().empty()) continue;
    const int most = option->get_items_expected_max();
    const auto takes = most == 0                               ? OptionText::nothing
                       : most > 1                              ? OptionText::values
                       : option->get_items_expected_min() == 0 ? OptionText::optional_value
                                                               : OptionText::value;
    const std::string& type = kept.emplace_back(option->get_type_name());
    const std::string& default_value = kept.emplace_back(option->get_default_str());
    options.push_back({option->get_snames().empty() ? '\0' : option->get_snames()[0][0], option->get_lnames()[0], type, takes,
                       default_value, option->get_description()});
  }
  return description(app.get_name(), options);
}

}  // namespace mailbridge::app
