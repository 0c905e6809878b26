// The program filter-mailbridge(8). It reads the options, and serves smtpd even if an option is wrong: then each message gets a
// temporary failure, because smtpd would end with its filter.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "filter/app.hpp"
#include "filter/check.hpp"
#include "filter/options.hpp"
#include "net/log.hpp"
#include "net/tls.hpp"
#include "platform/spool.hpp"

namespace {

using namespace mailbridge;

// True if standard input is a socket, as smtpd gives it to its filters.
bool started_by_smtpd() {
  struct stat status {};
  return fstat(STDIN_FILENO, &status) == 0 && S_ISSOCK(status.st_mode);
}

// Raises the soft limit to the hard one. Each scan needs a socket, and smtpd takes as many sessions as the hard limit allows, but
// gives its filters the soft one.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

filter::Settings out_of_order(std::string why) {
  filter::Settings settings = filter::read_settings(std::vector<filter::GivenOption>{}).value();  // the defaults
  settings.engine.out_of_order = std::move(why);
  return settings;
}

// Reads the settings and loads the TLS files. OpenSSL is not even initialised if no server needs it.
Result<std::variant<filter::Settings, filter::Text>> read_settings(const std::vector<std::string>& argv) {
  auto read = filter::read_settings(argv);
  auto* settings = read ? std::get_if<filter::Settings>(&*read) : nullptr;
  if (!settings) return read;
  if (settings->rspamd_wants_tls()) {
    auto loaded = net::TlsContext::load(settings->tls_files);
    if (!loaded) return tl::unexpected(std::move(loaded.error()));
    settings->tls = std::move(*loaded);
  }
  if (settings->lmtp.wants_tls()) {
    auto loaded = net::TlsContext::load(settings->lmtp.tls_files);
    if (!loaded) return tl::unexpected(std::move(loaded.error()));
    settings->lmtp.tls = std::move(*loaded);
  }
  return read;
}

int run(const std::vector<std::string>& argv) {
  auto read = read_settings(argv);
  bool check_config = false;  // searched for by hand, because argv itself may be wrong
  bool check = false;
  for (const std::string& word : argv) {
    check_config = check_config || word == "--check-config";
    check = check || word == "--check" || word.starts_with("--check=");
  }
  const bool serve = started_by_smtpd() && !check_config && !check;
  auto* settings = read ? std::get_if<filter::Settings>(&*read) : nullptr;
  const auto* text = read ? std::get_if<filter::Text>(&*read) : nullptr;

  if (serve) {
    const auto read_again = [argv]() -> Result<filter::Settings> {
      auto again = read_settings(argv);
      if (!again) return tl::unexpected(std::move(again.error()));
      if (auto* fresh = std::get_if<filter::Settings>(&*again)) return std::move(*fresh);
      return fail(Errc::malformed, "an option that only prints text has no place in smtpd.conf");
    };
    raise_descriptor_limit();
    if (settings) filter::serve(std::move(*settings), read_again);
    std::string why = read ? "an option that only prints text has no place in smtpd.conf" : std::move(read.error().what);
    net::log(Level::error, why);
    filter::serve(out_of_order(std::move(why)), read_again);
  }
  if (text) {
    std::fputs(text->text.c_str(), stdout);
    return 0;
  }
  if (!read || !(check_config || check)) {
    std::fprintf(stderr, "filter-mailbridge: %s\n",
                 !read ? read.error().what.c_str()
                       : "standard input is no socket: this program is started by smtpd, see filter-mailbridge(8)");
    return 1;
  }
  const std::string& spool = settings->engine.spool;
  if (const auto usable = platform::SpoolFile::create(spool); !usable) {
    std::fprintf(stderr, "filter-mailbridge: --spool %s: %s\n", spool.c_str(), usable.error().message().c_str());
    return 1;
  }
  std::puts("configuration OK");
  net::open_log(net::LogTarget::stderr_stream, Level::error, "filter-mailbridge");  // the results go to standard output
  return !check || filter::check_servers(*settings) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);  // both until App waits for them: if a signal ends the filter, smtpd ends as well
  std::signal(SIGUSR1, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a recording can reach the limit of file sizes, and must not end the filter then
  try {
    return run({argv, argv + argc});
  } catch (const std::exception& error) {
    mailbridge::net::log(mailbridge::Level::error, std::string("giving up: ") + error.what());
    mailbridge::net::flush_log(std::chrono::seconds(1));
    return 1;
  }
}
