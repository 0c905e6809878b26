#include "filter/app.hpp"

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <limits>
#include <optional>
#include <random>
#include <utility>
#include <variant>
#include <vector>

#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>

#include "filter/descriptors.hpp"
#include "filter/log_pause.hpp"
#include "filter/recorder.hpp"
#include "net/connect.hpp"
#include "net/converse.hpp"
#include "net/log.hpp"
#include "platform/platform.hpp"
#include "platform/spool.hpp"
#include "recipients/mailbox_text.hpp"
#include "smtpd/listener.hpp"
#include "smtpd/size_question.hpp"
#include "wires/mailboxes.hpp"
#include "wires/scanner.hpp"

namespace mailbridge::filter {
namespace {

constexpr std::size_t read_size = 64 * 1024;
constexpr const char* program = "filter-mailbridge";
constexpr Duration patience_with_smtpd = std::chrono::seconds(5);  // to answer EHLO
constexpr Duration farewell = std::chrono::seconds(1);             // for the last output and log lines when smtpd is gone

std::size_t descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::numeric_limits<std::size_t>::max();
  return limit.rlim_cur;
}

// How many of the first 1,024 descriptors are open. A process that may have many more has enough anyway.
std::size_t open_descriptors() {
  std::vector<pollfd> descriptors(std::min<std::size_t>(descriptor_limit(), 1024));
  for (std::size_t i = 0; i < descriptors.size(); ++i) descriptors[i].fd = static_cast<int>(i);
  poll(descriptors.data(), descriptors.size(), 0);
  return static_cast<std::size_t>(
      std::count_if(descriptors.begin(), descriptors.end(), [](const pollfd& one) { return (one.revents & POLLNVAL) == 0; }));
}

class App {
 public:
  App(Settings settings, ReadAgain read_again)
      : settings_(std::move(settings)),
        read_again_(std::move(read_again)),
        engine_(settings_.engine, random()),
        scanner_(io_, settings_.upstreams, rspamd_settings(settings_), scanner_hooks()),
        mailboxes_(io_, mailbox_settings(settings_), mailboxes_hooks()),
        in_(io_, STDIN_FILENO),
        out_(io_, STDOUT_FILENO),
        deadline_(io_),
        log_due_(io_),
        signals_(io_) {
    out_.non_blocking(true);
    net::watch_log([this] { await_log(first_log_pause); });
  }

  [[noreturn]] void run() {
    read();
    asio::error_code no_signals;
    signals_.add(SIGHUP, no_signals);
    if (!no_signals) signals_.add(SIGUSR1, no_signals);
    if (!no_signals) await_signal();
    for (;;) {
      try {
        io_.run();
        leave();
      } catch (const std::exception& error) {
        carry_on_after(error);
      }
    }
  }

 private:
  // Must run before a name look-up starts another thread, because only this thread and those that it starts are confined.
  std::optional<Recorder> prepare() {
    net::open_log(settings_.log_target, settings_.log_level, program);
    share_descriptors();
    std::optional<Recorder> recorder;
    if (!settings_.record_directory.empty()) {
      auto opened = Recorder::open(settings_.record_directory, settings_.given, now());
      if (opened) recorder = std::move(*opened);
      else net::log(Level::error, opened.error().what);
    }
    if (const auto usable = platform::SpoolFile::create(settings_.engine.spool); !usable) {
      net::log(Level::error, "--spool " + settings_.engine.spool + ": " + usable.error().message());
    }
    if (const auto confined = platform::confine({settings_.engine.spool}); !confined)
      net::log(Level::debug, "not confined: " + confined.error().what);
    if (geteuid() == 0) net::log(Level::warn, "runs as root, and needs not to: see `user` in smtpd.conf(5)");
    return recorder;
  }

  // Lowers the number of scans at once, if there are not enough descriptors for them.
  void share_descriptors() {
    if (open_at_start_ == 0) open_at_start_ = open_descriptors();
    const std::size_t limit = descriptor_limit();
    const DescriptorShares shares =
        filter::share_descriptors(limit, descriptor_needs(settings_, open_at_start_), settings_.engine.max_scans);
    settings_.engine.max_files = shares.files;
    const std::size_t wanted = std::exchange(settings_.engine.max_scans, shares.scans);
    if (wanted == shares.scans) return;
    net::log(Level::warn, "--max-scans is " + std::to_string(shares.scans) + " instead of " + std::to_string(wanted) +
                              ": no more than " + std::to_string(limit) + " descriptors may be open (RLIMIT_NOFILE)");
    std::erase_if(settings_.given, [](const GivenOption& option) { return option.name == "--max-scans"; });
    settings_.given.push_back({"--max-scans", std::to_string(shares.scans)});
  }

