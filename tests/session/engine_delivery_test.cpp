// What the engine makes of --deliver: session/delivery_plan.hpp, session/delivery_desk.hpp.
#include <gmock/gmock.h>

#include <iterator>

#include "tests/session/fixture.hpp"

namespace mailbridge::session {
namespace {

using namespace std::chrono_literals;
using lmtp::Outcome;
using lmtp::Stage;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const lmtp::MarkKeys key = lmtp::MarkKeys::parse("0123456789abcdef0123456789abcdef").value();

Outcome reply(Stage stage, int code, std::string enhanced) {
  return {stage, lmtp::Reply{code, std::move(enhanced), {"<x> words"}}, {}};
}
const Outcome delivered = reply(Stage::dot, 250, "2.0.0");
const Outcome full = reply(Stage::dot, 552, "5.2.2");
const Outcome full_now = reply(Stage::dot, 452, "4.2.2");
const Outcome down = {Stage::connect, std::nullopt, "nobody listens there"};
const Outcome lost = {Stage::dot, std::nullopt, "connection closed", true};

class DeliveryTest : public EngineFixture {
 protected:
  DeliveryTest() {
    settings.verify.domains = {"example.org"};
    settings.delivery = recipients::DeliverySettings{key, 60s};
    restart();
  }

  void restart(const std::string& dest = "192.0.2.9:25") {
    start();
    smtpd("config|smtpd-version|7.8.0\nconfig|ready\n");
    smtpd(connect("0a", dest) + report("protocol-server|250-SIZE 36700160"));
    output();
  }

  void smtpd(const std::string& lines) {
    EngineFixture::smtpd(lines);
    find_mailboxes();
  }
  // All look-ups are answered at once.
  void find_mailboxes() {
    while (!lookups.empty()) {
      const recipients::StartLookup lookup = lookups.extract(lookups.begin()).mapped();
      const bool known = std::string_view("aABbx").find(lookup.recipient[0]) != std::string_view::npos;
      const bool unsure = lookup.recipient.starts_with("unsure");
      engine->lookup_finished(lookup.id,
                              known    ? recipients::Mailbox::known
                              : unsure ? recipients::Mailbox::unsure
                                       : recipients::Mailbox::unknown,
                              "", now);
      collect();
    }
  }

  static std::string envelope(const std::vector<std::string>& recipients) {
    std::string lines = report("tx-begin|00000001") + report("tx-mail|00000001|ok|a@example.net");
    for (const std::string& recipient : recipients) {
      lines += rcpt_to(recipient) + report("tx-rcpt|00000001|ok|" + recipient);
    }
    return lines;
  }
  static std::string content(const std::vector<std::string>& fields = {"Subject: x"}) {
    std::string lines;
    const auto line = [&](const std::string& text) { lines += data(text); };
    for (const char* own : {"Received: from x (y [192.0.2.1])", "\tby mx.example.org (OpenSMTPD) with ESMTP id 00000001;",
                            "\tThu, 1 Jan 2026 00:00:00 +0000 (UTC)"})
      line(own);
    for (const std::string& field : fields) line(field);
    for (const char* text : {"", "..dot", "."}) line(text);
    return lines;
  }
  // What a message of content() is, and whole on its way back.
  static std::string head(const std::string& fields = "Subject: x\r\n") {
    return "Received: from x (y [192.0.2.1])\r\n\tby mx.example.org (OpenSMTPD) with ESMTP id 00000001;\r\n"
           "\tThu, 1 Jan 2026 00:00:00 +0000 (UTC)\r\n" +
           fields;
  }
  static std::string lines_of(std::string bytes) {
    std::string lines;
    while (!bytes.empty()) {
      const std::size_t end = bytes.find("\r\n");
      lines += "filter-dataline|0a|d0|" + bytes.substr(0, end) + "\n";
      bytes.erase(0, end + 2);
    }
    return lines + "filter-dataline|0a|d0|.\n";
  }
  static std::string mark_of(const std::vector<std::string>& recipients) { return lmtp::seal(key, "00000001", recipients); }

