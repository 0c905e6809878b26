#include "agent/options.hpp"

#include <gtest/gtest.h>

namespace mailbridge::agent {
namespace {

struct Row {
  std::string name;
  std::vector<std::string> arguments;
  Environment environment;
  std::string expected;  // "sender>recipient", or "!" and what is wrong
};

std::string shown(const Row& row) {
  std::vector<std::string> argv{"lda2lmtp"};
  argv.insert(argv.end(), row.arguments.begin(), row.arguments.end());
  const auto read = read_settings(argv, row.environment);
  if (!read) return "!" + read.error().what;
  const Request& request = std::get<Settings>(*read).request;
  return request.sender + ">" + request.recipient;
}

TEST(Options, SenderAndRecipient) {
  const Environment smtpd{"s@x", "r@y"};
  const Row rows[] = {
      {"environment", {}, smtpd, "s@x>r@y"},
      {"null sender in the environment", {}, {"", "r@y"}, ">r@y"},
      {"options win", {"-s", "a@b", "-r", "c@d"}, smtpd, "a@b>c@d"},
      {"long options", {"--sender", "a@b", "--receiver", "c@d"}, smtpd, "a@b>c@d"},
      {"with =", {"--sender=a@b", "--receiver=c@d"}, smtpd, "a@b>c@d"},
      {"-s without a value", {"-s", "-r", "u"}, smtpd, ">u"},
      {"-s at the end", {"-r", "u", "-s"}, smtpd, ">u"},
      {"-s with an empty value", {"-s", "", "-r", "u"}, smtpd, ">u"},
      {"--sender= with an empty value", {"--sender=", "-r", "u"}, smtpd, ">u"},
      {"-s and the recipient from the environment", {"-s"}, smtpd, ">r@y"},
      {"brackets", {"-s", "<>", "-r", "<c@d>"}, {}, ">c@d"},
      {"a sender like an option", {"-s", "--config=/tmp/x@b", "-r", "u"}, {}, "--config=/tmp/x@b>u"},
      {"a sender like a short option", {"-s", "-r@b", "-r", "u"}, {}, "-r@b>u"},
      {"a recipient like an option", {"-s", "-r", "--lmtp=/x@y"}, {}, ">--lmtp=/x@y"},
      {"no recipient", {}, {"s@x", std::nullopt}, "!no recipient: neither --receiver nor RECIPIENT in the environment"},
      {"empty recipient", {}, {"s@x", ""}, "!no recipient: neither --receiver nor RECIPIENT in the environment"},
      {"no sender", {}, {std::nullopt, "r@y"}, "!no sender: neither --sender nor SENDER in the environment"},
      {"a line end in an address", {}, {"s@x\r\nRSET", "r@y"}, "!sender: the address holds a control byte"},
      {"an unquoted bracket",
       {},
       {"s@x", "r@y> SIZE=1"},
       "!recipient: the address holds a blank or an angle bracket outside quotes"},
      {"unknown option", {"--lmpt", "/x"}, smtpd, "!no such option: --lmpt; did you mean --lmtp?"},
      {"a stray word", {"user"}, smtpd, "!no such option: user"},
      {"a bad endpoint", {"-l", "host"}, smtpd, "!--lmtp: the port is missing"},
      {"a bad timeout", {"--timeout", "soon"}, smtpd, "!--timeout: a number of seconds from 0.1 to 290 is wanted, not soon"},
      {"a name for a source", {"--lmtp-source", "here"}, smtpd, "!--lmtp-source: an IPv4 or IPv6 address is wanted, not here"},
      {"a certificate alone", {"--lmtp-cert", "/x"}, smtpd, "!--lmtp-cert and --lmtp-cert-key go together"},
      {"a class in an id",
       {"--rspamd", "unix:/a", "--settings-id", "local=x"},
       smtpd,
       "!--settings-id: an id alone is wanted, not local=x"},
      {"an rspamd certificate alone",
       {"--rspamd", "unix:/a", "--rspamd-cert-key", "/x"},
       smtpd,
       "!--rspamd-cert and --rspamd-cert-key go together"},
      {"a long timeout", {"--timeout", "291"}, smtpd, "!--timeout: a number of seconds from 0.1 to 290 is wanted, not 291"},
  };
  for (const Row& row : rows) EXPECT_EQ(shown(row), row.expected) << row.name;
}

Settings read_all(std::vector<std::string> argv) {
  argv.insert(argv.begin(), "lda2lmtp");
  return std::get<Settings>(*read_settings(argv, {"s@x", "r@y"}));
}
Request read(std::vector<std::string> argv) { return read_all(std::move(argv)).request; }

TEST(Options, TheRecipientAsTheServerGetsIt) {
  const Environment smtpd{"s@x", "Al+Tag@Y.example", "bob", "Info", "Y.example", {}};
  const Row rows[] = {
      {"by default", {}, smtpd, "s@x>Al+Tag@y.example"},
      {"user", {"--rcpt", "user"}, smtpd, "s@x>bob+Tag"},
      {"template", {"--rcpt={local}@inside"}, smtpd, "s@x>Al@inside"},
      {"of -r", {"--rcpt={local}@inside", "-r", "Carol@Z"}, smtpd, "s@x>Carol@inside"},
      {"without detail", {"--strip-detail"}, smtpd, "s@x>Al@y.example"},
      {"another delimiter", {"--strip-detail", "--delimiter", "l"}, smtpd, "s@x>A@y.example"},
      {"folded", {"--fold", "all"}, smtpd, "s@x>al+Tag@y.example"},
      {"as it is", {"--fold", "none"}, smtpd, "s@x>Al+Tag@Y.example"},
      {"no such part", {"--rcpt", "{name}"}, smtpd, "!--rcpt: there is no part {name}"},
      {"no such folding", {"--fold", "lower"}, smtpd, "!--fold: one of none|domain|all is wanted, not lower"},
      {"no user", {"--rcpt", "user"}, {"s@x", "r@y"}, "!no user: USER is not in the environment"},
      {"no such policy", {"--unknown", "later"}, smtpd, "!--unknown: one of permanent|temporary is wanted, not later"},
  };
  for (const Row& row : rows) EXPECT_EQ(shown(row), row.expected) << row.name;
  EXPECT_EQ(std::get<Settings>(*read_settings({"lda2lmtp"}, smtpd)).request.original, "Info@Y.example");
}

TEST(Options, TheRest) {
  EXPECT_EQ(read({}).lmtp, std::vector<Endpoint>{UnixEndpoint{"/var/run/dovecot/lmtp"}});
  const std::vector<Endpoint> three{TcpEndpoint{"::1", 24}, UnixEndpoint{"/x"}, TcpEndpoint{"h", 24, true}};
  EXPECT_EQ(read({"-l", "[::1]:24", "--lmtp", "/x", "-l", "lmtps://h:24"}).lmtp, three);
  EXPECT_EQ(read({}).timeout, std::chrono::seconds(290));
  EXPECT_EQ(read({"--timeout", "1.5"}).timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(read_all({"--lmtp-source", "::1"}).source, asio::ip::make_address("::1"));
  EXPECT_FALSE(read_all({}).starttls);
  const Settings tls =
      read_all({"--lmtp-starttls", "--lmtp-ca", "/ca", "--lmtp-name", "n", "--lmtp-cert", "/c", "--lmtp-cert-key", "/k"});
  EXPECT_TRUE(tls.starttls);
  EXPECT_EQ(tls.tls_files.ca_file + tls.tls_name + tls.tls_files.certificate_file + tls.tls_files.key_file, "/can/c/k");
  EXPECT_FALSE(read_all({}).scan);
  const Settings scan = read_all({"--rspamd", "unix:/a", "--rspamd", "http://h,priority=1", "--scan-timeout", "3", "--max-size",
                                  "1M", "--settings-id", "x", "--request-header", "A: b", "--on-reject", "bounce", "--on-error",
                                  "accept", "--spam-headers", "rspamc"});
  ASSERT_TRUE(scan.scan);
  EXPECT_EQ(scan.scan_recipient, "r@y");
  EXPECT_EQ(scan.scan->upstreams.size(), 2U);
  EXPECT_EQ(scan.scan->timeout, std::chrono::seconds(3));
  EXPECT_EQ(scan.scan->max_size, 1U << 20);
  EXPECT_EQ(scan.scan->request.settings_id + scan.scan->request.more, "xA: b\r\n");
  EXPECT_EQ(scan.scan->enforcement, policy::Enforcement::all);
  EXPECT_EQ(scan.scan->policy.on_failure.unreachable, policy::OnError::accept);
  EXPECT_EQ(scan.scan->policy.spam_headers, policy::SpamHeaders::rspamc);
  EXPECT_EQ(read_all({"--rspamd", "unix:/a"}).scan->policy.on_failure.timeout, policy::OnError::tempfail);
  EXPECT_EQ(read_all({"--rspamd", "unix:/a"}).scan->policy.on_failure.too_large, policy::OnError::accept);
  EXPECT_EQ(read_all({"--rspamd", "unix:/a"}).scan->enforcement, policy::Enforcement::softened);
  const Settings by_name =
      std::get<Settings>(*read_settings({"lda2lmtp", "-r", "u", "--rspamd", "unix:/a"}, {"s@x", "u+d@y", "u", "Info", "y"}));
  EXPECT_EQ(by_name.scan_recipient, "u+d@y");
  EXPECT_FALSE(read({}).keep_trace);
  EXPECT_TRUE(read({"--keep-trace"}).keep_trace);
  EXPECT_FALSE(read({}).policies.unknown_later);
  EXPECT_TRUE(read({"--unknown", "temporary"}).policies.unknown_later);
  EXPECT_FALSE(read({}).policies.full_later);
  EXPECT_TRUE(read({"--quota", "temporary"}).policies.full_later);
  EXPECT_EQ(read({}).policies.oversize, lmtp::Policies::Oversize::answered);
  EXPECT_EQ(read({"--oversize", "permanent"}).policies.oversize, lmtp::Policies::Oversize::permanent);
  EXPECT_EQ(read({"--oversize", "temporary"}).policies.oversize, lmtp::Policies::Oversize::later);
}

TEST(Options, TheDotLeavesWellBeforeTheEnd) {
  const TimePoint start{std::chrono::hours(1)};
  EXPECT_EQ(Agent(read({}), start).dot_by() - start, std::chrono::seconds(240));
  EXPECT_EQ(Agent(read({"--timeout", "60"}), start).dot_by() - start, std::chrono::seconds(50));
  EXPECT_EQ(Agent(read({"--timeout", "60"}), start).end_by() - start, std::chrono::seconds(60));
}

}  // namespace
}  // namespace mailbridge::agent
