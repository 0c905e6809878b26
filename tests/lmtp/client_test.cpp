// What one transcript per talk (tests/sessions/lmtp) cannot show: several recipients, and the contract of every machine.
#include "lmtp/client.hpp"

#include <gtest/gtest.h>

namespace mailbridge::lmtp {
namespace {

constexpr TimePoint t0{std::chrono::hours(1)};
constexpr std::string_view lhlo = "250-x\r\n250 PIPELINING\r\n";

Patience patience() { return {.dot_by = t0 + std::chrono::seconds(240), .reply_by = t0 + std::chrono::seconds(290)}; }

Mail hello() { return {"hello\r\n", nullptr, 0}; }

// Everything the client has to say by now.
std::string said(Client& client) {
  std::string all;
  for (;;) {
    const Step step = client.next(t0);
    const auto* send = std::get_if<Send>(&step);
    if (!send) return all;
    all += send->bytes;
    client.sent(send->bytes.size());
  }
}

bool done(Client& client) { return std::holds_alternative<Done>(client.next(t0)); }

struct Three {
  Client client{{.helo = "me", .sender = "s@x", .recipients = {{"a@x"}, {"b@x"}, {"c@x"}}, .mail = hello()}, patience()};
  Three() {
    client.receive("220 x\r\n");
    said(client);
    client.receive(lhlo);
    EXPECT_EQ(said(client), "MAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\nDATA\r\n");
  }
  std::string results() const {
    std::string all;
    for (std::size_t i = 0; i < 3; ++i) {
      const Outcome& outcome = client.outcome(i);
      all += std::string(name(outcome.stage)) +
             (outcome.reply     ? std::to_string(outcome.reply->code)
              : outcome.unknown ? "?"
                                : "!") +
             " ";
    }
    return all;
  }
};

TEST(Client, RepliesBelongToAcceptedRecipientsInTheirOrder) {
  Three three;
  three.client.receive("250 x\r\n250 a\r\n550 b\r\n250 c\r\n354 go\r\n");
  EXPECT_EQ(said(three.client), "hello\r\n");
  three.client.permit_dot("");
  EXPECT_EQ(said(three.client), ".\r\n");
  three.client.receive("552 a\r\n250 c\r\n");
  EXPECT_EQ(said(three.client), "QUIT\r\n");
  EXPECT_TRUE(done(three.client));
  EXPECT_EQ(three.results(), "dot552 rcpt550 dot250 ");
}

TEST(Client, RepliesReadStayFinalAndTheRestIsUnknown) {
  Three three;
  three.client.receive("250 x\r\n250 a\r\n550 b\r\n250 c\r\n354 go\r\n");
  said(three.client);
  three.client.permit_dot("");
  said(three.client);
  three.client.receive("250 a\r\n");
  three.client.end({Ending::Kind::closed});
  EXPECT_TRUE(done(three.client));
  EXPECT_EQ(three.results(), "dot250 rcpt550 dot? ");
}

TEST(Client, AnEarlyRefusalIsForAllThatAreLeft) {
  Three three;
  three.client.receive("250 x\r\n250 a\r\n550 b\r\n250 c\r\n354 go\r\n");
  three.client.next(t0);
  three.client.receive("552 too big\r\n");
  EXPECT_TRUE(done(three.client));
  EXPECT_EQ(three.results(), "body552 rcpt550 body552 ");
}

TEST(Client, TheDotWaitsForPermission) {
  Three three;
  three.client.receive("250 x\r\n250 a\r\n250 b\r\n250 c\r\n354 go\r\n");
  EXPECT_FALSE(three.client.before_dot());
  EXPECT_EQ(said(three.client), "hello\r\n");
  EXPECT_TRUE(three.client.before_dot());
  const Step step = three.client.next(t0 + std::chrono::seconds(239));
  ASSERT_TRUE(std::holds_alternative<Await>(step));
  EXPECT_EQ(std::get<Await>(step).until, patience().dot_by);
  EXPECT_TRUE(std::holds_alternative<Done>(three.client.next(t0 + std::chrono::seconds(240))));
  EXPECT_EQ(three.results(), "dot! dot! dot! ");
}

TEST(Client, APermittedDotStillHasToLeaveInTime) {
  Three three;
  three.client.receive("250 x\r\n250 a\r\n250 b\r\n250 c\r\n354 go\r\n");
  said(three.client);
  three.client.permit_dot("");
  const Step first = three.client.next(t0);
  EXPECT_EQ(std::get<Send>(first).until, patience().dot_by);
  three.client.sent(3);
  const Step after = three.client.next(t0);
  EXPECT_EQ(std::get<Await>(after).until, patience().reply_by);
}

TEST(Client, AskingTwiceAnswersTheSame) {
  Client client({.helo = "me", .sender = "s@x", .recipients = {{"a@x"}}, .mail = hello()}, patience());
  client.receive("220 x\r\n");
  const Step first = client.next(t0);
  const Step second = client.next(t0 + std::chrono::seconds(1));
  EXPECT_EQ(std::get<Send>(first).bytes, "LHLO me\r\n");
  EXPECT_EQ(std::get<Send>(second).bytes, "LHLO me\r\n");
  EXPECT_EQ(std::get<Send>(first).until, std::get<Send>(second).until);
}

TEST(Client, AfterTheEndNothingMatters) {
  Client client({.helo = "me", .sender = "s@x", .recipients = {{"a@x"}}, .mail = hello()}, patience());
  client.end({Ending::Kind::failed, "Connection reset by peer"});
  EXPECT_TRUE(done(client));
  client.receive("220 x\r\n");
  client.end({Ending::Kind::closed});
  EXPECT_TRUE(done(client));
  EXPECT_EQ(client.outcome(0).failure, "Connection reset by peer");
}

TEST(Client, TimeIsCountedPerStage) {
  Client client({.helo = "me", .sender = "s@x", .recipients = {{"a@x"}}, .mail = hello()}, patience());
  client.next(t0);
  client.receive("220 x\r\n");
  client.next(t0 + std::chrono::milliseconds(5));
  client.sent(9);
  client.next(t0 + std::chrono::milliseconds(6));
  client.receive(lhlo);
  client.next(t0 + std::chrono::milliseconds(13));
  EXPECT_EQ(client.spent()[static_cast<std::size_t>(Stage::banner)], std::chrono::milliseconds(5));
  EXPECT_EQ(client.spent()[static_cast<std::size_t>(Stage::lhlo)], std::chrono::milliseconds(8));
}

TEST(AddressFault, Table) {
  struct Row {
    std::string address;
    bool fine;
  };
  const Row rows[] = {
      {"", true},
      {"u", true},
      {"a+b@c.d", true},
      {"\"a b\"@c", true},
      {"\"a>b\"@c", true},
      {"\"a\\\"b\"@c", true},
      {"\xc3\xa4@c", true},
      {"a b@c", false},
      {"a>b@c", false},
      {"a\r\nb@c", false},
      {"a\tb@c", false},
      {"\"a\\\nb\"@c", false},
      {"\"a@c", false},
      {std::string("a\0", 2), false},
      {std::string(1000, 'a'), true},
      {std::string(1001, 'a'), false},
  };
  for (const Row& row : rows) EXPECT_EQ(address_fault(row.address).empty(), row.fine) << row.address;
}

}  // namespace
}  // namespace mailbridge::lmtp
