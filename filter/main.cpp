// filter-mailbridge: options, and the rule that a wrong one never takes smtpd down. See docs/filter-mailbridge.8.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "app/options.hpp"
#include "base/endpoint.hpp"
#include "filter/app.hpp"
#include "net/log.hpp"

namespace {

using namespace mailbridge;

struct Options {
  std::string rspamd = "http://127.0.0.1:11333";
  std::string settings_id;
  double connect_timeout = 3;
  double scan_timeout = 30;
  std::string on_error = "tempfail";
  std::string record;
  std::string log_target = "syslog";
  std::string log_level = "info";
  bool check_config = false;
};

// From 0.1 seconds on. CLI::Range would take nan.
CLI::Validator seconds_up_to(int most) {
  const auto check = [most](const std::string& text) {
    double value = 0;
    if (CLI::detail::lexical_cast(text, value) && value >= 0.1 && value <= most) return std::string();
    return "a number of seconds from 0.1 to " + std::to_string(most) + " is wanted, not " + text;
  };
  return {check, {}};
}

void declare(CLI::App& app, Options& options) {
  const auto endpoint = [](const std::string& text) {
    const auto parsed = parse_http_endpoint(text);
    return parsed ? std::string() : parsed.error().what;
  };
  app.add_option("--rspamd", options.rspamd, "where rspamd listens: http://HOST:PORT or unix:/PATH")
      ->type_name("ENDPOINT")
      ->check(endpoint);
  app.add_option("--settings-id", options.settings_id, "rspamd's Settings-ID for every message")->type_name("ID");
  app.add_option("--connect-timeout", options.connect_timeout, "for reaching rspamd")
      ->type_name("SECONDS")
      ->check(seconds_up_to(60));
  app.add_option("--scan-timeout", options.scan_timeout, "for the whole scan, connect included")
      ->type_name("SECONDS")
      ->check(seconds_up_to(600));
  app.add_option("--on-error", options.on_error, "what becomes of a message that cannot be scanned")
      ->check(CLI::IsMember({"tempfail", "accept"}));
  app.add_option("--record", options.record, "write everything, mail included, to a transcript in this directory")
      ->type_name("DIR");
  app.add_option("--log-target", options.log_target)->check(CLI::IsMember({"stderr", "syslog"}));
  app.add_option("--log-level", options.log_level)->check(CLI::IsMember({"debug", "info", "warn", "error"}));
  app.add_flag("--check-config", options.check_config, "say what is wrong, if anything, and exit")
      ->configurable(false);  // smtpd would lose its filter
}

Level level_of(const std::string& name) {
  if (name == "debug") return Level::debug;
  if (name == "warn") return Level::warn;
  return name == "error" ? Level::error : Level::info;
}

Duration seconds(double value) { return std::chrono::round<std::chrono::milliseconds>(std::chrono::duration<double>(value)); }

filter::AppSettings settings_of(const Options& options) {
  filter::AppSettings settings;
  settings.engine.rspamd = parse_http_endpoint(options.rspamd).value();
  settings.engine.settings_id = options.settings_id;
  settings.engine.scan_timeout = seconds(options.scan_timeout);
  settings.engine.on_error = options.on_error == "accept" ? filter::OnError::accept : filter::OnError::tempfail;
  settings.connect_timeout = seconds(options.connect_timeout);
  settings.record_directory = options.record;
  return settings;
}

// smtpd gives its filters a socket.
bool started_by_smtpd() {
  struct stat status {};
  return fstat(STDIN_FILENO, &status) == 0 && S_ISSOCK(status.st_mode);
}

// Each scan holds a socket. smtpd takes as many sessions as the hard limit allows, and a filter inherits the soft one.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("OpenSMTPD filter that asks rspamd", "filter-mailbridge");
  declare(app, options);
  const auto text = app::read_options(app, argc, argv);
  // argv may be what is wrong, so this flag is looked for by hand.
  for (int i = 1; i < argc; ++i) options.check_config = options.check_config || std::string_view(argv[i]) == "--check-config";
  const bool serve = started_by_smtpd() && !options.check_config;

  std::string wrong;
  if (!text) wrong = text.error().what;
  else if (*text && serve) wrong = "an option that only prints text has no place in smtpd.conf";
  if (!wrong.empty()) {
    std::fprintf(stderr, "%s%s\n", serve ? "" : "filter-mailbridge: ", wrong.c_str());
    if (!serve) return 1;
    net::open_log(net::LogTarget::syslog, Level::info, "filter-mailbridge");
    filter::AppSettings settings;
    settings.engine.out_of_order = true;
    filter::serve(settings);
  }
  if (*text) {
    std::fputs((*text)->c_str(), stdout);
    return 0;
  }
  if (options.check_config) {
    std::puts("configuration OK");
    return 0;
  }
  if (!serve) {
    std::fputs("filter-mailbridge: standard input is no socket: this program is started by smtpd, see filter-mailbridge(8)\n",
               stderr);
    return 1;
  }
  net::open_log(options.log_target == "stderr" ? net::LogTarget::stderr_stream : net::LogTarget::syslog,
                level_of(options.log_level), "filter-mailbridge");
  raise_descriptor_limit();
  filter::serve(settings_of(options));
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);   // a filter that ends takes smtpd with it
  std::signal(SIGXFSZ, SIG_IGN);  // a recording can reach the limit of file sizes
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    mailbridge::net::log(mailbridge::Level::error, std::string("giving up: ") + error.what());
    return 1;
  }
}
