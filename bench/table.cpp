#include "bench/table.hpp"

#include <sys/types.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <fstream>

#include "bench/smtpd.hpp"
#include "tests/support/filter_process.hpp"

namespace mailbridge::bench {
namespace {

struct Usage {
  double cpu_us;
  long peak_kb;
  long now_kb;
};

Usage usage_of(pid_t pid) {
  clockid_t clock{};
  timespec cpu{};
  // All threads of the process, user and system, those that ended included.
  test::require(clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &cpu) == 0, "CPU clock of the filter");
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  Usage usage{static_cast<double>(cpu.tv_sec) * 1e6 + static_cast<double>(cpu.tv_nsec) / 1e3, 0, 0};
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) usage.peak_kb = std::strtol(line.c_str() + 6, nullptr, 10);
    if (line.starts_with("VmRSS:")) usage.now_kb = std::strtol(line.c_str() + 6, nullptr, 10);
  }
  return usage;
}

// smtpd's way to end a filter is to close its end.
void end(test::FilterProcess& process) {
  process.close_protocol();
  for (int tries = 0; tries < 500; ++tries) {
    if (process.ended()) return;
    usleep(10'000);
  }
  fail("the filter did not end within 5 s of the end of its input");
}

}  // namespace

Sample measure(const Contender& contender, Rspamd& rspamd, const Load& load) {
  const auto mail = make_mail(load.mail_size);
  const auto drip = make_drip(10'000);
  std::string command = contender.command;
  const bool local = load.local && command.find("--rspamd ") != std::string::npos;
  if (contender.scans())
    command.replace(command.find(Contender::mark), Contender::mark.size(), local ? rspamd.local_url() : rspamd.url());
  test::FilterProcess process({"/bin/sh", "-c", "exec " + command});
  Smtpd smtpd(process, rspamd);
  const auto mb = [](long kb) { return static_cast<double>(kb) / 1024; };
  const double rest_mb = mb(usage_of(process.pid()).now_kb);
  smtpd.open_idle(load.idle);
  const double open_mb = mb(usage_of(process.pid()).now_kb);
  rspamd.take({}, {});
  if (load.warm_up > 0) smtpd.deliver(mail, load.warm_up, load.in_flight);
  if (load.drip) smtpd.begin_drip(drip);
  rspamd.take(load.scan, load.slowest_scan);
  const Usage before = usage_of(process.pid());
  const auto start = Clock::now();
  const auto took_ms = smtpd.deliver(mail, load.mails, load.in_flight);
  const std::chrono::duration<double> seconds = Clock::now() - start;
  const Usage after = usage_of(process.pid());
  if (load.drip) smtpd.finish_drip();
  end(process);
  const double cpu_us = (after.cpu_us - before.cpu_us) / static_cast<double>(load.mails);
  std::fprintf(stderr, "%s, %s: %.0f us CPU a mail, %.1f s\n", load.name.c_str(), contender.name.c_str(), cpu_us,
               seconds.count());
  return {cpu_us, seconds.count(), median(took_ms), quantile(took_ms, 0.99), mb(after.peak_kb), rest_mb, open_mb};
}

std::string number(double value, const char* unit) {
  char text[40];
  std::snprintf(text, sizeof text, value < 10 ? "%.2f%s" : value < 100 ? "%.1f%s" : "%.0f%s", value, unit);
  return text;
}

}  // namespace mailbridge::bench
