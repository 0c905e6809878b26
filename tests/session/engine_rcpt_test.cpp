// What the engine makes of recipients: session/recipient_desk.hpp.
#include "tests/session/fixture.hpp"

namespace mailbridge::session {
namespace {

using namespace std::chrono_literals;

class RcptTest : public EngineFixture {
 protected:
  RcptTest() {
    settings.verify.domains = {"example.org"};
    settings.verify.sizes = true;
    restart();
  }

  void restart() {
    start();
    smtpd("config|ready\n");
    output();
    smtpd(connect());
  }

  // What a look-up says, and what smtpd is told then.
  std::string found(const std::string& recipient, recipients::Mailbox mailbox) {
    const auto lookup = lookups.extract(recipient);
    EXPECT_FALSE(lookup.empty()) << "nobody asked about " << recipient;
    if (!lookup.empty()) engine->lookup_finished(lookup.mapped().id, mailbox, "it is down", now);
    collect();
    return output();
  }
  using EngineFixture::verdict;
  void verdict(ScanId id, const std::string& action) { verdict(id, action, now); }

  static std::string mail_from(const std::string& parameters = "") {
    return report("protocol-client|MAIL FROM:<a@example.net>" + parameters) + report("tx-begin|00000001") +
           report("tx-mail|00000001|ok|a@example.net");
  }
  static std::string accepted(const std::string& address) { return report("tx-rcpt|00000001|ok|" + address); }
  static std::string message(const std::string& body = "hello") {
    return data("Received: by us") + data("") + data(body) + data(".");
  }
  static std::string done() { return report("tx-commit|00000001|99") + report("tx-reset|00000001"); }
  static std::string result(const std::string& what) { return "filter-result|0a|70|" + what + "\n"; }

