#include "rspamd/outgoing.hpp"

#include <gtest/gtest.h>
#include <zstd.h>

#include "messages.hpp"
#include "tests/support/sealed_peer.hpp"

namespace mailbridge::rspamd {
namespace {

const std::string headers = "User-Agent: test\r\n\r\n";

std::string request_of(const mail::Message& message) {
  return "POST /checkv2 HTTP/1.1\r\nHost: scan:11333\r\nConnection: close\r\nContent-Length: " + std::to_string(message.size()) +
         "\r\n" + headers + bytes_of(message);
}

std::string drain(Outgoing& outgoing, std::size_t most = std::string::npos) {
  std::string bytes;
  for (std::string_view part = outgoing.unsent(); !part.empty(); part = outgoing.unsent()) {
    part = part.substr(0, most);
    bytes += part;
    outgoing.sent(part.size());
  }
  EXPECT_TRUE(outgoing.complete());
  return bytes;
}

TEST(Outgoing, Hosts) {
  EXPECT_EQ(host_of(TcpEndpoint{"::1", 11333}), "[::1]:11333");
  EXPECT_EQ(host_of(TcpEndpoint{"scan.example.org", 80}), "scan.example.org:80");
  EXPECT_EQ(host_of(UnixEndpoint{"/run/rspamd.sock"}), "localhost");
}

TEST(Outgoing, InTheClear) {
  for (const std::size_t lines : {0u, 1u, 5000u, 300000u}) {
    const auto message = message_of(lines);
    for (const std::size_t most : {std::string::npos, std::size_t{65536}, std::size_t{4099}}) {
      Outgoing outgoing("POST /checkv2", headers, message, {"scan:11333"});
      EXPECT_TRUE(outgoing.prepare());
      EXPECT_TRUE(drain(outgoing, most) == request_of(*message)) << lines << " " << most;
    }
  }
}

TEST(Outgoing, Sealed) {
  for (const std::size_t lines : {0u, 1u, 5000u, 300000u}) {
    const auto message = message_of(lines);
    for (const std::size_t most : {std::string::npos, std::size_t{65536}, std::size_t{4099}}) {
      Outgoing outgoing("POST /checkv2", headers, message, {"scan:11333", testing::sealing()});
      const std::string bytes = drain(outgoing, most);
      EXPECT_TRUE(bytes.starts_with("POST /post HTTP/1.1\r\nHost: scan:11333\r\n"));
      EXPECT_EQ(bytes.find("line"), std::string::npos);
      EXPECT_TRUE(testing::opened_request(bytes) == request_of(*message)) << lines << " " << most;
    }
  }
}

TEST(Outgoing, CompressedAndSealed) {
  for (const bool is_sealed : {false, true}) {
    for (const std::size_t lines : {0u, 5000u, 300000u}) {
      const auto message = message_of(lines);
      const auto sealing = is_sealed ? std::optional(testing::sealing()) : std::nullopt;
      Outgoing outgoing("POST /checkv2", headers, message, {"scan:11333", sealing, true});
      std::string bytes = drain(outgoing);
      if (is_sealed) bytes = testing::opened_request(bytes);
      const std::size_t head = bytes.find("\r\n\r\n") + 4;
      const std::string frame = bytes.substr(head);
      EXPECT_EQ(bytes.substr(0, head), "POST /checkv2 HTTP/1.1\r\nHost: scan:11333\r\nConnection: close\r\nContent-Length: " +
                                           std::to_string(frame.size()) +
                                           "\r\nCompression: zstd\r\nContent-Encoding: zstd\r\nUser-Agent: test\r\n\r\n");
      std::string text(message->size() + 1, '\0');
      text.resize(ZSTD_decompress(text.data(), text.size(), frame.data(), frame.size()));
      EXPECT_TRUE(request_of(*message).ends_with("\r\n\r\n" + text)) << lines;
    }
  }
}

TEST(Outgoing, ALargeMailIsSealedInSteps) {
  const auto message = message_of(400000);
  Outgoing outgoing("POST /checkv2", headers, message, {"scan:11333", testing::sealing()});
  std::size_t steps = 0;
  while (!outgoing.prepare()) ++steps;
  EXPECT_EQ(steps, message->size() >> 20);
  EXPECT_TRUE(outgoing.prepare());
  EXPECT_LE(outgoing.unsent().size(), 20'000u) << "it is encrypted as it leaves";
  EXPECT_TRUE(testing::opened_request(drain(outgoing)) == request_of(*message));
}

TEST(Outgoing, WithoutAMessage) {
  Outgoing plain("GET /ping", "\r\n", nullptr, {});
  EXPECT_EQ(drain(plain), "GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  Outgoing sealed("GET /ping", "\r\n", nullptr, {"localhost", testing::sealing()});
  EXPECT_EQ(testing::opened_request(drain(sealed)), "GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
}

}  // namespace
}  // namespace mailbridge::rspamd