  // The seed for the engine. It is 0 in a recording, because a transcript is played with 0.
  std::uint64_t random() const {
    if (recorder_) return 0;
    std::random_device device;
    return (std::uint64_t{device()} << 32) | device();
  }

  // Whole milliseconds since the start, so that the times in a recording (docs/transcripts.md) lead to the
  // same figures in the log.
  TimePoint now() const { return start_ + std::chrono::floor<std::chrono::milliseconds>(Clock::now() - start_); }

  // Whatever failed (most likely memory), smtpd and the other sessions are better off if the filter goes on.
  static void carry_on_after(const std::exception& error) noexcept {
    char line[200];
    std::snprintf(line, sizeof line, "carrying on after: %s", error.what());
    net::log(Level::error, line);
  }

  // A gap in the recording does less harm than bytes that are written twice or not at all.
  template <class Entry>
  void record(Entry entry) noexcept {
    try {
      if (recorder_) entry(*recorder_);
    } catch (const std::exception& error) {
      carry_on_after(error);
    }
  }

  wires::Scanner::Hooks scanner_hooks() {
    return {[this] { return now(); },
            [this](session::ScanId id, char direction, std::string_view bytes, TimePoint at) {
              record([&](Recorder& to) { to.rspamd(id, direction, bytes, at); });
            },
            [this](session::ScanId id, const rspamd::ScanResult& result, std::string_view server, TimePoint at) {
              engine_.scan_finished(id, result, at, server);
              pump();
            }};
  }

  wires::Mailboxes::Hooks mailboxes_hooks() {
    return {[this] { return now(); },
            [this](recipients::LookupId id, const recipients::Found& found, TimePoint at) {
              record([&](Recorder& to) { to.mailboxes('L', id, '>', recipients::text_of(found), at); });
              engine_.lookup_finished(id, found.mailbox, found.why, at, found.ours);
              pump();
            },
            [this](recipients::DeliveryId id, const std::vector<lmtp::Outcome>& outcomes, std::string_view server, TimePoint at) {
              record([&](Recorder& to) {
                if (!server.empty()) to.mailboxes('D', id, '@', std::string(server) + "\n", at);
                to.mailboxes('D', id, '>', recipients::text_of(outcomes), at);
              });
              engine_.delivery_finished(id, outcomes, server, at);
              pump();
            }};
  }

  void read() {
    in_.async_read_some(asio::buffer(in_buffer_), [this](const asio::error_code& error, std::size_t n) {
      if (error) return leave();
      const std::string_view bytes(in_buffer_.data(), n);
      const TimePoint at = now();
      // Start the next read before anything can throw. It needs the other buffer, because Asio reads available bytes at once.
      used_buffer_.swap(in_buffer_);
      read();
      record([&](Recorder& to) { to.smtpd('>', bytes, at); });
      engine_.receive(bytes, at);
      pump();
    });
  }

  void await_signal() {
    signals_.async_wait([this](const asio::error_code& error, int number) {
      if (error) return;
      await_signal();
      if (number == SIGUSR1) return log_counters();
      auto settings = read_again_();
      if (!settings) return net::log(Level::error, "the settings stay as they were: " + settings.error().what);
      settings->engine.spool = std::move(settings_.engine.spool);  // the process is confined to this directory
      settings_ = std::move(*settings);
      net::open_log(settings_.log_target, settings_.log_level, program);
      share_descriptors();
      engine_.use(settings_.engine);
      scanner_.use(settings_.upstreams, rspamd_settings(settings_));
      mailboxes_.use(mailbox_settings(settings_));
      net::log(Level::info, "the settings were read again");
      engine_.tick(now());  // the new settings may allow more scans at once, or shorter deadlines
      pump();
    });
  }

  // syslogd is slow or not there: offers the kept lines again after a pause.
  void await_log(Duration pause) {
    if (log_waits_) return;
    log_due_.expires_after(pause);
    log_due_.async_wait([this, pause](const asio::error_code&) {
      log_waits_ = false;
      const std::size_t before = net::kept_by_log();
      if (!net::flush_log()) await_log(next_log_pause(pause, net::kept_by_log() < before));
    });
    log_waits_ = true;
  }

  void log_counters() const { net::log(Level::info, "counters " + engine_.counters()); }