  // A recipient from RCPT to smtpd's acceptance.
  void take(const std::string& address) {
    smtpd(rcpt_to(address));
    if (lookups.contains(address)) found(address, recipients::Mailbox::known);
    smtpd(accepted(address));
    output();
    while (!lookups.empty()) found(lookups.begin()->first, recipients::Mailbox::unknown);  // a local part that nobody has
  }
  // Somebody else is unknown.
  std::string guess(int number) {
    const std::string address = "u" + std::to_string(number) + "@example.org";
    smtpd(rcpt_to(address));
    EXPECT_EQ(output(), "") << "not before the look-up";
    return found(address, recipients::Mailbox::unknown);
  }
};

const std::string unknown_answer = "reject|550 5.1.1 There is no such mailbox";

TEST_F(RcptTest, AsksToBeAsked) {
  start();
  smtpd("config|ready\n");
  EXPECT_TRUE(output().ends_with("register|report|smtp-in|protocol-client\nregister|filter|smtp-in|rcpt-to\nregister|ready\n"));
}

TEST_F(RcptTest, Answers) {
  struct Row {
    const char* name;
    recipients::Mailbox mailbox;
    RecipientPolicy policy;
    std::string answer;
  };
  const RecipientPolicy usual = default_settings().recipients, lenient{false, false, false, 10}, strict{true, true, true, 10};
  const std::string later = ", try again later";
  const Row rows[] = {
      {"known", recipients::Mailbox::known, usual, "proceed"},
      {"known, strict", recipients::Mailbox::known, strict, "proceed"},
      {"unknown", recipients::Mailbox::unknown, usual, unknown_answer},
      {"unknown is smtpd's", recipients::Mailbox::unknown, lenient, "proceed"},
      {"full", recipients::Mailbox::full, usual, "reject|452 4.2.2 The mailbox is full" + later},
      {"full for good", recipients::Mailbox::full, strict, "reject|552 5.2.2 The mailbox is full"},
      {"full for now", recipients::Mailbox::full_for_now, usual, "reject|452 4.2.2 The mailbox is full" + later},
      {"full for now, strict", recipients::Mailbox::full_for_now, strict, "reject|452 4.2.2 The mailbox is full" + later},
      {"too large", recipients::Mailbox::too_large, usual,
       "reject|452 4.2.2 The mailbox has no room for a message of this size" + later},
      {"too large for good", recipients::Mailbox::too_large, strict,
       "reject|552 5.2.2 The mailbox has no room for a message of this size"},
      {"unsure", recipients::Mailbox::unsure, usual, "proceed"},
      {"unsure, strict", recipients::Mailbox::unsure, strict, "reject|451 4.3.0 The recipient could not be verified" + later},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    settings.recipients = row.policy;
    restart();
    smtpd(mail_from() + rcpt_to("r@example.org"));
    EXPECT_EQ(output(), "");
    EXPECT_EQ(found("r@example.org", row.mailbox), result(row.answer));
    smtpd(report("link-disconnect"));
    EXPECT_EQ(output(), "");
  }
}

TEST_F(RcptTest, OnlyItsDomainsAreAskedAbout) {
  for (const char* address : {"x@example.com", "x@sub.example.org", "", "@example.org", "a b@example.org", "\x01x@example.org",
                              "caf\xc3\xa9@example.org"}) {
    smtpd(rcpt_to(address));
    EXPECT_EQ(output(), result("proceed")) << address;
  }
  EXPECT_TRUE(lookups.empty());
}

TEST_F(RcptTest, TheAddressIsTheOneThatSmtpdSees) {
  smtpd(rcpt_to("@relay.example,@x:r|x@Example.ORG") + rcpt_to("@x\x01y:bare"));
  ASSERT_TRUE(lookups.contains("r|x@example.org"));
  settings.verify.domains = {"mx.example.org"};
  restart();
  smtpd(rcpt_to("bare"));
  EXPECT_TRUE(lookups.contains("bare@mx.example.org")) << "smtpd adds its own name";
}

TEST_F(RcptTest, WhoIsAuthenticatedIsAskedAboutTheSameDomains) {
  smtpd(report("link-auth|pass|carol") + mail_from() + rcpt_to("r@example.org"));
  EXPECT_EQ(found("r@example.org", recipients::Mailbox::unknown), result(unknown_answer));
  smtpd(rcpt_to("x@example.com"));
  EXPECT_EQ(output(), result("proceed"));
}

TEST_F(RcptTest, PostmasterIsAlwaysTaken) {
  smtpd(rcpt_to("PostMaster@example.org"));
  EXPECT_EQ(found("PostMaster@example.org", recipients::Mailbox::unknown), result("proceed"));
}

TEST_F(RcptTest, TheAnnouncedSizeIsAskedAbout) {
  smtpd(mail_from(" BODY=8BITMIME SIZE=4321") + rcpt_to("r@example.org"));
  EXPECT_EQ(lookups.at("r@example.org").size, 4321U);
  EXPECT_EQ(lookups.at("r@example.org").until, now + 2700ms);
  smtpd(report("tx-reset|00000001") + mail_from() + rcpt_to("s@example.org"));
  EXPECT_EQ(lookups.at("s@example.org").size, 0U) << "that was another message";
  smtpd(report("protocol-client|MAIL FROM:<b@example.net> SIZE=1") + rcpt_to("t@example.org"));
  EXPECT_EQ(lookups.at("t@example.org").size, 0U) << "smtpd refused that command";
}

TEST_F(RcptTest, NoRoomForTheAnnouncedSizeIsNotCalledFull) {
  smtpd(mail_from(" SIZE=4321") + rcpt_to("r@example.org"));
  EXPECT_EQ(found("r@example.org", recipients::Mailbox::full),
            result("reject|452 4.2.2 The mailbox has no room for a message of this size, try again later"));
  settings.verify.sizes = false;
  restart();
  smtpd(mail_from(" SIZE=4321") + rcpt_to("r@example.org"));
  EXPECT_EQ(found("r@example.org", recipients::Mailbox::full), result("reject|452 4.2.2 The mailbox is full, try again later"));
}

TEST_F(RcptTest, SilenceIsAnsweredInTime) {
  smtpd(mail_from() + rcpt_to("r@example.org"));
  EXPECT_EQ(engine->next_deadline(), now + 3s);
  pass(2999ms);
  EXPECT_EQ(output(), "");
  pass(1ms);
  EXPECT_EQ(output(), result("proceed"));
  EXPECT_EQ(found("r@example.org", recipients::Mailbox::unknown), "") << "too late";
}

TEST_F(RcptTest, ASessionThatIsGoneIsAnsweredAllTheSame) {
  for (const char* end : {"link-disconnect", "tx-reset|00000001"}) {
    restart();
    smtpd(mail_from() + rcpt_to("r@example.org") + report(end));
    EXPECT_EQ(found("r@example.org", recipients::Mailbox::unknown), result(unknown_answer));
    pass(1h);
    EXPECT_EQ(output(), "");
  }
}

TEST_F(RcptTest, OldVersionsGetTheirOrder) {
  smtpd(
      "report|0.4|1.2|smtp-in|link-connect|0b|x|pass|192.0.2.1:9|192.0.2.9:25\nfilter|0.4|1.2|smtp-in|rcpt-to|0b|70|r@example."
      "org\n");
  EXPECT_EQ(found("r@example.org", recipients::Mailbox::known), "filter-result|70|0b|proceed\n");
}

TEST_F(RcptTest, VerifyThatComesWhileSmtpdRunsIsTold) {
  engine = std::make_unique<Engine>(default_settings());
  smtpd("config|ready\n");
  notes.clear();
  engine->use(settings);
  collect();
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_TRUE(notes[0].text.starts_with("--verify is obeyed when smtpd is started again")) << notes[0].text;
}

TEST_F(RcptTest, WithABrokenConfigurationNobodyIsVerified) {
  engine = std::make_unique<Engine>([&] {
    Settings broken = default_settings();
    broken.out_of_order = "broken";
    return broken;
  }());
  smtpd("config|ready\n");
  EXPECT_EQ(output().find("rcpt-to"), std::string::npos);
}

// ---- the log

TEST_F(RcptTest, TheLogTellsWhoWasRefused) {
  smtpd(mail_from() + rcpt_to("r@example.org"));
  notes.clear();
  found("r@example.org", recipients::Mailbox::unknown);
  EXPECT_EQ(texts(), std::vector<std::string>{"session=0a ip=192.0.2.1 from=a@example.net rcpt=r@example.org verified=unknown "
                                              "answer=\"550 5.1.1 There is no such mailbox\""});
}

TEST_F(RcptTest, TheLogTellsWhoWasVerified) {
  smtpd(mail_from());
  take("r@example.org");
  smtpd(rcpt_to("s@example.org"));
  found("s@example.org", recipients::Mailbox::unsure);
  smtpd(accepted("s@example.org") + rcpt_to("t@example.com") + accepted("t@example.com"));
  take("refused@example.org");
  smtpd(report("tx-rcpt|00000001|permfail|other@example.org") + message());
  found("r@example.org", recipients::Mailbox::known);
  found("refused@example.org", recipients::Mailbox::known);
  verdict(1, "no action");
  notes.clear();
  smtpd(commit() + done());
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_NE(notes[0].text.find(" rcpts=4 verified=2 unverified=1 size="), std::string::npos) << notes[0].text;
}

TEST_F(RcptTest, ManyRefusalsAreOneLineTogether) {
  settings.recipients.max_unknown = 0;
  restart();
  notes.clear();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(guess(i), result(unknown_answer));
  EXPECT_EQ(notes.size(), 20U);
  smtpd(report("link-disconnect"));
  EXPECT_EQ(notes.back().text, "session=0a ip=192.0.2.1 rcpts_refused=100 unknown=100");
  EXPECT_EQ(notes.size(), 21U);
  EXPECT_NE(engine->counters().find("rcpt.unknown=100"), std::string::npos) << engine->counters();
}

// ---- sessions that guess

TEST_F(RcptTest, WhoGuessesIsAnsweredSlowerAndThenNoMore) {
  settings.recipients.max_unknown = 3;
  restart();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(guess(i), result(unknown_answer));
  EXPECT_EQ(guess(3), "");
  EXPECT_EQ(engine->next_deadline(), now + 1s);
  pass(999ms);
  EXPECT_EQ(output(), "");
  pass(1ms);
  EXPECT_EQ(output(), result(unknown_answer));
  EXPECT_EQ(guess(4), "");
  pass(1s);
  EXPECT_EQ(output(), "");
  pass(1s);
  EXPECT_EQ(output(), result(unknown_answer));

  smtpd(rcpt_to("x@example.com"));
  EXPECT_EQ(output(), "") << "whomever they ask for";
  pass(3s);
  EXPECT_EQ(output(), result("proceed"));

  guess(5);
  pass(3s);
  EXPECT_EQ(output(), result("disconnect|421 4.7.0 Too many unknown recipients"));
}

TEST_F(RcptTest, TheSlownessCountsFromTheQuestionAndHasItsEnd) {
  settings.recipients.max_unknown = 40;
  restart();
  for (int i = 0; i < 79; ++i) {
    guess(i);
    pass(10s);
    EXPECT_EQ(output(), i < 40 ? "" : result(unknown_answer)) << i;
  }
  smtpd(rcpt_to("r@example.org"));
  pass(2500ms);
  EXPECT_EQ(found("r@example.org", recipients::Mailbox::known), "");
  pass(7500ms);
  EXPECT_EQ(output(), result("proceed"));
}

TEST_F(RcptTest, NobodyElseIsSlower) {
  settings.recipients.max_unknown = 1;
  restart();
  guess(1);
  guess(2);
  smtpd(report("link-connect|y|pass|192.0.2.2:99|192.0.2.9:25", "0b") + rcpt_to("x@example.com", "0b"));
  EXPECT_EQ(output(), "filter-result|0b|70|proceed\n");
}

TEST_F(RcptTest, OurOwnUsersMayGuess) {
  settings.recipients.max_unknown = 1;
  restart();
  smtpd(report("link-auth|pass|carol"));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(guess(i), result(unknown_answer));
}

TEST_F(RcptTest, WhoIsLeftToSmtpdCountsWhenSmtpdDoesNotKnowHimEither) {
  settings.recipients = {false, false, false, 1};
  restart();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(guess(i), result("proceed"));
    smtpd(accepted("u" + std::to_string(i) + "@example.org"));
  }
  EXPECT_EQ(guess(5), result("proceed"));
  smtpd(report("tx-rcpt|00000001|permfail|u5@example.org"));
  EXPECT_EQ(guess(6), "");
  pass(1s);
  EXPECT_EQ(output(), result("proceed"));
}

// ---- clients that guess in many sessions

class TarpitTest : public RcptTest {
 protected:
  TarpitTest() {
    settings.recipients.max_unknown = 10;
    restart();
    for (int i = 0; i < 20; ++i) guess_alone("192.0.2.66");
    EXPECT_EQ(output().find("421"), std::string::npos);
    notes.clear();
  }

