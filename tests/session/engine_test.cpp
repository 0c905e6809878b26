#include "session/engine.hpp"

#include <unistd.h>

#include "tests/session/fixture.hpp"

namespace mailbridge::session {
namespace {

using namespace std::chrono_literals;

class EngineTest : public EngineFixture {
 protected:
  void finish(ScanId id, const std::string& action) { verdict(id, action, t0 + 5ms); }

  static std::string begin(const std::string& id) { return connect(id) + transaction(id); }
  static std::string transaction(const std::string& id) {
    return report("tx-begin|00000001", id) + report("tx-mail|00000001|ok|a@example.net", id) +
           report("tx-rcpt|00000001|ok|r@example.org", id);
  }
  static std::string mail(const std::string& id) {
    return data("Received: by us", id) + data("Subject: x", id) + data("", id) + data("..dot", id) + data(".", id);
  }
};

TEST_F(EngineTest, RegistersOnceWhenReady) {
  smtpd("config|smtpd-version|7.8.0\nconfig|protocol|0.7\nconfig|subsystem|smtp-in\nconfig|unheard-of|x\n");
  EXPECT_EQ(output(), "");
  smtpd("config|ready\n");
  const std::string registered = output();
  EXPECT_TRUE(registered.starts_with("register|report|smtp-in|link-connect\n"));
  EXPECT_TRUE(registered.ends_with("\nregister|ready\n"));
  smtpd("config|ready\n");
  EXPECT_EQ(output(), "");
}

TEST_F(EngineTest, AMailIsHeldUntilItsVerdictAndComesBackStuffed) {
  smtpd(begin("0a") + mail("0a"));
  ASSERT_EQ(scans.size(), 1U);
  EXPECT_EQ(scans.at(1).message->head(), "Received: by us\r\nSubject: x\r\n");
  EXPECT_EQ(scans.at(1).message->from(29), "\r\n.dot\r\n");
  EXPECT_EQ(scans.at(1).until, t0 + 30s);
  EXPECT_EQ(output(), "");
  finish(1, "no action");
  EXPECT_EQ(output(),
            "filter-dataline|0a|d0|Received: by us\nfilter-dataline|0a|d0|Subject: x\nfilter-dataline|0a|d0|\n"
            "filter-dataline|0a|d0|..dot\nfilter-dataline|0a|d0|.\n");
  smtpd(commit("0a"));
  EXPECT_EQ(output(), "filter-result|0a|c0|proceed\n");
  EXPECT_TRUE(notes.empty()) << "what became of it is not known yet";
  smtpd(report("tx-commit|00000001|99", "0a") + report("tx-reset|00000001", "0a"));
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_EQ(notes[0].text,
            "session=0a msgid=00000001 ip=192.0.2.1 from=a@example.net rcpts=1 size=37 action=\"no action\" score=0.00/0.00 "
            "symbols=\"\" "
            "scan_ms=5 answer=proceed result=committed");
}

TEST_F(EngineTest, TheRequestHoldsWhatSmtpdReported) {
  smtpd(report("link-connect|mx.example.net|fail|[2001:db8::1]:99|[::1]:25", "0a") +
        report("link-greeting|mx.example.org", "0a") + report("link-tls|TLSv1.3:TLS_AES_256_GCM_SHA384:256", "0a") +
        report("link-identify|EHLO|client", "0a") + report("link-auth|fail|mallory", "0a") +
        report("link-auth|pass|carol", "0a") + report("tx-begin|0000000b", "0a") + report("tx-mail|00000000|permfail|bad", "0a") +
        report("tx-mail|0000000b|ok|@relay.example,@x:carol@example.org", "0a") +
        report("tx-rcpt|0000000b|permfail|nobody@example.org", "0a") + report("tx-rcpt|0000000b|ok|bare", "0a") +
        report("tx-rcpt|0000000b|ok|x@example.net", "0a") + mail("0a"));
  EXPECT_EQ(scans.at(1).message->size(), 37u);
  const std::string& head = scans.at(1).headers;
  for (const char* line :
       {"\r\nIP: 2001:db8::1\r\n", "\r\nHelo: client\r\n", "\r\nUser: carol\r\n", "\r\nTLS-Version: TLSv1.3\r\n",
        "\r\nTLS-Cipher: TLS_AES_256_GCM_SHA384\r\n", "\r\nQueue-Id: 0000000b\r\n", "\r\nMTA-Name: mx.example.org\r\n",
        "\r\nRcpt: <bare@mx.example.org>\r\nRcpt: <x@example.net>\r\n"}) {
    EXPECT_NE(head.find(line), std::string::npos) << line << "is missing in\n" << head;
  }
  EXPECT_EQ(head.find("Hostname:"), std::string::npos) << "not forward-confirmed";
  EXPECT_EQ(head.find("nobody"), std::string::npos);
  EXPECT_NE(head.find("From: <carol@example.org>"), std::string::npos) << head;
}

TEST_F(EngineTest, TheLocalSocketIsThisHost) {
  smtpd(report("link-connect|vm|pass|unix:/var/run/smtpd.sock|unix:/var/run/smtpd.sock", "0a") + transaction("0a") + mail("0a"));
  EXPECT_NE(scans.at(1).headers.find("\r\nIP: 127.0.0.1\r\n"), std::string::npos);
}

TEST_F(EngineTest, SessionsDoNotMix) {
  std::string a = begin("0a") + mail("0a");
  std::string b = begin("0b") + mail("0b");
  while (!a.empty() || !b.empty()) {
    for (std::string* lines : {&a, &b}) {
      const std::size_t lf = lines->find('\n');
      if (lf == std::string::npos) continue;
      smtpd(lines->substr(0, lf + 1));
      lines->erase(0, lf + 1);
    }
  }
  finish(2, "reject");
  smtpd(commit("0b"));
  EXPECT_EQ(output(), "filter-dataline|0b|d0|.\nfilter-result|0b|c0|reject|554 5.7.1 Spam message rejected\n");
  finish(1, "no action");
  EXPECT_TRUE(output().ends_with("filter-dataline|0a|d0|.\n"));
  smtpd(commit("0a"));
  EXPECT_EQ(output(), "filter-result|0a|c0|proceed\n");
}

TEST_F(EngineTest, ASecondTransactionStartsAfresh) {
  smtpd(begin("0a") + mail("0a"));
  finish(1, "reject");
  smtpd(commit("0a") + report("tx-rollback|00000001", "0a") + report("tx-reset|00000001", "0a"));
  output();
  smtpd(transaction("0a") + mail("0a"));
  ASSERT_TRUE(scans.contains(2));
  EXPECT_EQ(scans.at(2).headers.find("Rcpt: <r@example.org>\r\nRcpt:"), std::string::npos) << "recipients of the first one";
  finish(2, "no action");
  EXPECT_TRUE(output().ends_with("filter-dataline|0a|d0|.\n"));
  smtpd(commit("0a"));
  EXPECT_EQ(output(), "filter-result|0a|c0|proceed\n");
}

TEST_F(EngineTest, AScanWhoseTransactionIsGoneIsCancelledAndItsResultDropped) {
  for (const std::string& end :
       {report("tx-reset|00000001", "0a"), report("link-disconnect", "0a"), report("tx-rollback|00000001", "0a")}) {
    cancelled_scans.clear();
    scans.clear();
    smtpd(begin("0a") + mail("0a") + end);
    ASSERT_EQ(scans.size(), 1U) << end;
    EXPECT_EQ(cancelled_scans, std::vector<ScanId>{scans.begin()->first}) << end;
    EXPECT_FALSE(engine->next_deadline()) << end;
    finish(scans.begin()->first, "no action");
    EXPECT_EQ(output(), "") << end;
    smtpd(report("link-disconnect", "0a"));
  }
  EXPECT_NE(notes.at(0).text.find("answer=none result=reset"), std::string::npos) << notes.at(0).text;
  EXPECT_EQ(engine->sessions(), 0U);
}

TEST_F(EngineTest, AScanThatNeverEndsIsGivenUp) {
  smtpd(begin("0a") + mail("0a"));
  ASSERT_TRUE(engine->next_deadline());
  EXPECT_EQ(*engine->next_deadline(), t0 + 31s);
  engine->tick(t0 + 30s);
  collect();
  EXPECT_EQ(output(), "");
  engine->tick(t0 + 31s);
  collect();
  EXPECT_EQ(cancelled_scans, std::vector<ScanId>{1});
  smtpd(commit("0a"));
  EXPECT_EQ(output(),
            "filter-dataline|0a|d0|.\nfilter-result|0a|c0|reject|451 4.3.0 Message could not be scanned, try again later\n");
  finish(1, "no action");
  EXPECT_EQ(output(), "") << "too late";
}

TEST_F(EngineTest, TheLongestLineComesBackAndOneByteMoreIsRefused) {
  const std::string longest(smtpd::max_dataline, 'x');
  smtpd(begin("0a") + data(longest, "0a") + data(".", "0a"));
  finish(1, "no action");
  EXPECT_EQ(output(), "filter-dataline|0a|d0|" + longest + "\nfilter-dataline|0a|d0|.\n");
  for (const std::string& line : {longest + "x", "." + longest, std::string(65534, 'y'), std::string(200'000, 'z')}) {
    smtpd(begin("0b") + data("Subject: x", "0b") + data(line, "0b") + data("more", "0b") + data(".", "0b") + commit("0b"));
    EXPECT_EQ(output(), "filter-dataline|0b|d0|.\nfilter-result|0b|c0|reject|554 5.6.0 Message holds a line that is too long\n");
  }
  EXPECT_EQ(scans.size(), 1U) << "such a mail is not scanned";
}

TEST_F(EngineTest, WhatOldSmtpdCutsIsLoggedOncePerMessage) {
  std::string lines = begin("0a") + data(std::string(1998, 'x'), "0a") + data(std::string(3000, 'x'), "0a") + data(".", "0a");
  for (std::size_t at = 0; (at = lines.find("|0.7|", at)) != std::string::npos;) lines.replace(at, 5, "|0.6|");
  smtpd(lines);
  EXPECT_EQ(texts(), std::vector<std::string>{
                         "session=0a msgid=00000001 a line of 3000 bytes will be cut to 1997 by this version of smtpd"});
  notes.clear();
  smtpd(begin("0b") + data(std::string(3000, 'x'), "0b") + data(".", "0b"));
  EXPECT_TRUE(notes.empty()) << "0.7 does not cut";
}

TEST_F(EngineTest, WithABrokenConfigurationEveryMessageIsDeferred) {
  settings.out_of_order = "--scan-timeot: no such option";
  start();
  smtpd(begin("0a") + mail("0a") + commit("0a"));
  EXPECT_TRUE(scans.empty());
  EXPECT_EQ(output(),
            "filter-dataline|0a|d0|.\nfilter-result|0a|c0|reject|451 4.3.0 Mail scanning is out of order, try again later\n");
  smtpd(report("tx-rollback|00000001", "0a"));
  ASSERT_FALSE(notes.empty());
  EXPECT_NE(notes.back().text.find(" out_of_order=\"--scan-timeot: no such option\" answer="), std::string::npos)
      << notes.back().text;
}

TEST_F(EngineTest, AMessageWhoseBeginningABrokenConfigurationLetGoByIsDeferredAfterItsRepairToo) {
  settings.out_of_order = "--scan-timeot: no such option";
  start();
  smtpd(begin("0a") + data("Received: by us", "0a") + data("Subject: x", "0a"));
  engine->use(default_settings());
  smtpd(data("", "0a") + data("the end of it", "0a") + data(".", "0a") + commit("0a"));
  EXPECT_TRUE(scans.empty());
  EXPECT_EQ(output(),
            "filter-dataline|0a|d0|.\nfilter-result|0a|c0|reject|451 4.3.0 Mail scanning is out of order, try again later\n");
  smtpd(report("tx-reset|00000001", "0a") + transaction("0a") + mail("0a"));
  EXPECT_EQ(scans.size(), 1U);
}

TEST_F(EngineTest, ASessionWeNeverSawBeginIsRefusedAndNotKept) {
  smtpd(mail("0f") + commit("0f"));
  EXPECT_EQ(output(),
            "filter-dataline|0f|d0|.\nfilter-result|0f|c0|reject|451 4.3.0 Message could not be scanned, try again later\n");
  EXPECT_EQ(engine->sessions(), 0U);
}

TEST_F(EngineTest, APhaseWeNeverAskedForIsAnswered) {
  smtpd("filter|0.7|1.2|smtp-in|mail-from|0a|70|x@y\n");
  EXPECT_EQ(output(), "filter-result|0a|70|proceed\n");
}

TEST_F(EngineTest, WithoutVerifyNobodyIsAskedForAndARecipientPasses) {
  smtpd("config|ready\n");
  EXPECT_EQ(output().find("rcpt-to"), std::string::npos);
  smtpd(begin("0a") + "filter|0.7|1.2|smtp-in|rcpt-to|0a|70|x@y\nfilter|0.7|1.2|smtp-in|rcpt-to|0f|70|x@y\n");
  EXPECT_EQ(output(), "filter-result|0a|70|proceed\nfilter-result|0f|70|proceed\n");
}

TEST_F(EngineTest, RubbishIsReportedAndAnswersNothing) {
  smtpd("rubbish\n\nreport|x\nfilter|0.7|1.2|smtp-in|commit|nonsense|c0|\n");
  EXPECT_EQ(output(), "");
  EXPECT_EQ(notes.size(), 4U);
}

TEST_F(EngineTest, OldVersionsGetTheirOrder) {
  std::string lines = begin("0a") + mail("0a");
  for (std::size_t at = 0; (at = lines.find("|0.7|", at)) != std::string::npos;) lines.replace(at, 5, "|0.4|");
  for (const auto& [from, to] : {std::pair("tx-mail|0a|00000001|ok|a@example.net", "tx-mail|0a|00000001|a@example.net|ok"),
                                 std::pair("tx-rcpt|0a|00000001|ok|r@example.org", "tx-rcpt|0a|00000001|r@example.org|ok")}) {
    lines.replace(lines.find(from), std::string(from).size(), to);
  }
  smtpd(lines);
  EXPECT_NE(scans.at(1).headers.find("Rcpt: <r@example.org>"), std::string::npos);
  finish(1, "reject");
  smtpd("filter|0.4|1.2|smtp-in|commit|0a|c0|\n");
  EXPECT_EQ(output(), "filter-dataline|d0|0a|.\nfilter-result|c0|0a|reject|554 5.7.1 Spam message rejected\n");
}

TEST_F(EngineTest, OutputIsBoundedWhileAMessageIsWritten) {
  std::string lines = begin("0a");
  for (int i = 0; i < 20'000; ++i) lines += data(std::string(70, 'x'), "0a");
  smtpd(lines + data(".", "0a"));
  finish(1, "no action");
  std::size_t total = 0;
  for (auto bytes = engine->output(); !bytes.empty(); bytes = engine->output()) {
    EXPECT_LT(bytes.size(), 129U * 1024);
    const std::size_t part = std::min<std::size_t>(bytes.size(), 10'007);
    total += part;
    engine->written(part);
  }
  EXPECT_EQ(total, 20'000U * (22 + 70 + 1) + 22 + 2);
}

TEST_F(EngineTest, ATransactionThatEndsWhileItsMailIsWrittenLeavesNothingBehind) {
  std::string lines = begin("0a");
  for (int i = 0; i < 20'000; ++i) lines += data(std::string(70, 'x'), "0a");
  smtpd(lines + data(".", "0a") + begin("0b") + mail("0b"));
  finish(1, "no action");
  finish(2, "no action");
  const std::size_t offered = engine->output().size();
  engine->written(1000);  // in the middle of a line
  smtpd(report("tx-rollback|00000001", "0a") + report("tx-reset|00000001", "0a"));
  const std::string rest = output();
  EXPECT_LT(rest.size(), offered + 1000) << "what was under way, and the other session's mail";
  EXPECT_EQ(rest.find("filter-dataline|0a|d0|.\n"), std::string::npos);
  const std::size_t other = rest.find("\nfilter-dataline|0b|d0|Received: by us\n");
  ASSERT_NE(other, std::string::npos);
  EXPECT_TRUE(rest.substr(0, other).ends_with("|" + std::string(70, 'x'))) << "no line is cut off";
  EXPECT_TRUE(rest.ends_with("filter-dataline|0b|d0|.\n"));
  smtpd(transaction("0a") + mail("0a"));
  finish(3, "no action");
  EXPECT_TRUE(output().ends_with("filter-dataline|0a|d0|.\n"));
}

TEST_F(EngineTest, AHeaderSectionBeyondItsBoundIsRefused) {
  const std::string line = data("X-Long: " + std::string(65'000, 'x'), "0a");
  smtpd(begin("0a"));
  for (int i = 0; i < 65; ++i) smtpd(line);
  smtpd(data("", "0a") + data("body", "0a") + data(".", "0a") + commit("0a"));
  EXPECT_TRUE(scans.empty());
  EXPECT_EQ(output(),
            "filter-dataline|0a|d0|.\nfilter-result|0a|c0|reject|554 5.6.0 Message has a header section that is too large\n");
  smtpd(report("tx-rollback|00000001", "0a") + report("tx-reset|00000001", "0a") + transaction("0a") + mail("0a"));
  EXPECT_EQ(scans.size(), 1U) << "the next mail is as any other";
}

TEST_F(EngineTest, AHundredThousandHeadersComeBack) {
  std::string head;
  for (int i = 0; i < 100'000; ++i) head += data("X-Field-" + std::to_string(i) + ": x", "0a");
  smtpd(begin("0a") + data("Received: by us", "0a") + head + data("", "0a") + data(".", "0a"));
  rspamd::Verdict verdict;
  verdict.action = "no action";
  for (int i = 0; i < 2000; ++i) {
    verdict.add_headers.push_back({"X-Added", "x", 1});
    verdict.remove_headers.push_back({"X-Field-" + std::to_string(i), 1});
  }
  engine->scan_finished(1, verdict, t0);
  const std::string back = output();
  EXPECT_EQ(std::count(back.begin(), back.end(), '\n'), 100'003);
  EXPECT_NE(back.find("|X-Added: x\n"), std::string::npos);
  EXPECT_EQ(back.find("|X-Field-1999: x\n"), std::string::npos);
}

std::string long_body(const std::string& id, int lines) {
  std::string all;
  for (int i = 0; i < lines; ++i) all += "filter|0.7|1.2|smtp-in|data-line|" + id + "|d0|" + std::string(998, 'x') + "\n";
  return all;
}

Settings with_memory(std::size_t memory, const std::string& spool = "/var/tmp") {
  Settings settings = default_settings();
  settings.memory = memory;
  settings.spool = spool;
  return settings;
}

TEST_F(EngineTest, WithoutMemoryForItAMailComesBackFromItsFile) {
  engine->use(with_memory(100'000));
  smtpd(begin("0a") + data("Subject: long", "0a") + data("", "0a") + long_body("0a", 3000) + data(".", "0a"));
  ASSERT_EQ(scans.size(), 1U);
  EXPECT_EQ(scans.at(1).message->size(), 15U + 2 + 3'000'000);
  finish(1, "no action");
  const std::string back = output();
  EXPECT_EQ(back.size(), 22U + 13 + 1 + 22 + 1 + 3000U * (22 + 998 + 1) + 22 + 2);
  EXPECT_TRUE(back.ends_with("xx\nfilter-dataline|0a|d0|.\n"));
}

TEST_F(EngineTest, AMailThatFindsNoStorageIsDeferredAloneAndSaidOnce) {
  engine->use(with_memory(100'000, "/nonexistent"));
  smtpd(begin("0a") + data("", "0a") + long_body("0a", 200) + begin("0b") + mail("0b") + data(".", "0a") + commit("0a"));
  ASSERT_EQ(scans.size(), 1U);
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_EQ(notes[0].text, "session=0a msgid=00000001 the message is deferred: /nonexistent: No such file or directory");
  EXPECT_EQ(
      output(),
      "filter-dataline|0a|d0|.\nfilter-result|0a|c0|reject|451 4.3.1 Not enough storage for the message, try again later\n");
  smtpd(report("tx-rollback|00000001", "0a"));
  EXPECT_NE(notes[1].text.find(
                "size=200002 answer=\"451 4.3.1 Not enough storage for the message, try again later\" result=rolled-back"),
            std::string::npos)
      << notes[1].text;
  finish(1, "no action");
  EXPECT_TRUE(output().ends_with("filter-dataline|0b|d0|.\n"));
  smtpd(commit("0b"));
  EXPECT_EQ(output(), "filter-result|0b|c0|proceed\n");
}

// Cuts the spool file that this process has in /var/tmp.
void cut_spool_file() {
  for (int descriptor = 3; descriptor < 100; ++descriptor) {
    char path[200];
    const ssize_t n = readlink(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), path, sizeof path);
    if (std::string_view(path, n < 0 ? 0 : static_cast<std::size_t>(n)).starts_with("/var/tmp/")) {
      ASSERT_EQ(ftruncate(descriptor, 500'000), 0);
    }
  }
}

TEST_F(EngineTest, WhatCannotBeReadBackIsRefusedAtCommit) {
  engine->use(with_memory(100'000));
  const std::string deferred = "filter-result|0a|c0|reject|451 4.3.1 Not enough storage for the message, try again later\n";
  const std::string long_mail = data("", "0a") + long_body("0a", 1000) + data(".", "0a");
  smtpd(begin("0a") + long_mail);
  finish(1, "no action");
  engine->written(engine->output().size());
  cut_spool_file();
  const std::string back = output();
  EXPECT_TRUE(back.ends_with("x\nfilter-dataline|0a|d0|.\n"));
  EXPECT_LT(back.size(), 510'000U);
  smtpd(commit("0a"));
  EXPECT_EQ(output(), deferred);
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_NE(notes[0].text.find("/var/tmp: Input/output error"), std::string::npos) << notes[0].text;
  smtpd(report("tx-rollback|00000001", "0a"));
  EXPECT_NE(notes[1].text.find("answer=\"451 4.3.1"), std::string::npos) << notes[1].text;

  smtpd(report("tx-reset|00000001", "0a") + transaction("0a") + long_mail);
  cut_spool_file();
  const auto& message = *scans.at(2).message;
  std::size_t sent = 0;
  while (!message.from(sent).empty()) sent += message.from(sent).size();
  finish(2, "no action");
  smtpd(commit("0a"));
  EXPECT_EQ(output(), "filter-dataline|0a|d0|.\n" + deferred) << "rspamd did not see all of it";
}

TEST_F(EngineTest, ALongMailLetsTheOthersGoFirst) {
  smtpd(begin("0a") + data("", "0a") + long_body("0a", 5000) + data(".", "0a") + begin("0b") + mail("0b"));
  finish(1, "no action");
  finish(2, "no action");
  const std::string all = output();
  EXPECT_LT(all.find("filter-dataline|0b|d0|.\n"), all.size() / 2);
  EXPECT_TRUE(all.ends_with("filter-dataline|0a|d0|.\n"));
}

// Which listener smtpd completes mail on, by the address it reports as the session's dest; what is relayed to us stays as it is.
TEST_F(EngineTest, SubmittedMailIsCompletedBeforeTheScanWhereSmtpdWouldDoItAfterIt) {
  const std::string date = "Date: Sun, 1 Nov 2026 00:00:00 +0000 (UTC)\r\n";
  struct Row {
    const char* dest;
    const char* user;
    bool qualified;
    bool completed;
  };
  const Row rows[] = {
      {"192.0.2.9:25", "", false, false},
      {"192.0.2.9:25", "alice", true, false},
      {"192.0.2.9:465", "alice", true, false},
      {"192.0.2.9:587", "", true, true},
      {"192.0.2.9:587", "alice", true, true},
      {"[2001:db8::1]:587", "alice", true, true},
      {"127.0.0.1:25", "", true, true},
      {"[::1]:10025", "", true, true},
      {"0.0.0.0:25", "", false, false},
      {"[::]:25", "", false, false},
      {"127.0.0.11:25", "", false, false},
      {"192.0.2.9:1587", "", false, false},
      {"unix:/var/run/smtpd.sock", "", true, true},
  };
  settings.submission = true;
  engine->use(settings);
  ScanId scan = 0;
  for (const Row& row : rows) {
    const std::string id = "0a";
    smtpd(report(std::string("link-connect|c|pass|192.0.2.1:99|") + row.dest, id) + report("link-greeting|mx.example.org", id));
    if (*row.user) smtpd(report(std::string("link-auth|pass|") + row.user, id));
    smtpd(transaction(id) + data("Received: by us id 00000001;", id) + data("\tSun, 1 Nov 2026 00:00:00 +0000 (UTC)", id) +
          data("To: bob", id) + data("Bcc: eve", id) + data("", id) + data("To: body", id) + data(".", id));
    std::string expected = "Received: by us id 00000001;\r\n\tSun, 1 Nov 2026 00:00:00 +0000 (UTC)\r\n";
    expected += row.qualified ? "To: bob@mx.example.org\r\n" : "To: bob\r\nBcc: eve\r\n";
    if (row.completed) expected += date + "Message-ID: <00000001.0a@mx.example.org>\r\n";
    const StartScan& start = scans.at(++scan);
    EXPECT_EQ(start.message->head(), expected) << row.dest << " " << row.user;
    EXPECT_EQ(start.message->from(expected.size()), "\r\nTo: body\r\n") << row.dest;
  }
}

TEST_F(EngineTest, SubmittedMailIsLeftAloneUnlessAsked) {
  smtpd(report("link-connect|c|pass|192.0.2.1:99|127.0.0.1:25", "0a") + report("link-greeting|mx.example.org", "0a") +
        transaction("0a") + data("To: bob", "0a") + data(".", "0a"));
  EXPECT_EQ(scans.at(1).message->head(), "To: bob\r\n");
}

// smtpd reads backslashes between quotes since 7.5, and what it would do is what we must do.
TEST_F(EngineTest, SubmittedAddressesAreReadAsThisVersionOfSmtpdDoes) {
  settings.submission = true;
  engine->use(settings);
  const std::string from = R"(From: "\"Doe, John\"" <joe@example.net>)";
  ScanId scan = 0;
  for (const auto& [version, expected] :
       {std::pair("6.8.0p2", R"(From: "\"Doe@mx, John\"" <joe@example.net>)"),
        std::pair("7.4.0p1", R"(From: "\"Doe@mx, John\"" <joe@example.net>)"), std::pair("7.5.0", from.c_str()),
        std::pair("7.10.0-portable", from.c_str()), std::pair("8.0", from.c_str())}) {
    smtpd("config|smtpd-version|" + std::string(version) + "\n" + report("link-connect|c|pass|192.0.2.1:99|127.0.0.1:25", "0a") +
          report("link-greeting|mx", "0a") + transaction("0a") + data(from, "0a") + data(".", "0a"));
    EXPECT_TRUE(scans.at(++scan).message->head().starts_with(std::string(expected) + "\r\n")) << version;
  }
}

class ScanLimitTest : public EngineTest {
 protected:
  void limit(std::size_t at_once, std::size_t queue) {
    settings.max_scans = at_once;
    settings.max_queue = queue;
    engine->use(settings);
  }
  static std::string from(const std::string& ip, const std::string& id) {
    std::string lines = begin(id);
    return lines.replace(lines.find("192.0.2.1"), 9, ip) + mail(id);
  }
  std::vector<ScanId> begun() const {
    std::vector<ScanId> ids;
    for (const auto& [id, start] : scans) ids.push_back(id);
    return ids;
  }
};

using Ids = std::vector<ScanId>;

TEST_F(ScanLimitTest, TheOthersWaitAndTheWaitCountsInTheirDeadline) {
  limit(2, 10);
  for (const char* id : {"01", "02", "03", "04"}) smtpd(begin(id) + mail(id));
  EXPECT_EQ(begun(), (Ids{1, 2}));
  finish(1, "no action");
  EXPECT_EQ(begun(), (Ids{1, 2, 3}));
  EXPECT_EQ(scans.at(3).until, t0 + 30s);
  EXPECT_TRUE(scans.at(3).headers.find("Queue-Id: 00000001") != std::string::npos);
  EXPECT_EQ(scans.at(3).message->size(), 37U);
  finish(3, "no action");
  smtpd(commit("03") + report("tx-commit|00000001|99", "03"));
  EXPECT_NE(notes.at(0).text.find(" queue_ms=5 "), std::string::npos) << notes.at(0).text;
  EXPECT_NE(notes.at(0).text.find(" scan_ms=5 "), std::string::npos) << notes.at(0).text;
  finish(2, "no action");
  finish(4, "no action");
  smtpd(commit("01") + report("tx-commit|00000001|99", "01"));
  EXPECT_EQ(notes.at(1).text.find("queue_ms"), std::string::npos) << "it did not wait";
  EXPECT_FALSE(engine->next_deadline());
}

TEST_F(ScanLimitTest, OneClientDoesNotHoldUpAnother) {
  limit(1, 100);
  for (int i = 10; i < 40; ++i) smtpd(from("192.0.2.1", std::to_string(i)));
  smtpd(from("192.0.2.2", "0a"));
  finish(1, "no action");
  finish(2, "no action");
  EXPECT_EQ(begun(), (Ids{1, 2, 31}));
}

TEST_F(ScanLimitTest, AFullQueueIsAnOverloadOfTheClientWithTheMost) {
  limit(1, 2);
  for (const char* id : {"01", "02", "03", "04"}) smtpd(from("192.0.2.1", id));
  EXPECT_EQ(output(), "filter-dataline|04|d0|.\n");
  smtpd(commit("04") + report("tx-rollback|00000001", "04"));
  EXPECT_EQ(output(), "filter-result|04|c0|reject|451 4.3.2 Too many messages are being scanned, try again later\n");
  EXPECT_NE(notes.at(0).text.find(
                "error=overload reason=\"too many scans are under way: no room to wait\" scan_ms=0 answer=\"451 4.3.2"),
            std::string::npos)
      << notes.at(0).text;
  smtpd(from("192.0.2.2", "0a"));
  EXPECT_EQ(output(), "filter-dataline|03|d0|.\n");
  finish(1, "no action");
  finish(2, "no action");
  EXPECT_EQ(begun(), (Ids{1, 2, 5}));
}

TEST_F(ScanLimitTest, WhoHasNoTurnInTimeIsAnOverloadToo) {
  limit(1, 2);
  smtpd(begin("01") + mail("01"));
  smtpd(begin("02") + mail("02"), t0 + 1s);
  EXPECT_EQ(engine->next_deadline(), t0 + 31s);
  engine->tick(t0 + 31s);
  collect();
  EXPECT_EQ(begun(), Ids{1});
  EXPECT_EQ(cancelled_scans, Ids{1});
  EXPECT_EQ(output(), "filter-dataline|02|d0|.\nfilter-dataline|01|d0|.\n");
  smtpd(report("tx-rollback|00000001", "02"));
  EXPECT_NE(notes.at(0).text.find("reason=\"too many scans are under way: no turn in time\" scan_ms=30000"), std::string::npos)
      << notes.at(0).text;
}

TEST_F(ScanLimitTest, LessPatienceIsForThoseUnderWayToo) {
  limit(1, 10);
  smtpd(begin("01") + mail("01") + begin("02") + mail("02"));
  settings.max_scans = 1;
  settings.scan_timeout = 5s;
  engine->use(settings);
  smtpd(begin("03") + mail("03"), t0 + 2s);
  EXPECT_EQ(engine->next_deadline(), t0 + 5s);
  engine->tick(t0 + 5s);
  EXPECT_EQ(output(), "filter-dataline|02|d0|.\n");
  EXPECT_EQ(engine->next_deadline(), t0 + 6s) << "that of the scan, should it not end by itself";
  settings.scan_timeout = 60s;
  engine->use(settings);
  smtpd(begin("04") + mail("04"), t0 + 5s);
  engine->tick(t0 + 6s);
  collect();
  EXPECT_EQ(cancelled_scans, Ids{1});
  EXPECT_EQ(begun(), (Ids{1, 3}));
  EXPECT_EQ(scans.at(3).until, t0 + 7s);
  EXPECT_EQ(engine->next_deadline(), t0 + 8s);
}

TEST_F(ScanLimitTest, MoreScansAtOnceBeginAtOnce) {
  limit(1, 10);
  smtpd(begin("01") + mail("01") + begin("02") + mail("02"));
  limit(2, 10);
  engine->tick(t0 + 1s);
  collect();
  EXPECT_EQ(begun(), (Ids{1, 2}));
}

TEST_F(ScanLimitTest, AScanThatFindsNoDescriptorWaitsForAnotherToEnd) {
  const auto finds_none = [&](ScanId id) {
    engine->scan_finished(id, tl::unexpected(rspamd::ScanFailure{rspamd::ScanFailure::Kind::overload, "Too many open files"}),
                          t0);
    scans.clear();
    collect();
  };
  smtpd("config|ready\n");
  output();
  for (const char* id : {"01", "02", "03"}) smtpd(begin(id) + mail(id));
  EXPECT_EQ(begun(), (Ids{1, 2, 3}));
  finds_none(3);
  finds_none(2);
  EXPECT_EQ(begun(), Ids{}) << "the first one is under way";
  EXPECT_EQ(output(), "");
  smtpd(begin("04") + mail("04"));
  EXPECT_EQ(begun(), Ids{});
  finish(1, "no action");
  EXPECT_EQ(begun(), (Ids{2, 3})) << "and one more than had found any";
  EXPECT_EQ(scans.at(2).until, t0 + 30s);
  EXPECT_EQ(scans.at(2).message->size(), 37U);
  output();
  finds_none(3);
  smtpd(report("link-disconnect", "02"));
  EXPECT_EQ(cancelled_scans, (Ids{2}));
  EXPECT_EQ(begun(), (Ids{3, 4}));
  finds_none(4);
  finds_none(3);
  EXPECT_EQ(begun(), (Ids{4})) << "nobody is left to wait for";
  EXPECT_EQ(output(), "filter-dataline|03|d0|.\n");
  smtpd(commit("03") + report("tx-rollback|00000001", "03"));
  EXPECT_EQ(output(), "filter-result|03|c0|reject|451 4.3.2 Too many messages are being scanned, try again later\n");
  EXPECT_NE(notes.back().text.find(" error=overload reason=\"Too many open files\" "), std::string::npos) << notes.back().text;
  engine->tick(t0 + 31s);
  collect();
  EXPECT_EQ(output(), "filter-dataline|04|d0|.\n") << "its deadline is that of its end";
  EXPECT_FALSE(engine->next_deadline());
}

TEST_F(ScanLimitTest, WhoLeavesMakesRoomAtOnce) {
  limit(1, 1);
  smtpd(begin("01") + mail("01") + begin("02") + mail("02"));
  smtpd(report("link-disconnect", "02"));
  EXPECT_TRUE(cancelled_scans.empty()) << "it had not begun";
  smtpd(begin("03") + mail("03"));
  EXPECT_EQ(output(), "") << "the place in the queue is free";
  smtpd(report("tx-reset|00000001", "01"));
  EXPECT_EQ(cancelled_scans, Ids{1});
  EXPECT_EQ(begun(), (Ids{1, 3})) << "and so is the scan";
}

// The longest line smtpd takes back, and a byte more.
TEST_F(EngineTest, ARewrittenBodyHoldsNoLineThatSmtpdCannotTakeBack) {
  settings.allow_rewritten_body = true;
  engine->use(settings);
  ScanId scan = 0;
  for (const auto& [line, fits] :
       {std::pair(std::string(smtpd::max_dataline, 'x'), true), std::pair("." + std::string(smtpd::max_dataline - 2, 'x'), true),
        std::pair(std::string(smtpd::max_dataline + 1, 'x'), false),
        std::pair("." + std::string(smtpd::max_dataline - 1, 'x'), false)}) {
    smtpd(begin("0a") + mail("0a"));
    ASSERT_TRUE(scans.at(++scan).rewritten_bounds);
    rspamd::RewrittenBody body(*scans.at(scan).rewritten_bounds);
    body.append(line);
    rspamd::Verdict verdict;
    verdict.action = "no action";
    verdict.has_rewritten_body = true;
    verdict.rewritten_body = body.finish();
    engine->scan_finished(scan, verdict, t0 + 5ms);
    const std::string dot = line[0] == '.' ? "." : "";
    EXPECT_TRUE(output() == (fits ? "filter-dataline|0a|d0|Received: by us\nfilter-dataline|0a|d0|Subject: x\n"
                                    "filter-dataline|0a|d0|\nfilter-dataline|0a|d0|" +
                                        dot + line + "\nfilter-dataline|0a|d0|.\n"
                                  : "filter-dataline|0a|d0|.\n"));
    smtpd(commit("0a"));
    EXPECT_EQ(output(), "filter-result|0a|c0|" +
                            std::string(fits ? "proceed" : "reject|451 4.3.0 Message could not be scanned, try again later") +
                            "\n");
    smtpd(report("link-disconnect", "0a"));
    EXPECT_NE(notes.back().text.find(fits ? " applied=\"rewritten body\""
                                          : " error=unreadable reason=\"a line of the rewritten body is too long\""),
              std::string::npos);
  }
}

TEST_F(EngineTest, ARefusalDoesNotDependOnTheBody) {
  settings.allow_rewritten_body = true;
  engine->use(settings);
  smtpd(begin("0a") + mail("0a"));
  rspamd::Verdict verdict;
  verdict.action = "reject";
  verdict.has_rewritten_body = true;
  verdict.rewritten_body = fail(Errc::too_large, "too large");
  engine->scan_finished(1, verdict, t0 + 5ms);
  smtpd(commit("0a"));
  EXPECT_EQ(output(), "filter-dataline|0a|d0|.\nfilter-result|0a|c0|reject|554 5.7.1 Spam message rejected\n");
}

TEST_F(EngineTest, ARewrittenBodyIsWantedOnlyWhenItIsAllowedAndEnforced) {
  smtpd(begin("0a") + mail("0a"));
  EXPECT_FALSE(scans.at(1).rewritten_bounds);
  settings.allow_rewritten_body = true;
  engine->use(settings);
  smtpd(begin("0b") + mail("0b"));
  ASSERT_TRUE(scans.at(2).rewritten_bounds);
  EXPECT_EQ(scans.at(2).rewritten_bounds->max_size, 2 * scans.at(2).message->size() + 1024 * 1024);
  settings.monitor = true;
  engine->use(settings);
  smtpd(begin("0c") + mail("0c"));
  EXPECT_FALSE(scans.at(3).rewritten_bounds);
}

TEST_F(EngineTest, EndOfInputEndsEverything) {
  smtpd(begin("0a") + mail("0a") + begin("0b"));
  engine->end_of_input();
  collect();
  EXPECT_EQ(cancelled_scans, std::vector<ScanId>{1});
  EXPECT_EQ(engine->sessions(), 0U);
  EXPECT_FALSE(engine->next_deadline());
}

}  // namespace
}  // namespace mailbridge::session
