// Every allocation of a conversation fails once: smtpd's rules hold, and each request is still answered.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <utility>

#include "filter/engine.hpp"
#include "tests/support/smtpd_host.hpp"

namespace {

std::size_t failing = 0;  // the one that fails, counted from now; 0: none

struct AllocationsWork {
  const std::size_t before = std::exchange(failing, 0);
  ~AllocationsWork() { failing = before; }
};

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return failing > 0 && --failing == 0 ? nullptr : std::malloc(size);
}
[[gnu::noinline]] void* operator new(std::size_t size) {
  void* memory = operator new(size, std::nothrow);
  if (!memory) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace mailbridge::filter {
namespace {

const TimePoint t0 = TimePoint(std::chrono::hours(1));

rspamd::Verdict verdict(std::string action) {
  rspamd::Verdict verdict;
  verdict.action = std::move(action);
  verdict.symbols = {{"A_SYMBOL_WITH_A_LONG_NAME", 1}, {"ANOTHER_SYMBOL_WITH_A_LONG_NAME", 2}};
  verdict.add_headers = {{"X-One-Header-Of-Rspamd", "with a value that is no short string", 1}};
  return verdict;
}

std::vector<std::string> conversation(const std::string& id) {
  const auto report = [&](const std::string& event, const std::string& rest) {
    return "report|0.7|1.2|smtp-in|" + event + "|" + id + rest + "\n";
  };
  std::vector<std::string> lines = {
      report("link-connect", "|a.client.with.a.long.name.example.net|pass|192.0.2.1:99|192.0.2.9:25"),
      report("link-greeting", "|mx.example.org"),
      report("link-identify", "|EHLO|a.client.with.a.long.name.example.net"),
  };
  for (int mail = 0; mail < 2; ++mail) {
    lines.push_back(report("tx-begin", "|00000001"));
    lines.push_back(report("tx-mail", "|00000001|ok|somebody@example.net"));
    lines.push_back(report("tx-rcpt", "|00000001|ok|somebody-else@example.org"));
    for (const std::string line : {"Received: by us", "Subject: a message of some lines", "", "..a line of its body", "."}) {
      lines.push_back("filter|0.7|1.2|smtp-in|data-line|" + id + "|d0|" + line + "\n");
    }
    lines.push_back("");  // the verdict
    lines.push_back("filter|0.7|1.2|smtp-in|commit|" + id + "|c0|\n");
    lines.push_back(report("tx-commit", "|00000001|99"));
    lines.push_back(report("tx-reset", "|00000001"));
  }
  lines.push_back(report("link-disconnect", ""));
  return lines;
}

// False once no allocation failed any more.
bool play(std::size_t which, const rspamd::ScanResult& result) {
  const auto lines = conversation("0123456789abcdef");
  const std::string config = "config|smtpd-version|7.8.0 of a long name\nconfig|admd|mx.example.org\nconfig|ready\n";
  Engine engine{Settings{}};
  mailbridge::testing::SmtpdHost host;
  std::string written;
  std::vector<ScanId> scans;
  scans.reserve(1);
  const auto pump = [&] {
    for (Command& command : engine.take_commands()) {
      const AllocationsWork again;
      if (const auto* start = std::get_if<StartScan>(&command)) scans.push_back(start->id);
    }
    for (std::string_view bytes = engine.output(); !bytes.empty(); bytes = engine.output()) {
      const AllocationsWork again;
      host.heard(bytes);
      written += bytes;
      engine.written(bytes.size());
    }
  };
  const auto say = [&](std::string_view bytes) {
    {
      const AllocationsWork again;
      host.said(bytes);
    }
    engine.receive(bytes, t0);
    pump();
  };
  failing = which;
  try {
    say(config);
    for (const std::string_view line : lines) {
      if (line.empty()) {
        for (const ScanId id : scans) engine.scan_finished(id, result, t0);
        scans.clear();
        pump();
      } else {
        say(line.substr(0, line.size() / 2));  // in two parts, so that the beginning of a line is held
        say(line.substr(line.size() / 2));
      }
    }
  } catch (const std::bad_alloc&) {
    failing = 0;
    ADD_FAILURE() << "allocation " << which << " is not survived";
  }
  const bool all_worked = std::exchange(failing, 0) > 0;
  host.settled();
  EXPECT_EQ(host.violations(), std::vector<std::string>{}) << "allocation " << which << "\n" << written;
  EXPECT_TRUE(written.find("register|ready\n") != std::string::npos) << "allocation " << which;
  EXPECT_FALSE(engine.next_deadline()) << "allocation " << which;
  EXPECT_EQ(engine.sessions(), 0U) << "allocation " << which;
  return !all_worked;
}

TEST(Memory, EachRequestIsAnsweredWhicheverAllocationFails) {
  for (const rspamd::ScanResult& result : {rspamd::ScanResult(verdict("add header")), rspamd::ScanResult(verdict("reject"))}) {
    std::size_t which = 1;
    while (play(which, result) && !HasFailure()) ++which;
    EXPECT_GT(which, 50U);
  }
}

}  // namespace
}  // namespace mailbridge::filter
