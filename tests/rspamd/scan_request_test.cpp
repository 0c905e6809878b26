#include "rspamd/scan_request.hpp"

#include <gtest/gtest.h>

namespace mailbridge::rspamd {
namespace {

mail::Envelope full_envelope() {
  return {.ip = "2001:db8::1",
          .hostname = "mx.example.net",
          .helo = "helo.example.net",
          .sender = "a@example.com",
          .recipients = {"b@example.org", "c@example.org"},
          .user = "alice",
          .queue_id = "0123abcd",
          .mta_name = "mail.example.org",
          .tls_version = "TLSv1.3",
          .tls_cipher = "TLS_AES_256_GCM_SHA384"};
}

TEST(ScanRequest, EverythingKnown) {
  const ScanRequest request = scan_request(full_envelope(), {.settings_id = "inbound", .log_tag = "7f3a"});
  EXPECT_EQ(request.headers,
            "User-Agent: filter-mailbridge\r\n"
            "Flags: milter,body_block\r\n"
            "Settings-ID: inbound\r\n"
            "Log-Tag: 7f3a\r\n"
            "Queue-Id: 0123abcd\r\n"
            "MTA-Name: mail.example.org\r\n"
            "IP: 2001:db8::1\r\n"
            "Hostname: mx.example.net\r\n"
            "Helo: helo.example.net\r\n"
            "User: alice\r\n"
            "TLS-Cipher: TLS_AES_256_GCM_SHA384\r\n"
            "TLS-Version: TLSv1.3\r\n"
            "From: <a@example.com>\r\n"
            "Rcpt: <b@example.org>\r\n"
            "Rcpt: <c@example.org>\r\n"
            "\r\n");
  EXPECT_EQ(request.recipients_left_out, 0u);
}

TEST(ScanRequest, MoreHeaders) {
  const ScanRequest request =
      scan_request({}, {.more = *parse_request_header("Pass:all") + *parse_request_header("X-Site: a  b\t")});
  EXPECT_NE(request.headers.find("\r\nPass: all\r\nX-Site: a b\r\nFrom: <>\r\n"), std::string::npos) << request.headers;
  for (const char* wrong : {"", "Pass", "Pass all: x", ": x", "Pass:", "Pass: \r\n", "a\r\nb: c", "ip: 127.0.0.1",
                            "FILE: /etc/passwd", "Transfer-Encoding: chunked"}) {
    EXPECT_FALSE(parse_request_header(wrong)) << wrong;
  }
  EXPECT_EQ(*parse_request_header("X: a\r\nIP: 127.0.0.1"), "X: a IP: 127.0.0.1\r\n");
}

TEST(ScanRequest, NothingKnownLeavesNoEmptyHeader) {
  const ScanRequest request = scan_request({}, {});
  EXPECT_EQ(request.headers,
            "User-Agent: filter-mailbridge\r\n"
            "Flags: milter,body_block\r\n"
            "From: <>\r\n"
            "\r\n");
}

TEST(ScanRequest, AddressesAsRspamdReadsThem) {
  struct Row {
    std::string what;
    std::string recipient;
    std::string expected;
    std::size_t left_out;
  };
  const Row rows[] = {
      {"plain", "b@example.org", "Deliver-To: b@example.org\r\nRcpt: <b@example.org>\r\n", 0},
      {"case is kept", "B@Example.ORG", "Deliver-To: B@Example.ORG\r\nRcpt: <B@Example.ORG>\r\n", 0},
      {"no domain", "root", "", 1},
      {"two at a comma", "a,b@example.org", "", 1},
      {"quoted", "\"a\"@example.org", "", 1},
      {"not ASCII", "j\xc3\xb6rg@example.org", "", 1},
      {"a header of its own", "b@example.org\r\nPassword: x", "", 1},
      {"angle brackets", "<b@example.org>", "", 1},
      {"a blank", "b c@example.org", "", 1},
      {"empty", "", "", 1},
      {"too long", std::string(1024, 'b') + "@example.org", "", 1},
  };
  // Deliver-To is whose settings count: told of a single recipient, not of the first of many (see EverythingKnown).
  for (const Row& row : rows) {
    mail::Envelope envelope;
    envelope.recipients = {row.recipient};
    envelope.mta_name = "mail.example.org";
    const ScanRequest request = scan_request(envelope, {});
    EXPECT_TRUE(request.headers.ends_with("From: <>\r\n" + row.expected + "\r\n")) << row.what << "\n" << request.headers;
    EXPECT_EQ(request.recipients_left_out, row.left_out) << row.what;
  }
}

TEST(ScanRequest, SenderThatRspamdCannotParseIsNotSent) {
  for (const char* sender : {"root", "a,b@example.com", "\xff@example.com"}) {
    mail::Envelope envelope;
    envelope.sender = sender;
    EXPECT_EQ(scan_request(envelope, {}).headers.find("From:"), std::string::npos) << sender;
  }
}

TEST(ScanRequest, HostileValuesStayOneLine) {
  mail::Envelope envelope = full_envelope();
  envelope.helo = "x\r\nDeliver-To: \r\n\r\n";
  envelope.user = std::string("a\0b\"c", 5) + "\xe9";
  envelope.hostname = " \t\r\n";
  const std::string head = scan_request(envelope, {}).headers;
  EXPECT_NE(head.find("Helo: x Deliver-To:\r\n"), std::string::npos) << head;
  EXPECT_NE(head.find("User: a b'c?\r\n"), std::string::npos) << head;
  EXPECT_EQ(head.find("Hostname"), std::string::npos) << head;
}

TEST(ScanRequest, RecipientsBeyondTheBoundAreCounted) {
  mail::Envelope envelope = full_envelope();
  for (std::size_t size = 20; size < 60; ++size) {
    const std::string line = "Rcpt: <" + std::string(size, 'u') + "@example.org>\r\n";
    envelope.recipients.assign(10000, std::string(size, 'u') + "@example.org");
    const ScanRequest request = scan_request(envelope, {});
    EXPECT_LE(request.headers.size(), max_headers) << size;
    EXPECT_GT(request.headers.size() + line.size(), max_headers) << size;
    EXPECT_TRUE(request.headers.ends_with(line + "\r\n")) << size;
    std::size_t sent = 0;
    for (std::size_t at = 0; (at = request.headers.find("\r\nRcpt: ", at)) != std::string::npos; ++at) ++sent;
    EXPECT_EQ(sent + request.recipients_left_out, envelope.recipients.size()) << size;
  }
}

}  // namespace
}  // namespace mailbridge::rspamd
