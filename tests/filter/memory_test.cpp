// Every allocation of a conversation fails, alone and with some after it: smtpd's rules hold, and each request is still answered.
// And what is allocated has bounds, whatever rspamd sends.
#include <gtest/gtest.h>

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

#include "recipients/lru.hpp"
#include "rspamd/exchange.hpp"
#include "rspamd/outgoing.hpp"
#include "rspamd/scan_request.hpp"
#include "session/engine.hpp"
#include "tests/support/default_settings.hpp"
#include "tests/support/smtpd_host.hpp"

namespace {

std::size_t failing = 0;  // all that fail are over after so many; 0: none fails
std::size_t in_a_row = 1;
std::size_t held = 0;  // bytes allocated and not given back
std::size_t most_held = 0;

struct AllocationsWork {
  const std::size_t before = std::exchange(failing, 0);
  ~AllocationsWork() { failing = before; }
};

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  if (failing > 0 && failing-- <= in_a_row) return nullptr;
  void* memory = std::malloc(size);
  held += malloc_usable_size(memory);
  most_held = std::max(most_held, held);
  return memory;
}
[[gnu::noinline]] void* operator new(std::size_t size) {
  void* memory = operator new(size, std::nothrow);
  if (!memory) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  held -= malloc_usable_size(memory);
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

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
  session::Engine engine{test::default_settings()};
  mailbridge::testing::SmtpdHost host;
  std::string written;
  std::vector<session::ScanId> scans;
  scans.reserve(1);
  const auto pump = [&] {
    for (session::Command& command : engine.take_commands()) {
      const AllocationsWork again;
      if (const auto* start = std::get_if<session::StartScan>(&command)) scans.push_back(start->id);
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
  failing = which + in_a_row - 1;
  try {
    say(config);
    for (const std::string_view line : lines) {
      if (line.empty()) {
        for (const session::ScanId id : scans) engine.scan_finished(id, result, t0);
        scans.clear();
        pump();
        EXPECT_TRUE(written.ends_with("|.\n")) << "allocation " << which << "\n" << written;
      } else {
        say(line.substr(0, line.size() / 2));  // in two parts, so that the beginning of a line is held
        say(line.substr(line.size() / 2));
      }
    }
  } catch (const std::bad_alloc&) {
    failing = 0;
    ADD_FAILURE() << "allocation " << which << " is not survived";
  }
  const bool all_worked = std::exchange(failing, 0) >= in_a_row;
  host.settled();
  EXPECT_EQ(host.violations(), std::vector<std::string>{}) << "allocation " << which << "\n" << written;
  EXPECT_TRUE(written.find("register|ready\n") != std::string::npos) << "allocation " << which;
  EXPECT_FALSE(engine.next_deadline()) << "allocation " << which;
  EXPECT_EQ(engine.sessions(), 0U) << "allocation " << which;
  return !all_worked;
}

TEST(Memory, EachRequestIsAnsweredWhicheverAllocationFails) {
  for (const rspamd::ScanResult& result : {rspamd::ScanResult(verdict("add header")), rspamd::ScanResult(verdict("reject"))}) {
    for (in_a_row = 1; in_a_row <= 40 && !HasFailure(); in_a_row = 2 * in_a_row + 1) {
      std::size_t which = in_a_row;  // some memory is there at the start
      while (play(which, result) && !HasFailure()) ++which;
      EXPECT_GT(which, 50U);
    }
  }
}

// Three mails, of which one is with rspamd, one waits and one finds no room; then nothing happens but that time passes.
TEST(Memory, WhoWaitsIsAnsweredWhicheverAllocationFails) {
  session::Settings settings = test::default_settings();
  settings.max_scans = settings.max_queue = 1;
  for (in_a_row = 1; in_a_row <= 40; in_a_row = 2 * in_a_row + 1) {
    bool all_worked = false;
    std::size_t which = 1;
    for (; !all_worked && !HasFailure(); ++which) {
      session::Engine engine{settings};
      std::string lines;
      for (const char* id : {"1111111111111111", "2222222222222222", "3333333333333333"}) {
        const auto mail = conversation(id);
        for (std::size_t i = 0; i < 11; ++i) lines += mail[i];
      }
      const std::size_t last = lines.rfind("filter|");
      engine.receive(std::string_view(lines).substr(0, last), t0);
      failing = which + in_a_row - 1;
      engine.receive(std::string_view(lines).substr(last), t0);
      engine.tick(t0 + std::chrono::seconds(30));
      engine.tick(t0 + std::chrono::seconds(31));
      all_worked = std::exchange(failing, 0) >= in_a_row;
      std::string written;
      for (std::string_view bytes = engine.output(); !bytes.empty(); bytes = engine.output()) {
        written += bytes;
        engine.written(bytes.size());
      }
      for (const char* id : {"1111111111111111", "2222222222222222", "3333333333333333"}) {
        EXPECT_NE(written.find("filter-dataline|" + std::string(id) + "|d0|.\n"), std::string::npos)
            << "allocation " << which << ", " << in_a_row << " in a row\n"
            << written;
      }
      EXPECT_FALSE(engine.next_deadline());
    }
    EXPECT_GT(which, 20U);
  }
}

// Recipients that smtpd asks about, one in a session that guesses, and whether there is room for their mail.
TEST(Memory, ARecipientIsAnsweredWhicheverAllocationFails) {
  const std::string id = "0123456789abcdef";
  const auto ask = [&](const std::string& user) {
    return "filter|0.7|1.2|smtp-in|rcpt-to|" + id + "|70|" + user + "-of-a-long-name@example.org\n";
  };
  std::vector<std::string> lines = conversation(id);
  lines.insert(lines.begin() + 3, "report|0.7|1.2|smtp-in|protocol-client|" + id + "|MAIL FROM:<somebody@example.net> SIZE=10\n");
  lines.insert(lines.begin() + 6, {ask("nobody"), ask("nobody-else"), ask("somebody-else")});
  lines[9] = "report|0.7|1.2|smtp-in|tx-rcpt|" + id + "|00000001|ok|somebody-else-of-a-long-name@example.org\n";
  session::Settings settings = test::default_settings();
  settings.verify = {{"example.org"}, true, std::chrono::seconds(3)};
  settings.recipients.max_unknown = 1;
  const rspamd::ScanResult passes = verdict("no action");
  for (const bool answered : {true, false}) {
    for (in_a_row = 1; in_a_row <= 40 && !HasFailure(); in_a_row = 2 * in_a_row + 1) {
      bool all_worked = false;
      std::size_t which = 1;
      for (; !all_worked && !HasFailure(); ++which) {
        session::Engine engine{settings};
        mailbridge::testing::SmtpdHost host;
        TimePoint now = t0;
        const auto pump = [&] {
          for (auto commands = engine.take_commands(); !commands.empty(); commands = engine.take_commands()) {
            for (const session::Command& command : commands) {
              if (const auto* scan = std::get_if<session::StartScan>(&command)) engine.scan_finished(scan->id, passes, now);
              const auto* lookup = std::get_if<recipients::StartLookup>(&command);
              if (!lookup || !answered) continue;
              engine.lookup_finished(
                  lookup->id, lookup->recipient.starts_with("nobody") ? recipients::Mailbox::unknown : recipients::Mailbox::known,
                  "", now);
            }
          }
          for (std::string_view bytes = engine.output(); !bytes.empty(); bytes = engine.output()) {
            const AllocationsWork again;
            host.heard(bytes);
            engine.written(bytes.size());
          }
        };
        engine.receive("config|ready\n", now);
        failing = which + in_a_row - 1;
        for (const std::string& line : lines) {
          {
            const AllocationsWork again;
            host.said(line);
          }
          engine.receive(line, now);
          pump();
          now += std::chrono::seconds(2);
          engine.tick(now);
          pump();
          now += std::chrono::seconds(2);
          engine.tick(now);
          pump();
        }
        all_worked = std::exchange(failing, 0) >= in_a_row;
        host.settled();
        EXPECT_EQ(host.violations(), std::vector<std::string>{}) << "allocation " << which << ", " << in_a_row << " in a row";
      }
      EXPECT_GT(which, 50U);
    }
  }
}

// Handed to the mail store, with every outcome, and with none. Nobody is told that it was refused who has it, and what is marked
// has been delivered.
TEST(Memory, ADeliveryIsAnsweredWhicheverAllocationFails) {
  using lmtp::Outcome;
  const std::string id = "0123456789abcdef";
  const Outcome saved{lmtp::Stage::dot, lmtp::Reply{250, "2.0.0", {"<somebody-else> a long session id Saved"}}, {}};
  const Outcome full{lmtp::Stage::dot, lmtp::Reply{552, "5.2.2", {"<somebody-else> a long text about a quota"}}, {}};
  const Outcome down{lmtp::Stage::connect, std::nullopt, "nobody listens there, which is a long text"};
  std::vector<std::string> lines = conversation(id);
  for (auto line = lines.begin(); line != lines.end(); ++line) {
    if (line->find("Received: by us") == std::string::npos) continue;
    const std::string by =
        "filter|0.7|1.2|smtp-in|data-line|" + id + "|d0|\tby mx.example.org (OpenSMTPD) with ESMTP id 00000001;\n";
    line = lines.insert(line + 1, by);
  }
  lines.insert(lines.begin() + 5, "filter|0.7|1.2|smtp-in|rcpt-to|" + id + "|70|somebody-else@example.org\n");
  lines.insert(lines.begin() + 3, "report|0.7|1.2|smtp-in|protocol-server|" + id + "|250-SIZE 36700160\n");
  session::Settings settings = test::default_settings();
  settings.verify = {{"example.org"}, false, std::chrono::seconds(3)};
  settings.delivery =
      recipients::DeliverySettings{lmtp::MarkKeys::parse("0123456789abcdef0123456789abcdef").value(), std::chrono::seconds(3)};
  const rspamd::ScanResult passes = verdict("no action");
  for (const std::vector<Outcome>& outcomes : std::vector<std::vector<Outcome>>{{saved}, {full}, {down}, {}}) {
    for (in_a_row = 1; in_a_row <= 40 && !HasFailure(); in_a_row = 2 * in_a_row + 1) {
      bool all_worked = false;
      std::size_t which = 1;
      bool was_started = false;
      for (; !all_worked && !HasFailure(); ++which) {
        session::Engine engine{settings};
        mailbridge::testing::SmtpdHost host;
        TimePoint now = t0;
        const auto pump = [&] {
          for (auto commands = engine.take_commands(); !commands.empty(); commands = engine.take_commands()) {
            for (const session::Command& command : commands) {
              if (const auto* scan = std::get_if<session::StartScan>(&command)) engine.scan_finished(scan->id, passes, now);
              if (const auto* lookup = std::get_if<recipients::StartLookup>(&command))
                engine.lookup_finished(lookup->id, recipients::Mailbox::known, "", now);
              const auto* delivery = std::get_if<recipients::StartDelivery>(&command);
              was_started = was_started || delivery;
              if (delivery && !outcomes.empty()) engine.delivery_finished(delivery->id, outcomes, "unix:/run/dovecot/lmtp", now);
            }
          }
          for (std::string_view bytes = engine.output(); !bytes.empty(); bytes = engine.output()) {
            const AllocationsWork again;
            host.heard(bytes);
            engine.written(bytes.size());
          }
        };
        engine.receive("config|ready\n", now);
        failing = which + in_a_row - 1;
        for (const std::string& line : lines) {
          {
            const AllocationsWork again;
            host.said(line);
          }
          engine.receive(line, now);
          pump();
          if (!line.empty()) continue;
          now += std::chrono::seconds(5);
          engine.tick(now);
          pump();
          // What found no memory is still due, and the driver's timer ends at once.
          for (std::size_t n = 0; n < in_a_row && engine.next_deadline().value_or(TimePoint::max()) <= now; ++n) {
            engine.tick(now);
            pump();
          }
        }
        all_worked = std::exchange(failing, 0) >= in_a_row;
        host.settled();
        EXPECT_EQ(host.violations(), std::vector<std::string>{}) << "allocation " << which << ", " << in_a_row << " in a row";
        EXPECT_EQ(engine.sessions(), 0U);
      }
      EXPECT_TRUE(was_started);
      EXPECT_GT(which, 50U);
    }
  }
}

// A reply of 100 MB, whatever it is made of: read until it is too much, or to its end, with a few times the cap at most.
// What is remembered but not found again would stay, and what comes later push nothing out.
TEST(Memory, WhatIsRememberedStaysBoundedWhicheverAllocationFails) {
  in_a_row = 1;
  for (std::size_t nth = 1; nth <= 6; ++nth) {
    recipients::Lru<int> facts(3);
    std::string key = "a recipient that is no short string 0";
    for (int i = 0; i < 10; ++i) {
      key.back() = static_cast<char>('0' + i);
      if (i == 1) failing = nth;
      try {
        facts.put(key, i);
      } catch (const std::bad_alloc&) {
        EXPECT_EQ(facts.find(key), nullptr);
      }
      failing = 0;
      EXPECT_LE(facts.size(), 3U) << "allocation " << nth << ", fact " << i;
    }
    ASSERT_NE(facts.find(key), nullptr);
    EXPECT_EQ(*facts.find(key), 9);
  }
}

TEST(Memory, AReplysSizeDoesNotMatter) {
  struct Row {
    const char* name;
    std::string begin;
    std::string repeated;
  };
  const std::string length = "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n", until_closed = "HTTP/1.1 200 OK\r\n\r\n";
  const Row rows[] = {
      {"a status line", "HTTP/1.1 200 ", "a"},
      {"a header line", "HTTP/1.1 200 OK\r\nX: ", "a"},
      {"headers", "HTTP/1.1 200 OK\r\n", "X: a\r\n"},
      {"interim replies", "", "HTTP/1.1 100 Continue\r\n\r\n"},
      {"blanks", until_closed, " "},
      {"a string", until_closed + R"({"action":")", "a"},
      {"lists", until_closed, "["},
      {"members", until_closed + "{", R"("a":"",)"},
      {"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"},
      {"a chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "0"},
      {"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X: a\r\n"},
      {"a sized body", length + "\r\n", "{}"},
      {"a rewritten mail", length + "Message-Offset: 22\r\n\r\n" + R"({"action":"no action"})", "a"},
      {"an error", "HTTP/1.1 500 x\r\nContent-Length: 104857600\r\n\r\n", R"({"error":"a"})"},
  };
  for (const Row& row : rows) {
    std::string piece;
    while (piece.size() < 64 * 1024) piece += row.repeated;
    const TimePoint until = t0 + std::chrono::seconds(30);
    rspamd::Exchange exchange({rspamd::scan_command, "\r\n", std::make_shared<mail::Message>(), {}}, until);
    exchange.sent(std::get<Send>(exchange.next(t0)).bytes.size());
    most_held = held;
    const std::size_t before = held;
    exchange.receive(row.begin);
    for (std::size_t said = row.begin.size(); said < 104'857'600 && std::holds_alternative<Await>(exchange.next(t0));
         said += piece.size())
      exchange.receive(piece);
    exchange.end({Ending::Kind::closed});
    EXPECT_TRUE(std::holds_alternative<Done>(exchange.next(t0))) << row.name;
    EXPECT_EQ(exchange.result().has_value(), row.name == std::string_view("a rewritten mail")) << row.name;
    EXPECT_LT(most_held - before, 4 * rspamd::default_reply_cap) << row.name;
  }
}

// The worst that fits: what the parser and the verdict need for it.
TEST(Memory, ALargeVerdictIsBounded) {
  for (const std::string& repeated : {std::string(R"("a":"",)"), std::string(R"("a":[],)"), std::string(R"("a":{"b":0},)")}) {
    std::string json = R"({"action":"no action","symbols":{)";
    while (json.size() < rspamd::default_reply_cap - 100) json += repeated;
    json += R"("z":0}})";
    most_held = held;
    const std::size_t before = held;
    EXPECT_TRUE(rspamd::parse_verdict(json));
    EXPECT_LT(most_held - before, 16 * rspamd::default_reply_cap) << repeated;
  }
}

}  // namespace
}  // namespace mailbridge::filter
