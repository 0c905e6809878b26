#include "base/endpoint.hpp"

#include <gtest/gtest.h>

namespace mailbridge {
namespace {

struct Row {
  std::string text;
  std::string shown;  // empty: refused
};

TEST(Endpoint, Http) {
  const std::string longest(107 - 1, 'x');
  const Row rows[] = {
      {"http://127.0.0.1:11333", "127.0.0.1:11333"},
      {"HTTP://scan.example.org:80/", "scan.example.org:80"},
      {"http://scan.example.org", "scan.example.org:11333"},
      {"http://[2001:db8::1]:1", "[2001:db8::1]:1"},
      {"http://[::1]", "[::1]:11333"},
      {"unix:/run/rspamd/normal.sock", "unix:/run/rspamd/normal.sock"},
      {"unix:/" + longest, "unix:/" + longest},
      {"unix:/" + longest + "x", ""},
      {"unix:run/x", ""},
      {"unix:", ""},
      {"", ""},
      {"http://", ""},
      {"http://:80", ""},
      {"http://host:", ""},
      {"http://host:0", ""},
      {"http://host:65535", "host:65535"},
      {"http://host:65536", ""},
      {"http://host:8o", ""},
      {"http://host:+80", ""},
      {"http://2001:db8::1:80", ""},
      {"http://[2001:db8::1", ""},
      {"http://[2001:db8::1]80", ""},
      {"http://[host]:80", ""},
      {"http://user@host", ""},
      {"http://host/checkv2", ""},
      {"http://ho st", ""},
      {"https://host", ""},
      {"https://host:443", "host:443"},
      {"host:80", ""},
      {"http://" + std::string(255, 'h'), std::string(255, 'h') + ":11333"},
      {"http://" + std::string(256, 'h'), ""},
  };
  for (const Row& row : rows) {
    const auto endpoint = parse_http_endpoint(row.text);
    EXPECT_EQ(endpoint ? to_string(*endpoint) : "", row.shown) << row.text;
    EXPECT_TRUE(endpoint || !endpoint.error().what.empty()) << row.text;
  }
}

TEST(Endpoint, Lmtp) {
  const Row rows[] = {
      {"/var/run/dovecot/lmtp", "unix:/var/run/dovecot/lmtp"},
      {"unix:/var/run/dovecot/lmtp", "unix:/var/run/dovecot/lmtp"},
      {"mail.example.org:24", "mail.example.org:24"},
      {"[2001:db8::2]:24", "[2001:db8::2]:24"},
      {"lmtp://mail.example.org:24", "mail.example.org:24"},
      {"LMTPS://[2001:db8::2]:2400", "[2001:db8::2]:2400"},
      {"lmtps://mail.example.org", ""},
      {"lmtps:///var/run/dovecot/lmtp", ""},
      {"http://mail.example.org:24", ""},
      {"[::1]", ""},
      {"mail.example.org", ""},
      {"::1:24", ""},
      {"", ""},
      {"lmtp", ""},
  };
  for (const Row& row : rows) {
    const auto endpoint = parse_lmtp_endpoint(row.text);
    EXPECT_EQ(endpoint ? to_string(*endpoint) : "", row.shown) << row.text;
  }
  EXPECT_TRUE(std::get<TcpEndpoint>(*parse_lmtp_endpoint("lmtps://mail.example.org:24")).tls);
  EXPECT_FALSE(std::get<TcpEndpoint>(*parse_lmtp_endpoint("lmtp://mail.example.org:24")).tls);
}

}  // namespace
}  // namespace mailbridge
