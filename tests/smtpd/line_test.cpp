#include "smtpd/line.hpp"

#include <gtest/gtest.h>

namespace mailbridge::smtpd {
namespace {

struct Shown {
  std::string operator()(const Config& e) const { return "config " + std::string(e.key) + "," + std::string(e.value); }
  std::string operator()(const LinkConnect& e) const {
    return "link-connect " + std::string(e.rdns) + "," + std::string(e.fcrdns) + "," + std::string(e.src) + "," +
           std::string(e.dest);
  }
  std::string operator()(const LinkGreeting& e) const { return "link-greeting " + std::string(e.hostname); }
  std::string operator()(const LinkIdentify& e) const { return "link-identify " + std::string(e.name); }
  std::string operator()(const LinkTls& e) const { return "link-tls " + std::string(e.version) + "," + std::string(e.cipher); }
  std::string operator()(const LinkAuth& e) const { return "link-auth " + std::string(e.result) + "," + std::string(e.user); }
  std::string operator()(const LinkDisconnect&) const { return "link-disconnect"; }
  std::string operator()(const TxBegin& e) const { return "tx-begin " + std::string(e.msgid); }
  std::string operator()(const TxMail& e) const { return "tx-mail " + std::string(e.result) + "," + std::string(e.address); }
  std::string operator()(const TxEnvelope&) const { return "tx-envelope"; }
  std::string operator()(const TxRcpt& e) const { return "tx-rcpt " + std::string(e.result) + "," + std::string(e.address); }
  std::string operator()(const TxCommit& e) const { return "tx-commit " + std::string(e.msgid); }
  std::string operator()(const TxRollback& e) const { return "tx-rollback " + std::string(e.msgid); }
  std::string operator()(const TxReset& e) const { return "tx-reset " + std::string(e.msgid); }
  std::string operator()(const ProtocolClient& e) const { return "protocol-client " + std::string(e.command); }
  std::string operator()(const OtherReport&) const { return "other"; }
  std::string operator()(const DataLine& e) const { return "data-line " + std::string(e.token) + "," + std::string(e.line); }
  std::string operator()(const Commit& e) const { return "commit " + std::string(e.token); }
  std::string operator()(const RcptTo& e) const { return "rcpt-to " + std::string(e.token) + "," + std::string(e.address); }
  std::string operator()(const OtherRequest& e) const { return "request " + std::string(e.phase) + "," + std::string(e.token); }
};

TEST(SmtpdLine, Events) {
  struct Row {
    std::string line;
    std::string expected;  // empty: malformed
  };
  const Row rows[] = {
      {"config|smtpd-version|6.8.0p2", "config smtpd-version,6.8.0p2"},
      {"config|ready", "config ready,"},
      {"config|unheard-of|a|b", "config unheard-of,a|b"},
      {"report|0.6|1.2|smtp-in|link-connect|00ff|mx.example.net|pass|192.0.2.1:99|192.0.2.2:25",
       "link-connect mx.example.net,pass,192.0.2.1:99,192.0.2.2:25"},
      {"report|0.6|1.2|smtp-in|link-connect|00ff|a|b|fail|[::1]:99|[::1]:25", "link-connect a|b,fail,[::1]:99,[::1]:25"},
      {"report|0.6|1.2|smtp-in|link-connect|00ff", "link-connect ,,,"},
      {"report|0.6|1.2|smtp-in|link-greeting|00ff|mx.example.org", "link-greeting mx.example.org"},
      {"report|0.6|1.2|smtp-in|link-identify|00ff|EHLO|mail|x", "link-identify mail|x"},
      {"report|0.7|1.2|smtp-in|link-tls|00ff|TLSv1.3:TLS_AES_256_GCM_SHA384:256", "link-tls TLSv1.3,TLS_AES_256_GCM_SHA384"},
      {"report|0.7|1.2|smtp-in|link-tls|00ff|odd", "link-tls odd,"},
      {"report|0.7|1.2|smtp-in|link-auth|00ff|pass|car|ol", "link-auth pass,car|ol"},
      {"report|0.6|1.2|smtp-in|link-auth|00ff|car|ol|pass", "link-auth pass,car|ol"},
      {"report|0.6|1.2|smtp-in|link-disconnect|00ff", "link-disconnect"},
      {"report|0.6|1.2|smtp-in|tx-begin|00ff|0a0b0c0d", "tx-begin 0a0b0c0d"},
      {"report|0.7|1.2|smtp-in|tx-mail|00ff|0a|ok|a|b@example.net", "tx-mail ok,a|b@example.net"},
      {"report|0.6|1.2|smtp-in|tx-mail|00ff|0a|ok|", "tx-mail ok,"},
      {"report|0.5|1.2|smtp-in|tx-mail|00ff|0a|a|b@example.net|ok", "tx-mail ok,a|b@example.net"},
      {"report|0.4|1.2|smtp-in|tx-rcpt|00ff|0a|r@example.org|permfail", "tx-rcpt permfail,r@example.org"},
      {"report|0.10|1.2|smtp-in|tx-rcpt|00ff|0a|permfail|r@example.org", "tx-rcpt permfail,r@example.org"},
      {"report|1.0|1.2|smtp-in|tx-rcpt|00ff|0a|ok|r@example.org|new", "tx-rcpt ok,r@example.org|new"},
      {"report|0.6|1.2|smtp-in|tx-commit|00ff|0a|488", "tx-commit 0a"},
      {"report|0.6|1.2|smtp-in|tx-rollback|00ff|0a", "tx-rollback 0a"},
      {"report|0.6|1.2|smtp-in|tx-reset|00ff|0a", "tx-reset 0a"},
      {"report|0.6|1.2|smtp-in|tx-unheard-of|00ff|0a", "other"},
      {"report|0.6|1.2|smtp-out|link-disconnect|00ff", "other"},
      {"filter|0.6|1.2|smtp-in|data-line|00ff|00aa|a|b", "data-line 00aa,a|b"},
      {"filter|0.6|1.2|smtp-in|data-line|00ff|00aa|", "data-line 00aa,"},
      {"filter|0.6|1.2|smtp-in|commit|00ff|00aa|", "commit 00aa"},
      {"filter|0.6|1.2|smtp-in|commit|00ff|00aa", "commit 00aa"},
      {"filter|0.6|1.2|smtp-in|rcpt-to|00ff|00aa|a|b@example.org", "rcpt-to 00aa,a|b@example.org"},
      {"filter|0.6|1.2|smtp-in|rcpt-to|00ff|00aa|", "rcpt-to 00aa,"},
      {"filter|0.6|1.2|smtp-in|mail-from|00ff|00aa|x@y", "request mail-from,00aa"},
      {"report|0.6|1.2|smtp-in|protocol-client|00ff|MAIL FROM:<a|b@y> SIZE=1", "protocol-client MAIL FROM:<a|b@y> SIZE=1"},
      {"", ""},
      {"rubbish", ""},
      {"report", ""},
      {"report|x|1.2|smtp-in|tx-reset|00ff|0a", ""},
      {"report|0.6|1.2|smtp-in|tx-reset", ""},
      {"report|0.6|1.2|smtp-in|tx-reset||0a", ""},
      {"report|0.6|1.2|smtp-in|tx-reset|xyz|0a", ""},
      {"report|0.6|1.2|smtp-in|tx-reset|00112233445566778|0a", ""},
      {"filter|0.6|1.2|smtp-in|commit|00ff||", ""},
      {"filter|0.6|1.2|smtp-in|commit|00ff|0x1|", ""},
  };
  for (const Row& row : rows) {
    const auto line = parse_line(row.line);
    EXPECT_EQ(line ? std::visit(Shown{}, line->event) : "", row.expected) << row.line;
  }
}

TEST(SmtpdLine, AnnouncedSizes) {
  struct Row {
    std::string command;
    std::size_t size;
  };
  const Row rows[] = {
      {"MAIL FROM:<a@example.net> SIZE=1234", 1234},
      {"mail from:<a@example.net> body=8bitmime size=1234 RET=HDRS", 1234},
      {"MAIL FROM:<> SIZE=1", 1},
      {"MAIL FROM:<a@example.net>  SIZE=12", 12},
      {"MAIL FROM:<a@example.net> SIZE=1 SIZE=2", 1},
      {"MAIL FROM:<a SIZE=7@example.net>", 0},
      {"MAIL FROM:<a@example.net>SIZE=9", 9},  // which smtpd refuses, or not
      {"MAIL FROM:<a@example.net> XSIZE=9", 0},
      {"MAIL FROM:<a@example.net> SIZE=", 0},
      {"MAIL FROM:<a@example.net> SIZE=-1", 0},
      {"MAIL FROM:<a@example.net> SIZE=12K", 0},
      {"MAIL FROM:<a@example.net> SIZE=99999999999999999999", 0},
      {"MAIL FROM:<a@example.net>", 0},
      {"MAIL FROM:", 0},
      {"RCPT TO:<a@example.net> SIZE=5", 0},
      {"", 0},
  };
  for (const Row& row : rows) EXPECT_EQ(announced_size(row.command), row.size) << row.command;
}

TEST(SmtpdLine, AnswersStandInTheOrderTheVersionWants) {
  const auto prefix = [](std::string_view kind, Version version) {
    std::string out;
    append_answer_prefix(out, kind, dialect_of(version), "5e", "70");
    return out;
  };
  EXPECT_EQ(prefix("filter-result", {0, 4}), "filter-result|70|5e|");
  EXPECT_EQ(prefix("filter-result", {0, 5}), "filter-result|5e|70|");
  EXPECT_EQ(prefix("filter-dataline", {0, 7}), "filter-dataline|5e|70|");
}

TEST(SmtpdLine, ARepeatedDataLineIsReadAsAnyOther) {
  const std::string first = "filter|0.7|1.000002|smtp-in|data-line|00ff|00aa|text";
  const auto parsed = parse_line(first);
  RepeatedDataLine repeated;
  EXPECT_FALSE(repeated.match(first)) << "nothing is remembered";
  repeated.remember(*parsed, std::get<DataLine>(parsed->event));
  EXPECT_EQ(repeated.session_key(), 0xffU);
  struct Row {
    std::string line;
    bool matches;
  };
  const Row rows[] = {
      {first, true},
      {"filter|0.7|9.123456|smtp-in|data-line|00ff|00aa|", true},
      {"filter|0.7|9.123456|smtp-in|data-line|00ff|00aa|a|b", true},
      {"filter|0.7|9.123456|smtp-in|data-line|00ff|00aa|.", true},
      {"filter|0.7|9.123456|smtp-in|data-line|00ff|00aa", false},
      {"filter|0.7|9.123456|smtp-in|data-line|00ff|00ab|x", false},
      {"filter|0.7|9.123456|smtp-in|data-line|00fe|00aa|x", false},
      {"filter|0.6|9.123456|smtp-in|data-line|00ff|00aa|x", false},
      {"filter|0.7|9.1|2|smtp-in|data-line|00ff|00aa|x", false},
      {"filter|0.7|9.1|smtp-in|commit|00ff|00aa|", false},
      {"report|0.7|9.1|smtp-in|data-line|00ff|00aa|x", false},
      {"filter|0.7|", false},
      {"filter|0.7", false},
      {"", false},
  };
  for (const Row& row : rows) {
    const auto match = repeated.match(row.line);
    EXPECT_EQ(match.has_value(), row.matches) << row.line;
    if (!match) continue;
    const auto again = parse_line(row.line);
    EXPECT_EQ(match->line, std::get<DataLine>(again->event).line) << row.line;
    EXPECT_EQ(match->token, std::get<DataLine>(again->event).token) << row.line;
  }
}

TEST(SmtpdLine, VersionsAreNumbersNotText) {
  EXPECT_TRUE(dialect_of({0, 6}).cuts_long_lines);
  EXPECT_FALSE(dialect_of({0, 7}).cuts_long_lines);
  EXPECT_FALSE(dialect_of({0, 10}).cuts_long_lines);
  EXPECT_FALSE(dialect_of({1, 0}).answers_token_first);
  EXPECT_TRUE(dialect_of({0, 1}).answers_token_first);
}

TEST(Reply, IsFoundInItsReport) {
  EXPECT_EQ(reply_in("report|0.7|1700000000.000001|smtp-in|protocol-server|5e55105e55105e55|250-SIZE 36700160"),
            "250-SIZE 36700160");
  EXPECT_EQ(reply_in("report|0.6|1.2|smtp-in|protocol-server|0a|250 a|b"), "250 a|b");
  for (const std::string_view line :
       {"report|0.7|1.2|smtp-in|protocol-client|0a|250-SIZE 1", "report|0.7|1.2|smtp-out|protocol-server|0a|250-SIZE 1",
        "report|0.7|1.2|smtp-in|protocol-server|0a", "report|0.7", "report|",
        "report|0.7|1.2|smtp-in|link-identify|0a|EHLO|protocol-server|x",
        "filter|0.7|1.2|smtp-in|protocol-server|0a|70|250-SIZE 1"}) {
    EXPECT_FALSE(reply_in(line)) << line;
  }
}

}  // namespace
}  // namespace mailbridge::smtpd