  // Carries out the engine's commands. To be called after each call of the engine. A scan can fail while it is being started,
  // which calls this again; that call returns at once, and the outer one carries out what follows. (Thousands of waiting scans
  // can fail in a row.)
  void pump() {
    if (std::exchange(pumping_, true)) return;
    for (auto commands = engine_.take_commands(); !commands.empty(); commands = engine_.take_commands()) {
      for (session::Command& command : commands) {
        try {
          std::visit([this](auto& wanted) { carry_out(wanted); }, command);
        } catch (const std::exception& error) {
          carry_on_after(error);  // if a scan did not start, the engine gives it up at its deadline
        }
      }
    }
    pumping_ = false;
    write_soon();
    if (const auto due = engine_.next_deadline(); due && due != deadline_.expiry()) {
      deadline_.expires_at(*due);
      deadline_.async_wait([this](const asio::error_code& error) {
        if (error) return;
        deadline_.expires_at(TimePoint::max());
        engine_.tick(now());
        pump();
      });
    }
  }

  void carry_out(Note& note) {
    record([&](Recorder& to) { to.note(note, now()); });
    net::log(note);
  }

  void carry_out(session::AskForSize& command) {
    const auto listener = smtpd::listener_at(command.listener);
    if (!listener) return;
    asio::co_spawn(io_, ask_for_size(*listener), asio::detached);
  }
  static asio::awaitable<void> ask_for_size(Endpoint listener) {
    const TimePoint until = Clock::now() + patience_with_smtpd;
    auto connected = co_await net::connect(std::move(listener), until);
    if (!connected) co_return;
    smtpd::SizeQuestion question(until);
    co_await net::converse(*connected, question);
  }
  void carry_out(session::CancelScan& command) { scanner_.cancel(command.id); }
  void carry_out(recipients::StartLookup& command) {
    record([&](Recorder& to) { to.mailboxes('L', command.id, '<', recipients::text_of(command), now()); });
    mailboxes_.start(std::move(command));
  }
  void carry_out(recipients::StartDelivery& command) {
    record([&](Recorder& to) { to.mailboxes('D', command.id, '<', recipients::text_of(command.transaction), now()); });
    mailboxes_.start(std::move(command));
  }
  void carry_out(recipients::CancelDelivery& command) { mailboxes_.cancel(command.id); }
  void carry_out(session::StartScan& command) { scanner_.start(std::move(command)); }

  // Writes after all events that are ready now, so that all output leaves in one piece.
  void write_soon() {
    if (writing_) return;
    asio::post(io_, [this] {
      writing_ = false;
      write();
    });
    writing_ = true;
  }

  // Writes one window at a time, so that other sessions get their turn during a long message.
  void write() {
    const std::string_view bytes = engine_.output();
    if (bytes.empty()) return;
    asio::error_code error;
    const std::size_t n = out_.write_some(asio::buffer(bytes), error);
    if (!error) written(bytes.substr(0, n));
    else if (error != asio::error::would_block && error != asio::error::try_again) return leave();
    if (engine_.output().empty()) return;
    out_.async_wait(asio::posix::stream_descriptor::wait_write, [this](const asio::error_code&) {
      writing_ = false;
      write();
    });
    writing_ = true;
  }

  void written(std::string_view bytes) {
    record([&](Recorder& to) { to.smtpd('<', bytes, now()); });
    engine_.written(bytes.size());
  }

  [[noreturn]] void leave() {
    engine_.end_of_input();
    for (session::Command& command : engine_.take_commands()) {
      if (auto* note = std::get_if<Note>(&command)) carry_out(*note);
    }
    log_counters();
    const TimePoint until = Clock::now() + farewell;
    for (std::string_view bytes = engine_.output(); !bytes.empty(); bytes = engine_.output()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
      pollfd poll{STDOUT_FILENO, POLLOUT, 0};
      if (left.count() <= 0 || ::poll(&poll, 1, static_cast<int>(left.count())) != 1) break;
      const ssize_t n = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
      if (n <= 0) break;
      written(bytes.substr(0, static_cast<std::size_t>(n)));
    }
    net::flush_log(farewell);
    _exit(0);
  }

  Settings settings_;
  const ReadAgain read_again_;
  const TimePoint start_ = Clock::now();
  std::size_t open_at_start_ = 0;  // open descriptors
  std::optional<Recorder> recorder_ = prepare();
  asio::io_context io_{1};
  session::Engine engine_;
  wires::Scanner scanner_;
  wires::Mailboxes mailboxes_;
  asio::posix::stream_descriptor in_;
  asio::posix::stream_descriptor out_;
  asio::steady_timer deadline_;
  asio::steady_timer log_due_;
  asio::signal_set signals_;
  std::vector<char> in_buffer_ = std::vector<char>(read_size);
  std::vector<char> used_buffer_ = std::vector<char>(read_size);
  bool log_waits_ = false;
  bool writing_ = false;
  bool pumping_ = false;
};

}  // namespace

void serve(Settings settings, ReadAgain read_again) {
  static App app(std::move(settings), std::move(read_again));
  app.run();
}

}  // namespace mailbridge::filter