  std::string connect(const std::string& ip) {
    const std::string id = "b" + std::to_string(++sessions);
    smtpd(report("link-connect|y|pass|" + ip + ":99|192.0.2.9:25", id));
    return id;
  }
  // In a session that is new, or goes on. It stays open.
  std::string ask(const std::string& ip, recipients::Mailbox mailbox, std::string id = "") {
    if (id.empty()) id = connect(ip);
    const std::string address = "v" + std::to_string(++asked) + "@example.org";
    smtpd(rcpt_to(address, id));
    const auto lookup = lookups.extract(address);
    EXPECT_FALSE(lookup.empty());
    engine->lookup_finished(lookup.mapped().id, mailbox, "it is down", now);
    collect();
    return id;
  }
  void guess_alone(const std::string& ip) { smtpd(report("link-disconnect", ask(ip, recipients::Mailbox::unknown))); }
  static std::string answer(const std::string& id, const std::string& what) {
    return "filter-result|" + id + "|70|" + what + "\n";
  }

  int sessions = 0, asked = 0;
};

const std::string guessed_answer = "disconnect|421 4.7.0 Too many unknown recipients";

TEST_F(TarpitTest, AnswersOfOneAddressComeOneASecond) {
  std::vector<std::string> ids;
  for (int i = 0; i < 30; ++i) ids.push_back(ask("192.0.2.66", recipients::Mailbox::unknown));
  EXPECT_EQ(output(), "");
  EXPECT_EQ(notes.at(0).text, "ip=192.0.2.66 note=\"too many unknown recipients: answered slower from now on\"");
  for (std::size_t i = 0; i < 9; ++i) {
    EXPECT_EQ(engine->next_deadline(), now + 1s);
    pass(1s);
    EXPECT_EQ(output(), answer(ids[i], unknown_answer));
  }
  pass(1s);
  std::string last = answer(ids[9], unknown_answer);
  for (std::size_t i = 10; i < ids.size(); ++i) last += answer(ids[i], guessed_answer);
  EXPECT_EQ(output(), last) << "there was no turn for the others";
  pass(1h);
  EXPECT_EQ(output(), "");
}

TEST_F(TarpitTest, WhoExistsIsAnsweredRightly) {
  const std::string guesser = ask("192.0.2.66", recipients::Mailbox::unknown);
  const std::string id = ask("192.0.2.66", recipients::Mailbox::known);
  const std::string full = ask("192.0.2.66", recipients::Mailbox::full_for_now);
  const std::string other = connect("192.0.2.66");
  smtpd(rcpt_to("x@example.com", other));
  for (int i = 0; i < 6; ++i) ask("192.0.2.66", recipients::Mailbox::unknown);
  const std::string late = ask("192.0.2.66", recipients::Mailbox::known);
  const std::string late_guesser = ask("192.0.2.66", recipients::Mailbox::unknown);
  const std::string late_full = ask("192.0.2.66", recipients::Mailbox::full_for_now);
  const std::string late_unsure = ask("192.0.2.66", recipients::Mailbox::unsure);
  EXPECT_EQ(output(), "");
  pass(1s);
  EXPECT_EQ(output(), answer(guesser, unknown_answer));
  pass(1s);
  EXPECT_EQ(output(), answer(id, "proceed"));
  pass(1s);
  const std::string full_answer = "reject|452 4.2.2 The mailbox is full, try again later";
  EXPECT_EQ(output(), answer(full, full_answer));
  pass(1s);
  EXPECT_EQ(output(), answer(other, "proceed"));
  pass(5999ms);
  output();
  pass(1ms);
  EXPECT_TRUE(output().ends_with(answer(late, "proceed") + answer(late_guesser, guessed_answer) + answer(late_full, full_answer) +
                                 answer(late_unsure, "proceed")));
}

TEST_F(TarpitTest, BeyondThatNobodyLearnsAnything) {
  for (int i = 0; i < 60; ++i) ask("192.0.2.66", recipients::Mailbox::unknown);
  std::string last;
  for (const recipients::Mailbox mailbox :
       {recipients::Mailbox::known, recipients::Mailbox::unknown, recipients::Mailbox::full}) {
    last += answer(ask("192.0.2.66", mailbox), guessed_answer);
  }
  pass(9999ms);
  output();
  pass(1ms);
  EXPECT_TRUE(output().ends_with(last));
}

TEST_F(TarpitTest, WhenAnAnswerComesDoesNotTellWhatItIs) {
  for (const recipients::Mailbox mailbox : {recipients::Mailbox::known, recipients::Mailbox::unknown}) {
    restart();
    for (int i = 0; i < 21; ++i) guess_alone("192.0.2.66");
    pass(1min);
    output();
    std::vector<std::size_t> answers;
    for (int i = 0; i < 30; ++i) ask("192.0.2.66", i == 0 ? recipients::Mailbox::unknown : mailbox);
    for (int i = 0; i < 10; ++i) {
      pass(1s);
      const std::string said = output();
      answers.push_back(static_cast<std::size_t>(std::count(said.begin(), said.end(), '\n')));
    }
    EXPECT_EQ(answers, (std::vector<std::size_t>{1, 1, 1, 1, 1, 1, 1, 1, 1, 21}));
  }
}

TEST_F(TarpitTest, NobodyElseIsSlowed) {
  EXPECT_EQ(ask("192.0.2.66", recipients::Mailbox::unknown), "b21");
  for (const char* ip : {"192.0.2.67", "[2001:db8::1]"}) {
    const std::string id = ask(ip, recipients::Mailbox::unknown);
    EXPECT_EQ(output(), answer(id, unknown_answer)) << ip;
  }
}

TEST_F(TarpitTest, OurOwnAreNeitherCountedNorSlowed) {
  ask("192.0.2.66", recipients::Mailbox::unknown);
  const std::string id = connect("192.0.2.66");
  smtpd(report("link-auth|pass|carol", id));
  for (int i = 0; i < 50; ++i) {
    ask("", recipients::Mailbox::unknown, id);
    EXPECT_EQ(output(), answer(id, unknown_answer));
  }
  smtpd(report("link-connect|vm|pass|local|local", "cc"));
  for (int i = 0; i < 50; ++i) {
    ask("", recipients::Mailbox::unknown, "cc");
    EXPECT_EQ(output(), answer("cc", unknown_answer));
  }
}

TEST_F(TarpitTest, ANetworkThatIsNamedIsNotCounted) {
  settings.classes.networks = Networks({parse_network("192.0.2.80/28").value()});
  restart();
  for (int i = 0; i < 100; ++i) guess_alone("192.0.2.85");
  output();
  const std::string id = ask("192.0.2.85", recipients::Mailbox::unknown);
  EXPECT_EQ(output(), answer(id, unknown_answer));
}

TEST_F(TarpitTest, ASessionThatIsGoneIsAnsweredOnceAndInItsTurn) {
  const std::string gone = ask("192.0.2.66", recipients::Mailbox::unknown);
  smtpd(report("link-disconnect", gone));
  for (int i = 0; i < 12; ++i) {
    const std::string id = ask("192.0.2.66", recipients::Mailbox::known);
    smtpd(report("link-disconnect", id));
  }
  EXPECT_EQ(output(), "");
  pass(1s);
  EXPECT_EQ(output(), answer(gone, unknown_answer));
  pass(9s);
  const std::string rest = output();
  EXPECT_EQ(std::count(rest.begin(), rest.end(), '\n'), 12);
  pass(1h);
  EXPECT_EQ(output(), "");
  EXPECT_EQ(engine->next_deadline(), std::nullopt);
}

TEST_F(TarpitTest, WhoIsLeftToSmtpdCountsToo) {
  settings.recipients = {false, false, false, 1};
  restart();
  for (int i = 0; i < 3; ++i) {
    const std::string id = ask("192.0.2.68", recipients::Mailbox::unknown);
    EXPECT_EQ(output(), answer(id, "proceed"));
    smtpd(report("tx-rcpt|00000001|permfail|v" + std::to_string(asked) + "@example.org", id));
  }
  const std::string id = ask("192.0.2.68", recipients::Mailbox::unknown);
  EXPECT_EQ(output(), "");
  pass(1s);
  EXPECT_EQ(output(), answer(id, "proceed"));
}

TEST_F(TarpitTest, WithoutAnEndNobodyIsSlowed) {
  settings.recipients.max_unknown = 0;
  restart();
  for (int i = 0; i < 100; ++i) {
    const std::string id = ask("192.0.2.69", recipients::Mailbox::unknown);
    EXPECT_EQ(output(), answer(id, unknown_answer));
  }
}

// ---- room for what has come

TEST_F(RcptTest, RoomIsAskedForBesideTheScan) {
  smtpd(mail_from(" SIZE=1"));
  take("r@example.org");
  smtpd(message());
  EXPECT_EQ(lookups.at("r@example.org").size, 26U);
  ASSERT_EQ(scans.size(), 1U);
  verdict(1, "no action");
  EXPECT_EQ(output(), "") << "not before it is known";
  EXPECT_TRUE(found("r@example.org", recipients::Mailbox::known).ends_with("filter-dataline|0a|d0|.\n"));
  smtpd(commit());
  EXPECT_EQ(output(), "filter-result|0a|c0|proceed\n");
}

TEST_F(RcptTest, WhatIsKnownToFitIsNotAskedAgain) {
  smtpd(mail_from(" SIZE=1000"));
  take("r@example.org");
  smtpd(message());
  EXPECT_TRUE(lookups.empty());
  verdict(1, "no action");
  EXPECT_TRUE(output().ends_with("filter-dataline|0a|d0|.\n"));
}

TEST_F(RcptTest, WithoutSizesNobodyIsAskedAtTheEnd) {
  settings.verify.sizes = false;
  restart();
  smtpd(mail_from());
  take("r@example.org");
  smtpd(message());
  EXPECT_TRUE(lookups.empty());
}

TEST_F(RcptTest, RoomForNobodyIsARefusalThatWaitsForNoScan) {
  for (const bool for_good : {false, true}) {
    settings.recipients.refuse_full = for_good;
    restart();
    scans.clear();
    cancelled_scans.clear();
    smtpd(mail_from());
    take("r@example.org");
    take("s@example.org");
    smtpd(message());
    EXPECT_EQ(found("r@example.org", recipients::Mailbox::full), "");
    EXPECT_EQ(found("s@example.org", recipients::Mailbox::too_large), "filter-dataline|0a|d0|.\n");
    EXPECT_EQ(cancelled_scans, std::vector<ScanId>{scans.begin()->first});
    smtpd(commit());
    const std::string text = " The mailbox has no room for a message of this size";
    EXPECT_EQ(output(),
              "filter-result|0a|c0|reject|" + (for_good ? "552 5.2.2" + text : "452 4.2.2" + text + ", try again later") + "\n");
    notes.clear();
    smtpd(report("tx-rollback|00000001") + report("tx-reset|00000001"));
    EXPECT_NE(notes.at(0).text.find(" full=2 "), std::string::npos) << notes.at(0).text;
    smtpd(report("link-disconnect"));
  }
}

TEST_F(RcptTest, WhoIsFullForNowIsNotRefusedForGood) {
  settings.recipients.refuse_full = true;
  restart();
  smtpd(mail_from());
  take("r@example.org");
  take("s@example.org");
  smtpd(message());
  found("r@example.org", recipients::Mailbox::full_for_now);
  found("s@example.org", recipients::Mailbox::full);
  smtpd(commit());
  EXPECT_TRUE(output().ends_with("reject|452 4.2.2 The mailbox has no room for a message of this size, try again later\n"));
}

TEST_F(RcptTest, RoomForSomeIsEnough) {
  struct Row {
    const char* other;
    recipients::Mailbox room;
  };
  for (const Row& row : {Row{"s@example.org", recipients::Mailbox::known},
                         {"s@example.org", recipients::Mailbox::unsure},
                         {"s@example.com", recipients::Mailbox::known}}) {
    SCOPED_TRACE(row.other);
    restart();
    scans.clear();
    smtpd(mail_from());
    take("r@example.org");
    take(row.other);
    smtpd(message());
    verdict(scans.begin()->first, "no action");
    std::string said = found("r@example.org", recipients::Mailbox::full);
    if (lookups.contains(row.other)) said += found(row.other, row.room);
    EXPECT_TRUE(said.ends_with("filter-dataline|0a|d0|.\n"));
    smtpd(commit());
    EXPECT_EQ(output(), "filter-result|0a|c0|proceed\n");
    notes.clear();
    smtpd(done());
    EXPECT_NE(notes.at(0).text.find(" full=1 "), std::string::npos) << notes.at(0).text;
  }
}

TEST_F(RcptTest, SilenceAboutRoomHoldsNoMail) {
  smtpd(mail_from());
  take("r@example.org");
  smtpd(message());
  verdict(1, "no action");
  pass(3s);
  EXPECT_TRUE(output().ends_with("filter-dataline|0a|d0|.\n"));
  EXPECT_EQ(found("r@example.org", recipients::Mailbox::full), "") << "too late";
  smtpd(commit());
  EXPECT_EQ(output(), "filter-result|0a|c0|proceed\n");
}

TEST_F(RcptTest, ARefusalDoesNotWaitForRoom) {
  smtpd(mail_from());
  take("r@example.org");
  smtpd(message());
  verdict(1, "reject");
  EXPECT_EQ(output(), "filter-dataline|0a|d0|.\n");
  EXPECT_EQ(found("r@example.org", recipients::Mailbox::full), "");
  smtpd(commit());
  EXPECT_EQ(output(), "filter-result|0a|c0|reject|554 5.7.1 Spam message rejected\n");
}

TEST_F(RcptTest, ATransactionThatEndsMeanwhileLeavesNothingBehind) {
  for (const char* end : {"tx-reset|00000001", "link-disconnect"}) {
    restart();
    scans.clear();
    smtpd(mail_from());
    take("r@example.org");
    smtpd(message());
    verdict(scans.begin()->first, "no action");
    smtpd(report(end));
    EXPECT_EQ(found("r@example.org", recipients::Mailbox::known), "");
    EXPECT_EQ(engine->next_deadline(), std::nullopt);
  }
}

TEST_F(RcptTest, ARecipientGivenTwiceIsAskedAboutOnce) {
  smtpd(mail_from());
  take("r@example.org");
  take("r@example.org");
  smtpd(message());
  EXPECT_EQ(lookups.size(), 1U);
  EXPECT_EQ(found("r@example.org", recipients::Mailbox::full), "filter-dataline|0a|d0|.\n");
}

}  // namespace
}  // namespace mailbridge::session
