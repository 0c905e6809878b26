// The program lda2lmtp(8), as far as it is no decision: signals, standard input, the socket and the exit.
//
// On every exit status but 0, 71 and 75 smtpd bounces the mail. A shell reports a signal as 128+n, so a signal would bounce it as
// well. Therefore every failure here ends in _exit(75). Only if the server's reply has been read, the exit status is the one for
// that reply.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include "agent/agent.hpp"
#include "agent/check.hpp"
#include "agent/input.hpp"
#include "agent/mda_guard.hpp"
#include "agent/options.hpp"
#include "agent/received.hpp"
#include "agent/scan.hpp"
#include "base/text.hpp"
#include "net/log_lines.hpp"
#include "platform/platform.hpp"
#include "wires/lmtp.hpp"

namespace mailbridge::agent {
namespace {

// For the signal handler and for exceptions: the exit status if the process ends now, and 1 if that is the server's word.
volatile sig_atomic_t status_now = lmtp::exit_temporary;
volatile sig_atomic_t settled = 0;
volatile sig_atomic_t dot_allowed = 0;

// How long the agent waits for a reader of standard error, or a syslogd, that is slow. smtpd itself gives an agent a file.
constexpr std::chrono::milliseconds patience_with_readers{1000};

void write_all(std::string_view text) {
  for (bool waited = false; !text.empty();) {
    const ssize_t n = net::write_now(STDERR_FILENO, text);
    if (n > 0) {
      text.remove_prefix(static_cast<std::size_t>(n));
    } else if (n < 0 && errno == EAGAIN && !std::exchange(waited, true)) {
      pollfd room{STDERR_FILENO, POLLOUT, 0};
      poll(&room, 1, static_cast<int>(patience_with_readers.count()));
    } else if (n == 0 || errno != EINTR) {
      return;
    }
  }
}

void say_last(std::string_view line) { write_all(std::string(line) + "\n"); }

void on_signal(int) {
  if (settled == 0) {
    write_all(dot_allowed != 0 ? "451 4.3.0 lda2lmtp ended by a signal (stage=dot); outcome unknown, may be delivered twice\n"
                               : "451 4.3.0 lda2lmtp ended by a signal before the mail was handed over\n");
  }
  _exit(status_now);
}

void catch_signals() {
  signal(SIGPIPE, SIG_IGN);
  static char stack[16384];  // SIGSEGV needs a stack of its own when the ordinary one has overflowed
  stack_t alternative{};     // no initialisers: the order of the members differs between systems
  alternative.ss_sp = stack;
  alternative.ss_size = sizeof stack;
  sigaltstack(&alternative, nullptr);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ, SIGSYS, SIGSEGV,
                           SIGABRT, SIGBUS, SIGFPE, SIGILL}) {
    sigaction(number, &action, nullptr);
  }
}

// Opens descriptors 1 and 2 if they are closed. Otherwise a socket could become descriptor 2, and carry our last line to the
// server. False if standard input is closed.
bool standard_descriptors_are_open() {
  if (fcntl(STDIN_FILENO, F_GETFD) < 0) return false;
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) < 0) open("/dev/null", O_WRONLY);
  }
  return true;
}

void log(const Note& note) {
  net::LogLines lines(net::LogTarget::syslog, "lda2lmtp");
  lines.write(note.level, note.text);
  lines.flush(patience_with_readers);
}

std::shared_ptr<mail::Message> read_mail(const Request& request) {
  Input input(std::make_shared<mail::Budget>(mail::Budget{max_memory, request.spool}), request.blank_bare_cr);
  static char block[65536];  // read(2) of a pipe gives no more at a time
  for (;;) {
    const ssize_t n = read(STDIN_FILENO, block, sizeof block);
    if (n == 0) break;
    if (n > 0) input.feed({block, static_cast<std::size_t>(n)});
    else if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "standard input cannot be read");
  }
  auto message = input.finish();
  if (message->failure() == std::errc::not_enough_memory) throw std::runtime_error("the header section of the mail is too large");
  if (message->failed()) throw std::system_error(message->failure(), "the mail is large and cannot be kept in " + request.spool);
  return message;
}

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::optional<std::string>(value) : std::nullopt;
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "";
}

bool is_tcp(const Endpoint& endpoint) { return std::holds_alternative<TcpEndpoint>(endpoint); }

// OpenSSL is not initialised unless a server needs it, because that takes longer than everything else at the start.
Result<wires::LmtpClient::Settings> lmtp_client_settings(const Settings& settings) {
  wires::LmtpClient::Settings client{.source = settings.source, .tls_name = settings.tls_name, .starttls = settings.starttls};
  const std::vector<Endpoint>& servers = settings.request.lmtp;
  if (settings.starttls || std::any_of(servers.begin(), servers.end(), has_tls)) {
    auto context = net::TlsContext::load(settings.tls_files);
    if (!context) return tl::unexpected(std::move(context.error()));
    client.tls = std::move(*context);
  }
  return client;
}