  // On the message that came last.
  void verdict(const std::string& action) { EngineFixture::verdict(scans.extract(std::prev(scans.end())).key(), action, now); }
  // A message that rspamd lets pass.
  void mail(const std::vector<std::string>& recipients, const std::vector<std::string>& fields = {"Subject: x"}) {
    smtpd(envelope(recipients));
    output();
    smtpd(content(fields));
    if (!scans.empty()) verdict("no action");
  }
  void outcomes(const std::vector<Outcome>& of_them) {
    ASSERT_FALSE(deliveries.empty());
    engine->delivery_finished(deliveries.back().id, of_them, "unix:/lmtp", now + 7ms);
    collect();
  }
  std::string commit() {
    smtpd(EngineFixture::commit());
    return output();
  }
  // The log line of the message.
  Note log(const std::string& became = "tx-commit|00000001|99") {
    smtpd(report(became) + report("tx-reset|00000001"));
    for (const Note& note : notes) {
      if (note.text.find("result=") != std::string::npos) return note;
    }
    return {Level::debug, "no line"};
  }

  static constexpr std::string_view proceed = "filter-result|0a|c0|proceed\n";
};

TEST_F(DeliveryTest, TheMailStoreGetsWhatSmtpdWouldHaveQueued) {
  mail({"alice@example.org", "Bob+x@example.org"},
       {"Subject: x", "X-Spam: No", "X-Mailbridge-Delivered: forged", "Bcc: c@x", "To: carol"});
  ASSERT_EQ(deliveries.size(), 1U);
  const lmtp::Transaction& wanted = deliveries[0].transaction;
  EXPECT_EQ(wanted.sender, "a@example.net");
  ASSERT_EQ(wanted.recipients.size(), 2U);
  EXPECT_EQ(wanted.recipients[0].address, "alice@example.org");
  EXPECT_EQ(wanted.recipients[1].address, "Bob+x@example.org");
  EXPECT_EQ(wanted.recipients[0].original, "");
  EXPECT_EQ(wanted.helo, "mx.example.org");
  EXPECT_EQ(wanted.client, (lmtp::ClientInfo{"192.0.2.1", "mx.example.net", "", "0a.00000001"}));
  EXPECT_EQ(wanted.mail.bytes(0), head("Subject: x\r\nTo: carol@mx.example.org\r\n")) << "as smtpd does it";
  EXPECT_EQ(wanted.mail.bytes(wanted.mail.head.size()), "\r\n.dot\r\n");
  EXPECT_EQ(deliveries[0].dot_by, now + 30s);
  EXPECT_EQ(deliveries[0].reply_by, now + 60s);
  EXPECT_EQ(output(), "") << "the client waits";
}

// For smtpd may make somebody else of one of them, whom the agent delivers to.
TEST_F(DeliveryTest, AllHaveItAndTheQueuedCopyIsWholeAndMarked) {
  mail({"alice@example.org", "bob@example.org", "alice@example.org"});
  outcomes({delivered, delivered});
  EXPECT_EQ(output(), lines_of(mark_of({"alice@example.org", "bob@example.org"}) + head() + "\r\n..dot\r\n"));
  EXPECT_EQ(commit(), proceed);
  const Note line = log();
  EXPECT_THAT(line.text,
              HasSubstr(" delivered=2/2 lmtp=unix:/lmtp deliver_ms=7 lmtp_reply=\"250 2.0.0 <x> words\" answer=proceed "
                        "result=committed"));
  EXPECT_EQ(line.level, Level::info);
  EXPECT_THAT(engine->counters(), HasSubstr("deliver.delivered=2"));
}

TEST_F(DeliveryTest, WhatCameOfItDecidesWhatSmtpdGets) {
  const std::string whole = head() + "\r\n..dot\r\n";
  const std::string a = "alice@example.org", b = "bob@example.org";
  struct Row {
    std::string name;
    std::vector<Outcome> outcomes;
    std::vector<std::string> marked;
    std::string refusal;
    std::string logged;
    Level level;
  };
  const Row rows[] = {
      {"one is full",
       {delivered, full},
       {a},
       "",
       "delivered=1/2 lmtp=unix:/lmtp deliver_ms=7 lmtp_stage=dot lmtp_reply=\"552 5.2.2 <x> words\"",
       Level::info},
      {"the other is full", {full_now, delivered}, {b}, "", "delivered=1/2", Level::info},
      {"both are full", {full, full}, {}, "552 5.2.2 Mailbox is full", "delivered=0/2", Level::info},
      {"one of them for now", {full, full_now}, {}, "452 4.2.2 Mailbox is full", "delivered=0/2", Level::info},
      {"no connection", {down, down}, {}, "", "lmtp_stage=connect lmtp_error=\"nobody listens there\"", Level::warn},
      {"one refused, then no more answer", {full, down}, {}, "", "delivered=0/2", Level::warn},
      {"nobody knows", {lost, lost}, {}, "", "deliver_note=\"outcome unknown, may be delivered twice\"", Level::error},
      {"one has it, of the other nobody knows", {delivered, lost}, {a}, "", "delivered=1/2", Level::error},
      {"fewer outcomes than recipients", {delivered}, {a}, "", "may be delivered twice", Level::error},
  };
  for (const Row& row : rows) {
    restart();
    notes.clear();
    mail({a, b});
    outcomes(row.outcomes);
    if (row.refusal.empty()) {
      EXPECT_EQ(output(), lines_of((row.marked.empty() ? "" : mark_of(row.marked)) + whole)) << row.name;
      EXPECT_EQ(commit(), proceed) << row.name;
    } else {
      EXPECT_EQ(output(), "filter-dataline|0a|d0|.\n") << row.name << ": nothing is queued";
      EXPECT_EQ(commit(), "filter-result|0a|c0|reject|" + row.refusal + "\n") << row.name;
    }
    const Note line = log(row.refusal.empty() ? "tx-commit|00000001|9" : "tx-rollback|00000001");
    EXPECT_THAT(line.text, HasSubstr(row.logged)) << row.name;
    EXPECT_EQ(line.level, row.level) << row.name;
  }
}

// Of these nobody asked Dovecot, or it could not tell. What is queued for them may leave this server.
TEST_F(DeliveryTest, AMessageThatIsForOthersTooIsLeftToTheQueue) {
  for (const std::string other : {"elsewhere@example.net", "unsure@example.org"}) {
    mail({"alice@example.org", other});
    EXPECT_THAT(deliveries, IsEmpty());
    EXPECT_EQ(output(), lines_of(head() + "\r\n..dot\r\n"));
    EXPECT_EQ(commit(), proceed);
    EXPECT_THAT(log().text, HasSubstr("left_to_smtpd=recipients"));
  }
  mail({"elsewhere@example.net"});
  EXPECT_THAT(deliveries, IsEmpty());
  EXPECT_EQ(output(), lines_of(head() + "\r\n..dot\r\n"));
}

// An alias, a list, a .forward file: smtpd tells of each envelope it makes of a recipient.
TEST_F(DeliveryTest, WhomSmtpdMakesSeveralOfIsLeftToTheQueue) {
  const std::string one = report("tx-envelope|00000001|0000000100000001"),
                    another = report("tx-envelope|00000001|0000000100000002");
  const auto ask = [&](const std::string& recipient, const std::string& envelopes) {
    smtpd("filter|0.7|1.2|smtp-in|rcpt-to|0a|70|" + recipient + "\n" + envelopes + report("tx-rcpt|00000001|ok|" + recipient));
  };
  struct Row {
    std::string name, of_alice, of_bob;
    bool delivered;
  };
  const Row rows[] = {
      {"one each", one, another, true},
      {"alice is two", one + another, one, false},
      {"bob is two", one, one + another, false},
      {"not told", "", "", true},
  };
  for (const Row& row : rows) {
    restart();
    deliveries.clear();
    notes.clear();
    smtpd(report("tx-begin|00000001") + report("tx-mail|00000001|ok|a@example.net"));
    ask("alice@example.org", row.of_alice);
    ask("bob@example.org", row.of_bob);
    output();
    smtpd(content());
    verdict("no action");
    EXPECT_EQ(deliveries.size(), row.delivered ? 1U : 0U) << row.name;
    if (row.delivered) continue;
    EXPECT_EQ(output(), lines_of(head() + "\r\n..dot\r\n")) << row.name;
    EXPECT_THAT(log().text, HasSubstr("left_to_smtpd=recipients")) << row.name;
  }
}

TEST_F(DeliveryTest, WithoutTheOptionNothingIsDelivered) {
  settings.delivery.reset();
  restart();
  mail({"alice@example.org"});
  EXPECT_THAT(deliveries, IsEmpty());
  EXPECT_EQ(output(), lines_of(head() + "\r\n..dot\r\n"));
}

TEST_F(DeliveryTest, WhatIsRefusedIsNotDelivered) {
  for (const char* action : {"reject", "soft reject"}) {
    smtpd(envelope({"alice@example.org"}));
    smtpd(content());
    verdict(action);
    EXPECT_THAT(deliveries, IsEmpty()) << action;
  }
}

TEST_F(DeliveryTest, WhatPassesWithoutAScanIsDeliveredToo) {
  settings.classes.skip.insert(policy::Class::networks);
  settings.classes.networks = Networks({*parse_network("192.0.2.0/24")});
  restart();
  mail({"alice@example.org"}, {"Subject: x", "X-Mailbridge-Delivered: forged"});
  ASSERT_EQ(deliveries.size(), 1U);
  EXPECT_EQ(deliveries[0].transaction.mail.head, head());
}

// tests/smtpd/rules_test.cpp has more of these.
TEST_F(DeliveryTest, WhatSmtpdWouldRefuseIsLeftToIt) {
  struct Row {
    std::string name;
    std::vector<std::string> fields;
    std::string logged;
  };
  const Row rows[] = {
      {"malformed", {"Subject: x", "no field"}, "left_to_smtpd=malformed"},
      {"loop", std::vector<std::string>(99, "Received: by x"), "left_to_smtpd=loop"},
      {"somebody else's trace on top: no mark would count", {"Subject: x"}, "left_to_smtpd=trace"},
  };
  for (const Row& row : rows) {
    notes.clear();
    smtpd(envelope({"alice@example.org"}));
    output();
    std::string lines = content(row.fields);
    if (row.logged == "left_to_smtpd=trace") lines.replace(lines.find("00000001;"), 8, "00000002");
    smtpd(lines);
    verdict("no action");
    EXPECT_THAT(deliveries, IsEmpty()) << row.name;
    EXPECT_THAT(output(), Not(HasSubstr("X-Mailbridge"))) << row.name;
    EXPECT_EQ(commit(), proceed) << row.name << ": it is smtpd's to refuse";
    EXPECT_THAT(log().text, HasSubstr(row.logged)) << row.name;
  }
}

// smtpd would bounce it from its queue, to whoever the sender claimed to be.
TEST_F(DeliveryTest, WhatComesBackToAllIsRefused) {
  for (const bool deliver : {true, false}) {
    if (!deliver) settings.delivery.reset();
    restart();
    mail({"alice@example.org", "Bob@example.org", "alice@example.org"},
         {"Delivered-To: ALICE@example.org", "delivered-to: bob@example.org"});
    EXPECT_THAT(deliveries, IsEmpty());
    EXPECT_EQ(output(), "filter-dataline|0a|d0|.\n");
    EXPECT_EQ(commit(), "filter-result|0a|c0|reject|554 5.4.6 Mail loop: the message was delivered to this mailbox before\n");
    EXPECT_THAT(log("tx-rollback|00000001").text, HasSubstr(" loops="));
  }
}

TEST_F(DeliveryTest, WhatComesBackToOneIsDeliveredToTheOthers) {
  mail({"alice@example.org", "bob@example.org"}, {"Delivered-To: bob@example.org"});
  ASSERT_EQ(deliveries.size(), 1U);
  ASSERT_EQ(deliveries[0].transaction.recipients.size(), 1U);
  EXPECT_EQ(deliveries[0].transaction.recipients[0].address, "alice@example.org");
  outcomes({delivered});
  EXPECT_EQ(output(), lines_of(mark_of({"alice@example.org"}) + head("Delivered-To: bob@example.org\r\n") + "\r\n..dot\r\n"));
  EXPECT_EQ(commit(), proceed);
  EXPECT_THAT(log().text, HasSubstr(" loops=bob@example.org delivered=1/2 "));
}

// Only smtpd knows what becomes of them.
TEST_F(DeliveryTest, WhatComesBackToSomebodyWithoutAMailboxIsSmtpds) {
  mail({"unsure@example.org", "elsewhere@example.net"},
       {"Delivered-To: unsure@example.org", "Delivered-To: elsewhere@example.net"});
  EXPECT_THAT(deliveries, IsEmpty());
  output();
  EXPECT_EQ(commit(), proceed);
  EXPECT_THAT(log().text, Not(HasSubstr("loops=")));
}

TEST_F(DeliveryTest, NothingIsDeliveredBeforeSmtpdsLimitIsKnown) {
  start();
  smtpd("config|ready\n" + report("link-connect|mx.example.net|pass|192.0.2.1:99|192.0.2.9:25") +
        report("link-greeting|mx.example.org"));
  mail({"alice@example.org"});
  EXPECT_THAT(deliveries, IsEmpty());
  EXPECT_THAT(log().text, HasSubstr("left_to_smtpd=size"));
}

// A client that says HELO hears of no limit, and neither do we: so smtpd is asked.
TEST_F(DeliveryTest, SmtpdIsAskedForItsLimitWhenTheFirstClientsDoNot) {
  const auto asked = [&] {
    std::vector<std::string> listeners;
    for (const Command& command : engine->take_commands()) {
      if (const auto* ask = std::get_if<AskForSize>(&command)) listeners.push_back(ask->listener);
    }
    return listeners;
  };
  const auto connect = [&](const std::string& method) {
    engine->receive("config|ready\n" + report("link-connect|mx.example.net|pass|192.0.2.1:99|192.0.2.9:25") +
                        report("link-identify|" + method + "|mx.example.net"),
                    now);
  };
  start();
  connect("EHLO");
  EXPECT_THAT(asked(), IsEmpty());
  connect("HELO");
  EXPECT_THAT(asked(), ElementsAre("192.0.2.9:25"));
  connect("HELO");
  EXPECT_THAT(asked(), IsEmpty()) << "once is enough";
  now += 30s;
  connect("HELO");
  EXPECT_THAT(asked(), ElementsAre("192.0.2.9:25")) << "unless there was no answer";
  now += 30s;
  smtpd(report("protocol-server|250-SIZE 36700160"));
  connect("HELO");
  EXPECT_THAT(asked(), IsEmpty());
  settings.delivery.reset();
  start();
  connect("HELO");
  EXPECT_THAT(asked(), IsEmpty()) << "nobody needs to know";
}

// A skipped message is not held against smtpd's limit before, and may be cut off.
TEST_F(DeliveryTest, AMessageThatSmtpdMayHaveCutOffIsLeftToIt) {
  settings.classes.skip.insert(policy::Class::networks);
  settings.classes.networks = Networks({*parse_network("192.0.2.0/24")});
  restart();
  smtpd(report("protocol-server|250-SIZE 20"));
  mail({"alice@example.org"});
  EXPECT_THAT(deliveries, IsEmpty());
  EXPECT_THAT(log().text, HasSubstr("left_to_smtpd=size"));
}

TEST_F(DeliveryTest, ThereIsNoMoreInAMarkThanAnAgentReads) {
  std::vector<std::string> recipients;
  for (std::size_t i = 0; i <= lmtp::max_marked; ++i) recipients.push_back("x" + std::to_string(i) + "@example.org");
  mail(recipients);
  ASSERT_EQ(deliveries.size(), 1U);
  ASSERT_EQ(deliveries[0].transaction.recipients.size(), lmtp::max_marked);
  outcomes(std::vector<Outcome>(lmtp::max_marked, delivered));
  std::string mail = output();
  for (std::size_t at = mail.find("filter-dataline|0a|d0|"); at != std::string::npos; at = mail.find("filter-dataline|0a|d0|"))
    mail.erase(at, 22);
  const auto place = lmtp::find_mark(mail);
  ASSERT_TRUE(place);
  const auto mark = lmtp::Mark::open(mail, *place, key);
  ASSERT_TRUE(mark);
  for (const std::string& recipient : recipients) EXPECT_EQ(mark->names(recipient), recipient != recipients.back()) << recipient;
}

TEST_F(DeliveryTest, DiscardedIsMarkedForAllAndDeliveredToNobody) {
  const auto discard = [&](const std::vector<std::string>& recipients) {
    smtpd(envelope(recipients));
    output();
    smtpd(content());
    verdict("discard");
    return output();
  };
  const std::string named = head("Subject: x\r\nX-Rspamd-Action: discard\r\n");
  EXPECT_EQ(discard({"alice@example.org", "bob@example.org"}),
            lines_of(mark_of({"alice@example.org", "bob@example.org"}) + named + "\r\n..dot\r\n"));
  EXPECT_THAT(deliveries, IsEmpty());
  EXPECT_EQ(commit(), proceed);
  EXPECT_THAT(log().text, HasSubstr(" discarded=2 answer=proceed"));

  EXPECT_EQ(discard({"alice@example.org", "elsewhere@example.net"}), lines_of(named + "\r\n..dot\r\n"))
      << "as without --deliver: Sieve can act on it";
  EXPECT_THAT(deliveries, IsEmpty());

  const Settings before = settings;
  settings.policy.actions.set("discard", {.kind = policy::ActionKind::header, .header_name = "X-Junk", .header_value = "yes"});
  restart();
  EXPECT_THAT(discard({"alice@example.org"}), IsEmpty());
  ASSERT_EQ(deliveries.size(), 1U) << "the administrator wants something else";
  settings = before;
  settings.monitor = true;
  restart();
  discard({"alice@example.org"});
  EXPECT_EQ(deliveries.size(), 2U);
}

TEST_F(DeliveryTest, AClientThatLeavesCancelsIt) {
  for (const std::string end : {"tx-reset|00000001", "tx-rollback|00000001", "link-disconnect"}) {
    deliveries.clear();
    cancelled_deliveries.clear();
    notes.clear();
    restart();
    mail({"alice@example.org"});
    smtpd(report(end));
    EXPECT_THAT(cancelled_deliveries, ElementsAre(deliveries[0].id)) << end;
    outcomes({down});
    EXPECT_EQ(output(), "") << end;
    for (const Note& note : notes) EXPECT_NE(note.level, Level::error) << end << ": " << note.text;
    EXPECT_FALSE(engine->next_deadline()) << end;
  }
}

TEST_F(DeliveryTest, WhatWasDeliveredForAClientThatLeftIsTold) {
  for (const Outcome& outcome : {delivered, lost}) {
    restart();
    mail({"alice@example.org", "bob@example.org"});
    smtpd(report("link-disconnect"));
    notes.clear();
    outcomes({outcome, down});
    ASSERT_EQ(notes.size(), 1U);
    EXPECT_EQ(notes[0].level, Level::error);
    EXPECT_THAT(notes[0].text, HasSubstr("session=0a msgid=00000001 delivered="));
    EXPECT_THAT(notes[0].text, HasSubstr(outcome.unknown ? "may be delivered twice" : "the client may send it again"));
    EXPECT_EQ(output(), "");
  }
}

TEST_F(DeliveryTest, WhatSmtpdDropsAfterItWasDeliveredIsTold) {
  mail({"alice@example.org"});
  outcomes({delivered});
  output();
  commit();
  const Note line = log("tx-rollback|00000001");
  EXPECT_EQ(line.level, Level::error);
  EXPECT_THAT(line.text,
              HasSubstr("result=rolled-back note=\"delivered, but not taken by smtpd: the client may send it again\""));
}

TEST_F(DeliveryTest, AStuckDriverIsNotWaitedFor) {
  mail({"alice@example.org"});
  pass(60s);
  EXPECT_EQ(output(), "");
  EXPECT_EQ(*engine->next_deadline(), now + 1s);
  pass(1s);
  EXPECT_EQ(output(), lines_of(head() + "\r\n..dot\r\n"));
  EXPECT_THAT(cancelled_deliveries, ElementsAre(deliveries[0].id));
  EXPECT_THAT(log().text, HasSubstr("may be delivered twice"));
  outcomes({delivered});
  EXPECT_EQ(output(), "") << "too late";
}

// Or each client would wait until it is sure.
TEST_F(DeliveryTest, ASilentMailStoreIsTriedByOneMessageAtATime) {
  mail({"alice@example.org"});
  outcomes({down});
  log();
  output();
  notes.clear();
  mail({"alice@example.org"});
  EXPECT_EQ(deliveries.size(), 1U);
  EXPECT_EQ(output(), lines_of(head() + "\r\n..dot\r\n"));
  EXPECT_THAT(log().text, HasSubstr("left_to_smtpd=silence"));
  pass(6s);
  mail({"alice@example.org"});
  ASSERT_EQ(deliveries.size(), 2U);
  const recipients::DeliveryId first = deliveries.back().id;
  smtpd(report("tx-reset|00000001"));
  mail({"bob@example.org"});
  EXPECT_EQ(deliveries.size(), 2U) << "one is being tried";
  engine->delivery_finished(first, {down}, "", now);  // of a client that left: that it is silent is known already
  mail({"alice@example.org"});
  ASSERT_EQ(deliveries.size(), 3U);
  outcomes({full});
  mail({"alice@example.org"});
  EXPECT_EQ(deliveries.size(), 4U) << "any answer will do";
}

TEST_F(DeliveryTest, WhatWeWereShortOfSaysNothingAboutTheMailStore) {
  const lmtp::Outcome not_asked{lmtp::Stage::connect, std::nullopt, "Too many open files", false, true};
  mail({"alice@example.org"});
  outcomes({not_asked});
  EXPECT_EQ(output(), lines_of(head() + "\r\n..dot\r\n"));
  EXPECT_THAT(log().text, HasSubstr("lmtp_error=\"Too many open files\""));
  mail({"alice@example.org"});
  ASSERT_EQ(deliveries.size(), 2U);
  outcomes({down});
  pass(6s);
  mail({"alice@example.org"});
  ASSERT_EQ(deliveries.size(), 3U);
  const recipients::DeliveryId first = deliveries.back().id;
  smtpd(report("tx-reset|00000001"));
  mail({"bob@example.org"});
  EXPECT_EQ(deliveries.size(), 3U);
  engine->delivery_finished(first, {not_asked}, "", now);
  mail({"alice@example.org"});
  mail({"alice@example.org"});
  EXPECT_EQ(deliveries.size(), 4U) << "one at a time, for whether it answers again is not known";
}

TEST_F(DeliveryTest, TheSettingsOfItsStartHold) {
  mail({"alice@example.org"});
  Settings others = settings;
  others.delivery.reset();
  engine->use(others);
  outcomes({delivered});
  EXPECT_EQ(output(), lines_of(mark_of({"alice@example.org"}) + head() + "\r\n..dot\r\n"));
}

TEST_F(DeliveryTest, AtTheEndOfInputWhatIsUnderWayIsTold) {
  mail({"alice@example.org"});
  notes.clear();
  engine->end_of_input();
  collect();
  EXPECT_THAT(cancelled_deliveries, ElementsAre(deliveries[0].id));
  ASSERT_FALSE(notes.empty());
  EXPECT_EQ(notes.back().level, Level::error);
  EXPECT_FALSE(engine->next_deadline());
}

}  // namespace
}  // namespace mailbridge::session
