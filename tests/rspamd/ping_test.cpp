#include "rspamd/ping.hpp"

#include <gtest/gtest.h>

#include "tests/support/sealed_peer.hpp"

namespace mailbridge::rspamd {
namespace {

constexpr TimePoint deadline = TimePoint(std::chrono::hours(1));
const std::string head = "GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
// As rspamd 3.4 answers it.
const std::string pong =
    "HTTP/1.1 200 OK\r\nConnection: close\r\nServer: rspamd/3.4\r\nContent-Length: 6\r\nContent-type: text/plain\r\n\r\npong\r\n";

std::string shown(const Result<void>& result) { return result ? "pong" : result.error().what; }

TEST(Ping, AsksAndIsAnsweredInWhateverPieces) {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, pong.size()}) {
    Ping ping({}, deadline);
    std::string said;
    for (Step step = ping.next({}); std::holds_alternative<Send>(step); step = ping.next({})) {
      const auto& send = std::get<Send>(step);
      EXPECT_EQ(send.until, deadline);
      const std::string_view part = send.bytes.substr(0, piece);
      said += part;
      ping.sent(part.size());
    }
    EXPECT_EQ(said, head);
    EXPECT_EQ(std::get<Await>(ping.next({})).until, deadline);
    EXPECT_FALSE(ping.result());
    for (std::size_t at = 0; at < pong.size(); at += piece) {
      EXPECT_FALSE(std::holds_alternative<Done>(ping.next({})));
      ping.receive(std::string_view(pong).substr(at, piece));
    }
    EXPECT_TRUE(std::holds_alternative<Done>(ping.next({})));
    EXPECT_EQ(shown(ping.result()), "pong");
  }
}

TEST(Ping, Sealed) {
  Ping ping({"localhost", testing::sealing()}, deadline);
  const std::string said(std::get<Send>(ping.next({})).bytes);
  EXPECT_EQ(testing::opened_request(said), head);
  ping.sent(said.size());
  ping.receive(testing::sealed_reply(pong));
  EXPECT_EQ(shown(ping.result()), "pong");
}

TEST(Ping, WhatIsNoPong) {
  struct Row {
    std::string said;
    Ending ending;
    std::string expected;
  };
  const Ending closed{Ending::Kind::closed};
  const Ending late{Ending::Kind::timed_out};
  const Ending reset{Ending::Kind::failed, "Connection reset by peer"};
  const std::string cut = pong.substr(0, pong.size() - 1);
  const Row rows[] = {
      {"", closed, "/ping: the connection was closed without a whole reply"},
      {"", late, "/ping is not answered"},
      {"", reset, "/ping: Connection reset by peer"},
      {cut, closed, "/ping: the connection was closed without a whole reply"},
      {cut, late, "/ping is not answered"},
      {cut, reset, "/ping: Connection reset by peer"},
      {"HTTP/1.0 200 OK\r\n\r\npong\r\n", closed, "pong"},
      {"HTTP/1.0 200 OK\r\n\r\npong pong", closed, "/ping is answered with something else: this is no rspamd"},
      {"HTTP/1.1 503 \"No\"\tserver\r\nContent-Length: 0\r\n\r\n", closed, "/ping: 503 'No' server"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 1025\r\n\r\n" + std::string(1025, 'x'), closed,
       "/ping: the reply is larger than the bound set"},
      {"220 mail.example.org ESMTP\r\n", closed, "/ping: the reply does not begin with an HTTP/1.x status line"},
  };
  for (const Row& row : rows) {
    Ping ping({}, deadline);
    ping.sent(head.size());
    ping.receive(row.said);
    ping.end(row.ending);
    EXPECT_TRUE(std::holds_alternative<Done>(ping.next({})));
    EXPECT_EQ(shown(ping.result()), row.expected);
    ping.receive(pong);
    EXPECT_EQ(shown(ping.result()), row.expected) << "Done stays Done";
  }
}

// What rspamd 3.4 answers on its three ports.
TEST(Ping, OnlyAWorkerScans) {
  const std::string from_proxy =
      "HTTP/1.1 200 OK\r\nConnection: close\r\nServer: rspamd/2.7 (milter mode)\r\nContent-Length: 6\r\n"
      "Content-Type: text/plain\r\n\r\npong\r\n";
  Ping proxy({}, deadline);
  proxy.receive(from_proxy);
  EXPECT_EQ(shown(proxy.result()),
            "this is rspamd's proxy in milter mode, which does not scan over HTTP; a worker is wanted, as on port 11333");

  const std::string controller =
      "this is rspamd's controller, which scans with a single process; a worker is wanted, as on port 11333";
  struct Row {
    std::string said, expected;
  };
  const Row rows[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"auth\":\"ok\"}", controller},
      {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", controller},
      {"HTTP/1.1 403 Unauthorized\r\nContent-Length: 0\r\n\r\n", controller},
      {"HTTP/1.1 500 invalid command\r\nConnection: close\r\nContent-Length: 59\r\n\r\n"
       "{\"error\":\"invalid command\",\"error_domain\":\"protocol-error\"}",
       "pong"},
      {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "pong"},
  };
  for (const Row& row : rows) {
    Ping ping({}, deadline, Ping::Question::is_no_controller);
    EXPECT_TRUE(std::get<Send>(ping.next({})).bytes.starts_with("GET /auth HTTP/1.1\r\n"));
    ping.receive(row.said);
    EXPECT_EQ(shown(ping.result()), row.expected) << row.said;
  }
  Ping silent({}, deadline, Ping::Question::is_no_controller);
  silent.end({Ending::Kind::timed_out});
  EXPECT_EQ(shown(silent.result()), "/auth is not answered");
}

}  // namespace
}  // namespace mailbridge::rspamd
