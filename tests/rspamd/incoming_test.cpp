#include "rspamd/incoming.hpp"

#include <gtest/gtest.h>

#include "tests/support/sealed_peer.hpp"

namespace mailbridge::rspamd {
namespace {

const std::string inner = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

// What is known after these bytes and the end of the connection.
std::string read(std::string_view bytes, std::size_t step = std::string::npos, std::size_t max_body = 100) {
  Incoming incoming(max_body, testing::sealing().secret);
  for (; !bytes.empty(); bytes.remove_prefix(std::min(step, bytes.size()))) {
    incoming.receive(bytes.substr(0, step));
    const bool judged = incoming.complete() || incoming.fault();
    EXPECT_TRUE(judged || incoming.reply().body.empty()) << "nothing is shown before the MAC";
  }
  incoming.close();
  if (incoming.fault()) return incoming.fault()->what;
  return incoming.complete() ? std::to_string(incoming.reply().status) + " " + incoming.reply().body : "incomplete";
}

TEST(Incoming, InTheClear) {
  Incoming incoming(100, nullptr);
  incoming.receive(inner);
  ASSERT_TRUE(incoming.complete());
  EXPECT_EQ(incoming.reply().body, "hello");
}

TEST(Incoming, Sealed) {
  const std::string changed = "the reply is not encrypted for us, or was changed on its way";
  const std::string rewritten = "HTTP/1.1 200 OK\r\nMessage-Offset: 5\r\n\r\nhello" + std::string(1000, 'x');
  std::string other = testing::sealed_reply(inner);
  other.back() = static_cast<char>(other.back() ^ 1);
  struct Row {
    std::string what;
    std::string reply;
    std::string expected;
  };
  const Row rows[] = {
      {"whole", testing::sealed_reply(inner), "200 hello"},
      {"the inner status counts", testing::sealed_reply("HTTP/1.1 500 oh no\r\nContent-Length: 0\r\n\r\n"), "500 "},
      {"no length inside", testing::sealed_reply("HTTP/1.1 200 OK\r\n\r\nhello"), "200 hello"},
      {"a rewritten mail", testing::sealed_reply(rewritten), "200 hello"},
      {"until close", "HTTP/1.1 200 OK\r\n\r\n" + testing::seal(inner), "200 hello"},
      {"bytes after the inner reply", testing::sealed_reply(inner + "more"), "200 hello"},
      {"bytes after the reply", testing::sealed_reply(inner) + "more", "200 hello"},

      {"cut inside", testing::sealed_reply(inner.substr(0, inner.size() - 1)), "the encrypted reply ends too early"},
      {"nothing inside", testing::sealed_reply(""), "the encrypted reply ends too early"},
      {"garbage inside", testing::sealed_reply("hello\r\n"), "the reply does not begin with an HTTP/1.x status line"},
      {"too large inside", testing::sealed_reply("HTTP/1.1 200 OK\r\n\r\n" + std::string(101, 'x')),
       "the reply is larger than the bound set"},
      {"in the clear", inner, "the reply is not encrypted"},
      {"in the clear, longer", "HTTP/1.1 200 OK\r\n\r\n" + std::string(80, 'x'), changed},
      {"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "the reply is not encrypted"},
      {"one bit", other, changed},
      {"a MAC and nothing else", "HTTP/1.1 200 OK\r\n\r\n" + std::string(40, 'x'), changed},
      {"an offset outside", "HTTP/1.1 200 OK\r\nMessage-Offset: 50\r\n\r\n" + testing::seal(inner),
       "Message-Offset lies beyond the reply"},
      {"refused in the clear", "HTTP/1.1 400 no key here\r\nContent-Length: 2\r\n\r\nno", "400 "},
      {"no HTTP", "hello\r\n", "the reply does not begin with an HTTP/1.x status line"},
      {"cut", testing::sealed_reply(inner).substr(0, 100), "incomplete"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(read(row.reply), row.expected) << row.what;
    EXPECT_EQ(read(row.reply, 1), row.expected) << row.what << ", byte by byte";
  }
}

TEST(Incoming, EveryTruncationAndEveryBitOfASealedReply) {
  const std::string whole = testing::sealed_reply(inner);
  const std::string sealed = testing::seal(inner);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(read(std::string_view(whole).substr(0, size)), "200 hello") << size;
  }
  for (std::size_t size = 0; size < sealed.size(); ++size) {
    EXPECT_NE(read("HTTP/1.1 200 OK\r\n\r\n" + sealed.substr(0, size)), "200 hello") << size << ", until close";
  }
  const std::size_t body = whole.size() - sealed.size();
  for (std::size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
    std::string other = whole;
    char& byte = other[body + bit / 8];
    byte = static_cast<char>(byte ^ (1 << bit % 8));
    EXPECT_EQ(read(other), "the reply is not encrypted for us, or was changed on its way") << bit;
  }
}

// A rewritten mail of any size can be in it.
TEST(Incoming, WhatIsNotKeptMayBeOfAnySize) {
  const std::string json = "hello";
  std::string rewritten = "HTTP/1.1 200 OK\r\nMessage-Offset: 5\r\n\r\n" + json + std::string(20'000'000, 'x');
  const std::string bytes = testing::sealed_reply(rewritten);
  Incoming incoming(100, testing::sealing().secret);
  for (std::size_t at = 0; at < bytes.size(); at += 65536) incoming.receive(std::string_view(bytes).substr(at, 65536));
  ASSERT_TRUE(incoming.complete());
  EXPECT_EQ(incoming.reply().body, "hello");
  EXPECT_EQ(incoming.reply().rewritten_size, 20'000'000u);
}

}  // namespace
}  // namespace mailbridge::rspamd