asio::awaitable<void> deliver(Agent& agent, wires::LmtpClient& client, const Settings& settings, const MdaGuard& mda) {
  if (settings.scan) {
    const TimePoint begun = Clock::now();
    auto envelope = envelope_of(agent.mail()->head(), agent.request().sender, settings.scan_recipient);
    auto scanned = co_await scan(*settings.scan, agent.mail(), std::move(envelope), host_name(), agent.dot_by());
    agent.take_scan(std::move(scanned), Clock::now() - begun);
    if (agent.is_settled()) co_return;
  }
  const wires::LmtpClient::Hooks hooks{.refusal =
                                           [&] {
                                             std::string refusal = mda.refusal();
                                             dot_allowed = refusal.empty() ? 1 : 0;
                                             return refusal;
                                           },
                                       .heard =
                                           [&](const lmtp::Client& heard) {
                                             if (!heard.settled() || heard.outcome(0).may_try_elsewhere()) return;
                                             status_now = lmtp::exit_status(heard.outcome(0), agent.request().policies);
                                             settled = 1;
                                           }};
  auto result = co_await client.transact(agent.transaction(host_name()), agent.patience(), hooks);
  agent.finished(std::move(result.outcomes.front()), std::move(result.server), result.spent);
}

// Runs the coroutine that `begin` returns to its end. The io_context is never destroyed: that would wait for a look-up that hangs
// in the thread of Asio's resolver.
template <class Begin>
void run(Begin begin) {
  auto& io = *new asio::io_context(1);
  std::exception_ptr thrown;
  bool ended = false;
  asio::co_spawn(io, begin(io), [&](std::exception_ptr exception) {
    thrown = std::move(exception);
    ended = true;
  });
  while (!ended && io.run_one() > 0) {
  }
  if (thrown) std::rethrow_exception(thrown);
}

void run(Agent& agent, const Settings& settings, wires::LmtpClient::Settings client_settings) {
  const MdaGuard mda(getppid());
  const std::vector<Endpoint>& lmtp = agent.request().lmtp;
  if (settings.scan || std::any_of(lmtp.begin(), lmtp.end(), is_tcp)) platform::look_names_up_without_modules();
  try {
    agent.take_mail(read_mail(agent.request()), Clock::now());
  } catch (const std::runtime_error& error) {  // std::bad_alloc is no runtime_error, and goes on to main()
    return agent.no_mail(error.what(), Clock::now());
  }
  if (agent.is_settled()) return;
  run([&](asio::io_context& io) {
    // Never destroyed, like the io_context.
    auto& client = *new wires::LmtpClient(io.get_executor(), lmtp, std::move(client_settings));
    return deliver(agent, client, settings, mda);
  });
}

// Prints a text. smtpd takes an agent that ends with 0 for one that has delivered, so it gets 75. A person or a script gets 0 or
// 1.
int show(const std::string& text, bool good) {
  std::fputs(text.c_str(), stdout);
  const bool run_by_smtpd = std::getenv("LOCAL") && std::getenv("DOMAIN");
  return std::fflush(stdout) != 0 || run_by_smtpd ? lmtp::exit_temporary : good ? 0 : 1;
}

int show_check(const Settings& settings, wires::LmtpClient::Settings client_settings) {
  platform::look_names_up_without_modules();
  Checked checked;
  run([&](asio::io_context&) -> asio::awaitable<void> {
    checked = co_await check(settings, std::move(client_settings), host_name());
  });
  return show(checked.text, checked.good);
}

int refuse(const std::string& what) {
  const std::string line = printable("451 4.3.0 lda2lmtp: " + what, mailbridge::lmtp::max_last_line);
  log({Level::error, line});
  say_last(line);
  return lmtp::exit_temporary;
}

int main_of_agent(int argc, char** argv) {
  const TimePoint start = Clock::now();
  const bool has_input = standard_descriptors_are_open();
  catch_signals();
  const auto read =
      read_settings({argv, argv + argc}, {environment("SENDER"), environment("RECIPIENT"), environment("USER"),
                                          environment("LOCAL"), environment("DOMAIN"), environment("ORIGINAL_RECIPIENT")});
  if (!read) return refuse(read.error().what);
  if (const auto* text = std::get_if<Text>(&*read)) return show(text->text, true);
  const auto& settings = std::get<Settings>(*read);
  auto client_settings = lmtp_client_settings(settings);
  if (!client_settings) return refuse(client_settings.error().what);
  if (settings.check) return show_check(settings, std::move(*client_settings));
  if (!has_input) return refuse("standard input is closed");
  Agent agent(settings.request, start);
  // In case standard input never ends. If the agent was exec'd in the place of smtpd's child, this replaces that child's alarm.
  alarm(static_cast<unsigned>(std::chrono::ceil<std::chrono::seconds>(agent.request().timeout).count()) + 2);
  run(agent, settings, std::move(*client_settings));
  const Report report = agent.report();
  status_now = report.status;
  settled = 1;
  log(report.note);
  if (!report.last_line.empty()) say_last(report.last_line);
  return report.status;
}

}  // namespace
}  // namespace mailbridge::agent

int main(int argc, char** argv) {
  using namespace mailbridge::agent;
  try {
    _exit(main_of_agent(argc, argv));
  } catch (const std::exception& error) {
    if (settled == 0)
      say_last(mailbridge::printable(std::string("451 4.3.0 lda2lmtp: ") + error.what(), mailbridge::lmtp::max_last_line));
  } catch (...) {
  }
  _exit(status_now);
}
