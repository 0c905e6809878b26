#include "policy/decision.hpp"

#include <gtest/gtest.h>

namespace mailbridge::policy {
namespace {

using rspamd::AddHeader;
using rspamd::ScanFailure;
using rspamd::Verdict;

constexpr OwnNames own = {"admd.example.org", "mx.example.org"};

OnFailure all(OnError what) { return {what, what, what, what, what, what}; }
const OnFailure accept_all = all(OnError::accept);

Decision decide(std::string_view text, const rspamd::ScanResult& result, const OnFailure& on_failure, const OwnNames& names) {
  return decide(text, result, Policy{on_failure, {}}, Enforcement::all, names);
}

const std::string message =
    "Received: from a by mx.example.org\r\n"
    "\tid 1\r\n"
    "From: a@example.net\r\n"
    "Subject: hello\r\n"
    " folded\r\n"
    "\r\n"
    "body\r\n";

Verdict verdict(std::string action) {
  Verdict verdict;
  verdict.action = std::move(action);
  return verdict;
}

std::string headers(const std::string& text, const rspamd::ScanResult& result) {
  const Decision decision = decide(text, result, accept_all, own);
  EXPECT_EQ(decision.refusal, "");
  EXPECT_EQ(text.substr(decision.body_from), text.substr(text.find("\r\n\r\n") + 2)) << "the body is left alone";
  return decision.header_bytes;
}

TEST(Policy, ActionsAreCarriedOutAsTheMilterDoes) {
  struct Row {
    std::string story;
    Verdict verdict;
    std::string refusal;
    std::string added;  // at the end of the section
  };
  const auto with = [](Verdict v, auto change) {
    change(v);
    return v;
  };
  const Row rows[] = {
      {"no action", verdict("no action"), "", ""},
      {"greylist accepts: the module said so itself", verdict("greylist"), "", ""},
      {"reject", verdict("reject"), "554 5.7.1 Spam message rejected", ""},
      {"soft reject", verdict("soft reject"), "451 4.7.1 Try again later", ""},
      {"add header", verdict("add header"), "", "X-Spam: Yes\r\n"},
      {"discard", verdict("discard"), "", "X-Rspamd-Action: discard\r\n"},
      {"quarantine", verdict("quarantine"), "", "X-Rspamd-Action: quarantine\r\n"},
      {"custom", verdict("to the\r\nattic"), "", "X-Rspamd-Action: to the attic\r\n"},
      {"reject with words", with(verdict("reject"), [](Verdict& v) { v.smtp_message = "Gtube \"pattern\"\r\nsecond"; }),
       "554 5.7.1 Gtube 'pattern' second", ""},
      {"reject with an enhanced code", with(verdict("reject"), [](Verdict& v) { v.smtp_message = "5.3.1 Go away"; }),
       "554 5.3.1 Go away", ""},
      {"reject with both codes", with(verdict("reject"), [](Verdict& v) { v.smtp_message = "550 5.3.1 Go away"; }),
       "554 5.3.1 Go away", ""},
      {"soft reject with a code of another class",
       with(verdict("soft reject"), [](Verdict& v) { v.smtp_message = "5.3.1 Go away"; }), "451 4.7.1 5.3.1 Go away", ""},
      {"words that come to nothing", with(verdict("soft reject"), [](Verdict& v) { v.smtp_message = "\r\n\t"; }),
       "451 4.7.1 Try again later", ""},
      {"endless words", with(verdict("reject"), [](Verdict& v) { v.smtp_message = std::string(9000, 'x'); }),
       "554 5.7.1 " + std::string(400, 'x'), ""},
      {"no_action accepts and says what it would have been", with(verdict("reject"), [](Verdict& v) { v.no_action = true; }), "",
       "X-Rspamd-Action: reject\r\n"},
      {"no_action leaves the subject alone",
       with(verdict("rewrite subject"), [](Verdict& v) { v.no_action = true, v.subject = "SPAM"; }), "",
       "X-Rspamd-Action: rewrite subject\r\n"},
      {"no_action, add header", with(verdict("add header"), [](Verdict& v) { v.no_action = true; }), "",
       "X-Rspamd-Action: add header\r\n"},
      {"reject turned into discard", with(verdict("reject"), [](Verdict& v) { v.instead_of_reject = "discard"; }), "",
       "X-Rspamd-Action: discard\r\n"},
      {"reject turned into quarantine", with(verdict("reject"), [](Verdict& v) { v.instead_of_reject = "quarantine"; }), "",
       "X-Rspamd-Action: quarantine\r\n"},
      {"X-Rspamd-Action is not said twice",
       with(verdict("discard"),
            [](Verdict& v) {
              v.add_headers = {{"X-Rspamd-Action", "discard", -1}};
            }),
       "", "X-Rspamd-Action: discard\r\n"},
      {"spam_header",
       with(verdict("add header"),
            [](Verdict& v) {
              v.spam_headers = {{"X-Junk", "maybe", -1}};
            }),
       "", "X-Junk: maybe\r\n"},
      {"spam_header without that action",
       with(verdict("no action"),
            [](Verdict& v) {
              v.spam_headers = {{"X-Junk", "maybe", -1}};
            }),
       "", ""},
  };
  for (const Row& row : rows) {
    const Decision decision = decide(message, row.verdict, {}, own);
    EXPECT_EQ(decision.refusal, row.refusal) << row.story;
    if (row.refusal.empty()) {
      EXPECT_EQ(decision.header_bytes, message.substr(0, message.size() - 8) + row.added) << row.story;
    }
  }
}

TEST(Policy, TheSubjectIsReplacedWithItsFoldsOrAdded) {
  Verdict v = verdict("rewrite subject");
  v.subject = "*** SPAM *** hello";
  EXPECT_EQ(headers(message, v),
            "Received: from a by mx.example.org\r\n\tid 1\r\nFrom: a@example.net\r\nSubject: *** SPAM *** hello\r\n");
  EXPECT_EQ(headers("Received: x\r\nFrom: a\r\n\r\n", v), "Received: x\r\nFrom: a\r\nSubject: *** SPAM *** hello\r\n");
  EXPECT_EQ(headers("Received: x\r\nSUBJECT:a\r\nSubject: b\r\n\r\n", v), "Received: x\r\nSubject: *** SPAM *** hello\r\n")
      << "there is one when it is read, too";
}

TEST(Policy, WithoutASubjectInTheReplyItIsMadeAsRspamdDoes) {
  const Verdict v = verdict("rewrite subject");
  EXPECT_EQ(headers("Received: x\r\nSubject: hello\r\n folded\r\nFrom: a\r\nSubject: b\r\n\r\n", v),
            "Received: x\r\nSubject: *** SPAM *** hello\r\n folded\r\nFrom: a\r\n");
  EXPECT_EQ(headers("Received: x\r\n\r\n", v), "Received: x\r\nSubject: *** SPAM ***\r\n");
}

TEST(Policy, NoLineOfAChangedSubjectIsLongerThanEncodedWordsMayHave) {
  const std::string old =
      "Subject: =?utf-8?B?R3LDvMOfZSBh?=\r\n =?utf-8?B?dXMgS8O2bG4g8J+YgA==?=\r\n\t=?iso-8859-1?Q?_caf=E9?=\r\n";
  Verdict scored = verdict("add header");
  scored.score = 12.34;
  Policy policy;
  auto [name, rule] = parse_action("add header=subject [SPAM %d] %s").value();
  policy.actions.set(name, rule);
  EXPECT_EQ(decide("Received: x\r\n" + old + "\r\n", scored, policy, Enforcement::all, own).header_bytes,
            "Received: x\r\nSubject: [SPAM 12.34] =?utf-8?B?R3LDvMOfZSBh?=\r\n =?utf-8?B?dXMgS8O2bG4g8J+YgA==?=\r\n"
            "\t=?iso-8859-1?Q?_caf=E9?=\r\n");
  Verdict v = verdict("rewrite subject");
  const std::string word = "=?UTF-8?Q?" + std::string(60, 'a') + "?=";
  v.subject = word + " " + word + " " + word;
  EXPECT_EQ(headers("Received: x\r\n" + old + "\r\n", v),
            "Received: x\r\nSubject:\r\n " + word + "\r\n " + word + "\r\n " + word + "\r\n");
}

TEST(Policy, HeadersComeInTheOrderOfTheMilter) {
  Verdict v = verdict("no action");
  v.add_headers = {{"ARC-Authentication-Results", "i=1", 1},
                   {"ARC-Message-Signature", "i=1", 1},
                   {"ARC-Seal", "i=1", 1},
                   {"X-Top", "0", 0},
                   {"X-End", "-1", -1},
                   {"X-Last-But-One", "-2", -2},
                   {"bad name", "x", 0}};
  v.dkim_signatures = {"a=1;\n\tb=2", "second"};
  const Decision decision = decide("Received: x\r\nFrom: a\r\n\r\n", v, {}, own);
  EXPECT_EQ(decision.header_bytes,
            "X-Top: 0\r\n"
            "Received: x\r\n"
            "DKIM-Signature: a=1;\r\n\tb=2\r\n"
            "DKIM-Signature: second\r\n"
            "ARC-Seal: i=1\r\n"
            "ARC-Message-Signature: i=1\r\n"
            "ARC-Authentication-Results: i=1\r\n"
            "From: a\r\n"
            "X-Last-But-One: -2\r\n"
            "X-End: -1\r\n");
  EXPECT_EQ(decision.dropped_headers, std::vector<std::string>{"bad name"});
}

TEST(Policy, AnArcSetIsInOrderWhateverTheOrderOfTheReply) {
  Verdict v = verdict("no action");
  v.add_headers = {{"ARC-Message-Signature", "i=1", 1},
                   {"Authentication-Results", "mx", 1},
                   {"ARC-Seal", "i=1", 1},
                   {"ARC-Authentication-Results", "i=1", 1}};
  v.dkim_signatures = {"d"};
  EXPECT_EQ(headers("Received: x\r\nFrom: a\r\n\r\n", v),
            "Received: x\r\n"
            "DKIM-Signature: d\r\n"
            "ARC-Seal: i=1\r\n"
            "ARC-Message-Signature: i=1\r\n"
            "Authentication-Results: mx\r\n"
            "ARC-Authentication-Results: i=1\r\nFrom: a\r\n");
}

TEST(Policy, WhatTheClientForgedGoesAndWhatSmtpdWroteStays) {
  const std::string forged =
      "X-Spam: Yes\r\n"
      "Received: by us\r\n"
      "x-spam: no\r\n"
      "X-Spam-Status: No,\r\n\tscore=-100\r\n"
      "X-Spamd-Bar: -----\r\n"
      "X-Rspamd-Action : no action\r\n"
      "Authentication-Results: MX.example.org; spf=pass\r\n"
      "Authentication-Results: (really) admd.example.org 1; spf=pass\r\n"
      "Authentication-Results: elsewhere.example; spf=pass\r\n"
      "X-Spammer: me\r\n"
      "\r\n";
  const std::string left =
      "X-Spam: Yes\r\n"
      "Received: by us\r\n"
      "Authentication-Results: elsewhere.example; spf=pass\r\n"
      "X-Spammer: me\r\n";
  EXPECT_EQ(headers(forged, verdict("no action")), left);
  EXPECT_EQ(headers(forged, tl::unexpected(ScanFailure{ScanFailure::Kind::timed_out, "too\r\nslow"})),
            left + "X-Spam-Error: timed_out: too slow\r\n");

  Verdict v = verdict("add header");
  v.remove_headers = {{"X-Spam", 0}, {"Authentication-Results", 1}};
  EXPECT_EQ(headers(forged, v), left) << "counted on what rspamd saw; smtpd's own mark stays and is not doubled";
}

// Wherever it stands and however it is written, scanned or not, and whoever wants it there.
TEST(Policy, NoMarkOfADeliveredMessageGetsThrough) {
  const std::string marks =
      "X-Mailbridge-Delivered: id=1;\r\n\tto=<a@x>;\r\n\tseal=x\r\n"
      "x-MAILBRIDGE-delivered \t: id=1\r\n"
      "X-Mailbridge-Delivered:\r\n";
  const std::string forged = marks + "Received: by us\r\n" + marks + "X-Mailbridge: 1\r\nno field\r\n" + marks + "\r\n";
  const std::string left = "Received: by us\r\nX-Mailbridge: 1\r\nno field\r\n";
  EXPECT_EQ(headers(forged, verdict("no action")), left);
  EXPECT_EQ(headers(forged, tl::unexpected(ScanFailure{ScanFailure::Kind::timed_out, "too slow"})),
            left + "X-Spam-Error: timed_out: too slow\r\n");
  EXPECT_EQ(pass_unscanned(forged, own).header_bytes, left);

  Verdict v = verdict("add header");
  v.add_headers = {{"X-Mailbridge-Delivered", "id=1", 0}};
  v.spam_headers = {{"x-mailbridge-delivered", "id=1", -1}};
  const Decision decision = decide(forged, v, accept_all, own);
  EXPECT_EQ(decision.header_bytes, left);
  EXPECT_EQ(decision.dropped_headers, (std::vector<std::string>{"X-Mailbridge-Delivered", "x-mailbridge-delivered"}));
}

TEST(Policy, RspamdsPositionsCountBelowSmtpdsReceived) {
  Verdict v = verdict("no action");
  v.add_headers = {{"X-New", "1", 1}};
  EXPECT_EQ(headers("X-Spam: Yes\r\nReceived: by us\r\nFrom: a\r\n\r\n", v),
            "X-Spam: Yes\r\nReceived: by us\r\nX-New: 1\r\nFrom: a\r\n");
}

TEST(Policy, EachClassOfFailureHasItsPolicyAndItsWords) {
  using Kind = ScanFailure::Kind;
  struct Row {
    Kind kind;
    OnError OnFailure::*policy;
    std::string name;
    std::string tempfail;
    std::string reject;
  };
  const std::string later = "451 4.3.0 Message could not be scanned, try again later";
  const std::string never = "554 5.3.0 Message could not be scanned";
  const Row rows[] = {
      {Kind::unreachable, &OnFailure::unreachable, "unreachable", later, never},
      {Kind::timed_out, &OnFailure::timeout, "timed_out", later, never},
      {Kind::http, &OnFailure::http_error, "http", later, never},
      {Kind::unreadable, &OnFailure::unreadable, "unreadable", later, never},
      {Kind::overload, &OnFailure::overload, "overload", "451 4.3.2 Too many messages are being scanned, try again later",
       "554 5.3.2 Too many messages are being scanned"},
      {Kind::too_large, &OnFailure::too_large, "too_large", "451 4.3.4 Message is too big to be scanned",
       "552 5.3.4 Message is too big to be scanned"},
  };
  for (const Row& row : rows) {
    const rspamd::ScanResult result = tl::unexpected(ScanFailure{row.kind, "why"});
    EXPECT_EQ(decide(message, result, all(OnError::tempfail), own).refusal, row.tempfail);
    EXPECT_EQ(decide(message, result, all(OnError::reject), own).refusal, row.reject);
    const Decision accepted = decide(message, result, accept_all, own);
    EXPECT_EQ(accepted.refusal, "");
    EXPECT_TRUE(accepted.header_bytes.ends_with("\r\nX-Spam-Error: " + row.name + ": why\r\n")) << accepted.header_bytes;
    OnFailure only = all(OnError::tempfail);
    only.*row.policy = OnError::reject;
    EXPECT_EQ(decide(message, result, only, own).refusal, row.reject) << "this policy is this class's";
  }
}

Policy mapped(const std::vector<std::string>& actions) {
  Policy policy;
  for (const std::string& text : actions) {
    auto action = parse_action(text);
    EXPECT_TRUE(action) << text;
    policy.actions.set(std::move(action->first), std::move(action->second));
  }
  return policy;
}

const std::string header_section = message.substr(0, message.size() - 8);

TEST(Policy, ActionsAreCarriedOutAsTheMapSays) {
  const auto with = [](Verdict v, auto change) {
    change(v);
    return v;
  };
  const auto words = [](Verdict& v) { v.smtp_message = "rspamd's words"; };
  struct Row {
    std::string map;
    Verdict verdict;
    std::string refusal;
    std::string added;  // at the end of the section
  };
  const Row rows[] = {
      {"reject=accept", verdict("reject"), "", ""},
      {"reject=header", verdict("reject"), "", "X-Spam: Yes\r\n"},
      {"reject=header X-Junk: 99", verdict("reject"), "", "X-Junk: 99\r\n"},
      {"reject=reject 550 5.7.0", with(verdict("reject"), words), "550 5.7.0 rspamd's words", ""},
      {"reject=reject 550 5.7.0", with(verdict("reject"), [](Verdict& v) { v.smtp_message = "554 5.3.1 x"; }), "550 5.3.1 x", ""},
      {"reject=reject our words", with(verdict("reject"), words), "554 5.7.1 our words", ""},
      {"reject=tempfail", verdict("reject"), "451 4.7.1 Try again later", ""},
      {"reject=tempfail our words", with(verdict("reject"), words), "451 4.7.1 our words", ""},
      {"soft reject=accept", verdict("soft reject"), "", ""},
      {"add header=accept", verdict("add header"), "", ""},
      {"add header=header X-Junk: 7",
       with(verdict("add header"),
            [](Verdict& v) {
              v.spam_headers = {{"X-Other", "x", -1}};
            }),
       "", "X-Junk: 7\r\n"},
      {"add header=header",
       with(verdict("add header"),
            [](Verdict& v) {
              v.spam_headers = {{"X-Other", "x", -1}};
            }),
       "", "X-Other: x\r\n"},
      {"add header=reject", verdict("add header"), "554 5.7.1 Spam message rejected", ""},
      {"no action=header X-Scanned: yes", verdict("no action"), "", "X-Scanned: yes\r\n"},
      {"greylist=tempfail", verdict("greylist"), "451 4.7.1 Try again later", ""},
      {"hold=header X-Hold: on", verdict("hold"), "", "X-Hold: on\r\n"},
      {"hold=accept", verdict("hold"), "", ""},
      {"hold=accept", verdict("attic"), "", "X-Rspamd-Action: attic\r\n"},
      {"discard=reject 550", verdict("discard"), "550 5.7.1 Spam message rejected", ""},
      {"quarantine=header X-Spam: Yes", with(verdict("reject"), [](Verdict& v) { v.instead_of_reject = "quarantine"; }), "",
       "X-Spam: Yes\r\n"},
      {"reject=accept", with(verdict("reject"), [](Verdict& v) { v.instead_of_reject = "discard"; }), "",
       "X-Rspamd-Action: discard\r\n"},
      {"reject=tempfail", with(verdict("reject"), [](Verdict& v) { v.no_action = true; }), "", "X-Rspamd-Action: reject\r\n"},
  };
  for (const Row& row : rows) {
    const Decision decision = decide(message, row.verdict, mapped({row.map}), Enforcement::all, own);
    EXPECT_EQ(decision.refusal, row.refusal) << row.map;
    EXPECT_EQ(decision.not_said, "") << row.map;
    if (!row.refusal.empty()) continue;
    EXPECT_EQ(decision.header_bytes, header_section + row.added) << row.map;
  }

  Verdict scored = verdict("add header");
  scored.score = 7.5;
  EXPECT_EQ(decide(message, scored, mapped({"add header=subject [%d] %s"}), Enforcement::all, own).header_bytes,
            "Received: from a by mx.example.org\r\n\tid 1\r\nFrom: a@example.net\r\nSubject: [7.50] hello\r\n folded\r\n");
  scored.subject = "rspamd's own";
  EXPECT_EQ(decide("Received: x\r\n\r\n", scored, mapped({"add header=subject"}), Enforcement::all, own).header_bytes,
            "Received: x\r\nSubject: *** SPAM ***\r\n");
  EXPECT_EQ(
      decide("Received: x\r\nX-Junk: client\r\n\r\n", scored, mapped({"add header=header X-Junk: ours"}), Enforcement::all, own)
          .header_bytes,
      "Received: x\r\nX-Junk: ours\r\n")
      << "what the client wrote under that name goes";
}

TEST(Policy, RefusalsAreSoftenedOrOnlyTold) {
  struct Row {
    std::string story;
    rspamd::ScanResult result;
    std::string refusal;
    std::string softened;   // the refusal, or what is added
    std::string monitored;  // what is added
  };
  Verdict no_action = verdict("reject");
  no_action.no_action = true;
  Verdict subject = verdict("rewrite subject");
  subject.subject = "SPAM";
  const std::string spam = "554 5.7.1 Spam message rejected";
  const std::string later = "451 4.7.1 Try again later";
  const Row rows[] = {
      {"reject", verdict("reject"), spam, "X-Spam: Yes\r\nX-Spam-Answer: " + spam + "\r\n",
       "X-Rspamd-Action: reject\r\nX-Spam-Answer: " + spam + "\r\n"},
      {"a soft reject asks for time, or for fewer mails", verdict("soft reject"), later, later,
       "X-Rspamd-Action: soft reject\r\nX-Spam-Answer: " + later + "\r\n"},
      {"add header", verdict("add header"), "", "X-Spam: Yes\r\n", "X-Rspamd-Action: add header\r\n"},
      {"no action", verdict("no action"), "", "", "X-Rspamd-Action: no action\r\n"},
      {"milter.no_action", no_action, "", "X-Rspamd-Action: reject\r\n", "X-Rspamd-Action: reject\r\n"},
      {"a failure", tl::unexpected(ScanFailure{ScanFailure::Kind::overload, "why"}),
       "554 5.3.2 Too many messages are being scanned", "554 5.3.2 Too many messages are being scanned",
       "X-Spam-Error: overload: why\r\nX-Spam-Answer: 554 5.3.2 Too many messages are being scanned\r\n"},
  };
  Policy policy;
  policy.on_failure.overload = OnError::reject;
  for (const Row& row : rows) {
    EXPECT_EQ(decide(message, row.result, policy, Enforcement::all, own).refusal, row.refusal) << row.story;
    const Decision softened = decide(message, row.result, policy, Enforcement::softened, own);
    const std::string outcome = softened.refusal.empty() ? softened.header_bytes : softened.refusal;
    EXPECT_EQ(outcome, softened.refusal.empty() ? header_section + row.softened : row.softened) << row.story;
    const Decision monitored = decide(message, row.result, policy, Enforcement::none, own);
    EXPECT_EQ(monitored.refusal, "") << row.story;
    EXPECT_EQ(monitored.not_said, row.refusal) << row.story;
    EXPECT_EQ(monitored.header_bytes, header_section + row.monitored) << row.story;
  }
  const Decision monitored = decide(message, subject, policy, Enforcement::none, own);
  EXPECT_EQ(monitored.header_bytes, header_section + "X-Rspamd-Action: rewrite subject\r\n") << "the subject stays";
  EXPECT_EQ(
      decide(message, verdict("reject"), mapped({"add header=header X-Junk: yes"}), Enforcement::softened, own).header_bytes,
      header_section + "X-Junk: yes\r\nX-Spam-Answer: " + spam + "\r\n")
      << "marked as junk is marked here";
}

// Which fields the set marks spam with; when it does is the action map's and the enforcement's to say.
TEST(Policy, OtherSpamHeadersMarkTheSameMessages) {
  Verdict no_action = verdict("add header");
  no_action.no_action = true;
  const std::string rspamc = "X-Spam-Scanner: filter-mailbridge\r\nX-Spam-Scan-Time: 0.005\r\n";
  struct Row {
    std::string story;
    Verdict verdict;
    Enforcement enforcement;
    Policy policy;
    bool marked, marked_as_rspamc;
  };
  const Row rows[] = {
      {"add header", verdict("add header"), Enforcement::all, {}, true, true},
      {"rewrite subject", verdict("rewrite subject"), Enforcement::all, {}, false, true},
      {"no action", verdict("no action"), Enforcement::all, {}, false, false},
      {"custom", verdict("custom"), Enforcement::all, {}, false, false},
      {"milter.no_action", no_action, Enforcement::all, {}, false, false},
      {"a softened reject", verdict("reject"), Enforcement::softened, {}, true, true},
      {"monitored", verdict("add header"), Enforcement::none, {}, false, false},
      {"accepted by the map", verdict("add header"), Enforcement::all, mapped({"add header=accept"}), false, false},
      {"marked otherwise by the map", verdict("add header"), Enforcement::all, mapped({"add header=header X-Junk: 1"}), false,
       false},
      {"marked by the map", verdict("discard"), Enforcement::all, mapped({"discard=header"}), true, true},
  };
  for (const Row& row : rows) {
    const auto added = [&](SpamHeaders set) {
      Policy policy = row.policy;
      policy.spam_headers = set;
      return decide(message, row.verdict, policy, row.enforcement, own, std::chrono::milliseconds(5)).header_bytes;
    };
    const std::string as_filter_rspamd = added(SpamHeaders::filter_rspamd);
    EXPECT_EQ(as_filter_rspamd.starts_with("X-Spam: yes\r\nX-Spam-Score: 0 / 0\r\nReceived: "), row.marked) << row.story;
    EXPECT_EQ(as_filter_rspamd.find("\nX-Spam: ") != std::string::npos, false) << row.story;
    const std::string as_rspamc = added(SpamHeaders::rspamc);
    EXPECT_NE(as_rspamc.find(rspamc + (row.marked_as_rspamc ? "X-Spam: yes\r\n" : "") + "X-Spam-Action: "), std::string::npos)
        << row.story;
  }
}

TEST(Policy, TheMarkOfSmtpdIsNotDoubled) {
  const std::string marked = "X-Spam: Yes\r\n" + message;
  for (const SpamHeaders set : {SpamHeaders::milter, SpamHeaders::rspamc, SpamHeaders::filter_rspamd}) {
    Policy policy;
    policy.spam_headers = set;
    const std::string bytes = decide(marked, verdict("add header"), policy, Enforcement::all, own).header_bytes;
    EXPECT_NE(bytes.find("X-Spam: Yes\r\nReceived: "), std::string::npos);
    EXPECT_EQ(bytes.find("X-Spam: "), bytes.rfind("X-Spam: "));
  }
}

TEST(Policy, SmtpdsOwnTraceStays) {
  const std::string traced = "Received: by us\r\n\tid 1\r\nReceived: by them\r\nFrom: a\r\nReceived: by others\r\n\r\n";
  struct Row {
    int index;
    std::string left;
  };
  const Row rows[] = {
      {0, "Received: by us\r\n\tid 1\r\nFrom: a\r\n"},
      {1, traced.substr(0, traced.size() - 2)},
      {2, "Received: by us\r\n\tid 1\r\nFrom: a\r\nReceived: by others\r\n"},
      {-1, "Received: by us\r\n\tid 1\r\nReceived: by them\r\nFrom: a\r\n"},
      {-3, traced.substr(0, traced.size() - 2)},
  };
  for (const Row& row : rows) {
    Verdict v = verdict("no action");
    v.remove_headers = {{"received", row.index}};
    EXPECT_EQ(headers(traced, v), row.left) << row.index;
  }
}

}  // namespace
}  // namespace mailbridge::policy
