#include "smtpd/listener.hpp"

#include <gtest/gtest.h>

#include <string>

namespace mailbridge::smtpd {
namespace {

TEST(Listener, WhoTheClientIs) {
  EXPECT_EQ(client_ip("192.0.2.1:25"), "192.0.2.1");
  EXPECT_EQ(client_ip("[2001:db8::1]:25"), "2001:db8::1");
  EXPECT_EQ(client_ip("[IPv6:2001:db8::1]:25"), "2001:db8::1");
  EXPECT_EQ(client_ip("unix:/var/run/smtpd.sock"), "127.0.0.1");
  EXPECT_EQ(client_ip("local"), "127.0.0.1");
  EXPECT_EQ(client_ip(""), "");
  EXPECT_TRUE(is_local("unix:/var/run/smtpd.sock"));
  EXPECT_FALSE(is_local("127.0.0.1:25"));
}

TEST(Listener, WhereSmtpdCompletesMail) {
  for (const char* dest : {"unix:/var/run/smtpd.sock", "local", "127.0.0.1:25", "[::1]:10025", "192.0.2.9:587"})
    EXPECT_TRUE(completes(dest)) << dest;
  for (const char* dest : {"192.0.2.9:25", "0.0.0.0:25", "[::]:25", "127.0.0.11:25", "192.0.2.9:1587", ""})
    EXPECT_FALSE(completes(dest)) << dest;
}

TEST(Listener, WhereItIs) {
  struct Row {
    std::string dest, expected;
  };
  const Row rows[] = {
      {"192.0.2.1:25", "192.0.2.1:25"},
      {"0.0.0.0:2525", "127.0.0.1:2525"},
      {"[::]:25", "[::1]:25"},
      {"[2001:db8::1]:25", "[2001:db8::1]:25"},
      {"unix:/var/run/smtpd.sock", "unix:/var/run/smtpd.sock"},
  };
  for (const Row& row : rows) {
    const auto endpoint = listener_at(row.dest);
    ASSERT_TRUE(endpoint) << row.dest;
    EXPECT_EQ(to_string(*endpoint), row.expected);
  }
  for (const std::string dest : {"", "local", "192.0.2.1", "0.0.0.0:", ":25"}) EXPECT_FALSE(listener_at(dest)) << dest;
}

}  // namespace
}  // namespace mailbridge::smtpd
