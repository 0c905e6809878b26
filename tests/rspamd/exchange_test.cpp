#include "rspamd/exchange.hpp"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "messages.hpp"
#include "recordings.hpp"
#include "tests/support/sealed_peer.hpp"

namespace mailbridge::rspamd {
namespace {

using Kind = ScanFailure::Kind;

const TimePoint start{};
const TimePoint deadline = start + std::chrono::seconds(30);
const std::string headers = "User-Agent: test\r\n\r\n";

Exchange exchange_of(std::shared_ptr<const mail::Message> message) {
  return Exchange({"POST /checkv2", headers, std::move(message), {}}, deadline);
}

std::string request_of(const mail::Message& message) {
  return "POST /checkv2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: " + std::to_string(message.size()) +
         "\r\n" + headers + bytes_of(message);
}

// What the driver would write until the machine wants to read, in writes of at most `most` bytes.
std::string sent_by(Exchange& exchange, std::size_t most = std::string::npos) {
  std::string bytes;
  for (Step step = exchange.next(start); const auto* send = std::get_if<Send>(&step); step = exchange.next(start)) {
    const std::string_view part = send->bytes.substr(0, most);
    EXPECT_FALSE(part.empty());
    EXPECT_EQ(send->until, deadline);
    bytes += part;
    exchange.sent(part.size());
  }
  return bytes;
}

bool is_done(Exchange& exchange) { return std::holds_alternative<Done>(exchange.next(start)); }

// The outcome as one line.
std::string outcome(const Exchange& exchange) {
  const ScanResult& result = exchange.result();
  if (!result) return std::string(to_string(result.error().kind)) + ": " + result.error().what;
  return "verdict: " + result->action + " " + std::to_string(result->score) + " " + std::to_string(result->symbols.size()) +
         (result->has_rewritten_body ? " rewritten body" : "");
}

enum class Then { open, closed, timed_out, failed };

std::string answered(std::string_view reply, std::size_t step, Then then) {
  Exchange exchange = exchange_of(message_of(1));
  sent_by(exchange);
  for (; !reply.empty(); reply.remove_prefix(std::min(step, reply.size()))) exchange.receive(reply.substr(0, step));
  switch (then) {
    case Then::open:
      break;
    case Then::closed:
      exchange.end({Ending::Kind::closed});
      break;
    case Then::timed_out:
      exchange.end({Ending::Kind::timed_out});
      break;
    case Then::failed:
      exchange.end({Ending::Kind::failed, "Connection reset by peer"});
      break;
  }
  EXPECT_TRUE(is_done(exchange));
  return outcome(exchange);
}

std::string reply_of(const std::string& body, const std::string& more = {}) {
  return "HTTP/1.1 200 OK\r\n" + more + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string chunked(const std::string& body) {
  std::string bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::size_t half = body.size() / 2;
  for (const std::string& part : {body.substr(0, half), body.substr(half)}) {
    char size[32];
    std::snprintf(size, sizeof size, "%zx\r\n", part.size());
    bytes += size + part + "\r\n";
  }
  return bytes + "0\r\n\r\n";
}

TEST(Exchange, SmallMailLeavesInOneWrite) {
  const auto message = message_of(100);
  Exchange exchange = exchange_of(message);
  const Step step = exchange.next(start);
  ASSERT_TRUE(std::holds_alternative<Send>(step));
  EXPECT_EQ(std::get<Send>(step).bytes, request_of(*message));
}

TEST(Exchange, LargeMailIsSentFromWhereItLies) {
  const auto message = message_of(100000);
  for (const std::size_t most : {std::string::npos, std::size_t{65536}, std::size_t{4099}}) {
    Exchange exchange = exchange_of(message);
    const std::string bytes = sent_by(exchange, most);
    EXPECT_TRUE(bytes == request_of(*message)) << most;
    EXPECT_TRUE(std::holds_alternative<Await>(exchange.next(start)));
  }
  Exchange exchange = exchange_of(message);
  const std::size_t first = std::get<Send>(exchange.next(start)).bytes.size();
  EXPECT_LT(first, 20000u);
  exchange.sent(first);
  EXPECT_EQ(std::get<Send>(exchange.next(start)).bytes.data(),
            message->from(first - (request_of(*message).size() - message->size())).data());
}

TEST(Exchange, AskedTwiceItAnswersTheSame) {
  Exchange exchange = exchange_of(message_of(1));
  EXPECT_EQ(std::get<Send>(exchange.next(start)).bytes.data(), std::get<Send>(exchange.next(start)).bytes.data());
  sent_by(exchange);
  EXPECT_EQ(std::get<Await>(exchange.next(start)).until, deadline);
  EXPECT_EQ(std::get<Await>(exchange.next(deadline)).until, deadline);
}

TEST(Exchange, Outcomes) {
  const std::string ham = R"({"action":"no action","score":1})";
  const std::string verdict = "verdict: no action 1.000000 0";
  const std::string lost = "unreachable: the connection was closed before the reply was complete";
  struct Row {
    std::string what;
    std::string reply;
    Then then;
    std::string expected;
  };
  const Row rows[] = {
      {"sized", reply_of(ham), Then::open, verdict},
      {"chunked", chunked(ham), Then::open, verdict},
      {"until close", "HTTP/1.1 200 OK\r\n\r\n" + ham, Then::closed, verdict},
      {"until close, reset", "HTTP/1.1 200 OK\r\n\r\n" + ham, Then::failed, "unreachable: Connection reset by peer"},
      {"until close, deadline", "HTTP/1.1 200 OK\r\n\r\n" + ham, Then::timed_out,
       "timed_out: no complete reply within the time given"},
      {"100 first", "HTTP/1.1 100 Continue\r\n\r\n" + reply_of(ham), Then::open, verdict},
      {"rewritten body", reply_of(ham + "Subject: x", "Message-Offset: " + std::to_string(ham.size()) + "\r\n"), Then::open,
       verdict + " rewritten body"},
      {"rewritten to nothing", reply_of(ham, "Message-Offset: " + std::to_string(ham.size()) + "\r\n"), Then::open,
       verdict + " rewritten body"},
      {"offset within the JSON", reply_of(ham, "Message-Offset: 5\r\n"), Then::open,
       "unreadable: the reply is not a JSON object"},

      {"silent", "", Then::timed_out, "timed_out: no complete reply within the time given"},
      {"closed at once", "", Then::closed, "unreachable: the connection was closed without a reply"},
      {"reset", "", Then::failed, "unreachable: Connection reset by peer"},
      {"closed in the head", "HTTP/1.1 200 OK\r\nContent-", Then::closed, lost},
      {"closed in the body", reply_of(ham).substr(0, 60), Then::closed, lost},
      {"only 100", "HTTP/1.1 100 Continue\r\n\r\n", Then::closed, "unreachable: the connection was closed without a reply"},
      {"empty reply", reply_of(""), Then::open, "unreadable: the reply is not a JSON object"},
      {"error with 200", reply_of(R"({"error":"oh no"})"), Then::open, "unreadable: the reply is an error: oh no"},
      {"no HTTP", "220 mx ESMTP\r\n", Then::open, "unreadable: the reply does not begin with an HTTP/1.x status line"},
      {"huge", "HTTP/1.1 200 OK\r\nContent-Length: 4194305\r\n\r\n", Then::open,
       "unreadable: the reply is larger than the bound set"},
      {"error, reason", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", Then::open, "http: 502 Bad Gateway"},
      {"error, JSON", "HTTP/1.1 503 x\r\n\r\n{\"error\":\"a \\\"b\\\"\"}", Then::closed, "http: 503 a 'b'"},
      {"error, verdict inside", "HTTP/1.1 500 x\r\n\r\n" + ham, Then::closed, "http: 500 x"},
      {"error, body lost", "HTTP/1.1 413 Too large\r\nContent-Length: 99\r\n\r\n{", Then::failed, "http: 413 Too large"},
      {"error, body never", "HTTP/1.1 413 Too large\r\n", Then::timed_out, "http: 413 Too large"},
      {"error, body unreadable", "HTTP/1.1 500 x\r\nContent-Encoding: gzip\r\n\r\n", Then::open, "http: 500 x"},
      {"error without words", "HTTP/1.1 500\r\nContent-Length: 0\r\n\r\n", Then::open, "http: 500"},
      {"redirect", "HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", Then::open, "http: 301 Moved"},
      {"another success", "HTTP/1.1 204 none\r\n\r\n", Then::open, "http: 204 none"},
      {"long reason", "HTTP/1.1 500 " + std::string(1000, 'x') + "\r\n\r\n", Then::closed, "http: 500 " + std::string(196, 'x')},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(answered(row.reply, std::string::npos, row.then), row.expected) << row.what;
    EXPECT_EQ(answered(row.reply, 1, row.then), row.expected) << row.what << ", byte by byte";
  }
}

TEST(Exchange, Sealed) {
  const std::string ham = R"({"action":"no action","score":1})";
  const auto outcome_of = [&](const std::string& reply, const Ending& ending) {
    const auto message = message_of(50000);
    Exchange exchange({"POST /checkv2", headers, message, {"localhost", testing::sealing()}}, deadline);
    EXPECT_EQ(testing::opened_request(sent_by(exchange)), request_of(*message));
    exchange.receive(reply);
    exchange.end(ending);
    EXPECT_TRUE(is_done(exchange));
    return outcome(exchange);
  };
  const Ending closed{Ending::Kind::closed};
  EXPECT_EQ(outcome_of(testing::sealed_reply(reply_of(ham)), closed), "verdict: no action 1.000000 0");
  EXPECT_EQ(outcome_of(testing::sealed_reply("HTTP/1.1 500 no\r\nContent-Length: 13\r\n\r\n{\"error\":\"x\"}"), closed),
            "http: 500 x");
  EXPECT_EQ(outcome_of("", closed), "unreachable: the connection was closed without a reply, as with a wrong key");
  EXPECT_EQ(outcome_of("HTTP/1.1 200 OK\r\n", closed), "unreachable: the connection was closed before the reply was complete");
  EXPECT_EQ(outcome_of("", {Ending::Kind::failed, "Connection reset by peer"}), "unreachable: Connection reset by peer");
  EXPECT_EQ(outcome_of(reply_of(ham), closed), "unreadable: the reply is not encrypted");
  EXPECT_EQ(outcome_of("HTTP/1.1 404 no key\r\nContent-Length: 0\r\n\r\n", closed), "http: 404 no key");
}

TEST(Exchange, RepliesThatComeEarly) {
  struct Row {
    std::string reply;
    std::string expected;
  };
  const Row rows[] = {
      {reply_of(R"({"action":"no action"})"), "unreadable: a verdict came before the whole message was sent"},
      {"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n", "http: 413 Too large"},
  };
  for (const Row& row : rows) {
    Exchange exchange = exchange_of(message_of(10));
    exchange.sent(std::get<Send>(exchange.next(start)).bytes.size() - 1);
    exchange.receive(row.reply.substr(0, 20));
    EXPECT_TRUE(std::holds_alternative<Send>(exchange.next(start)));
    exchange.receive(row.reply.substr(20));
    EXPECT_TRUE(is_done(exchange));
    EXPECT_EQ(outcome(exchange), row.expected);
  }
}

TEST(Exchange, TheReplyMayBeginWhileWeSend) {
  const std::string reply = reply_of(R"({"action":"no action"})");
  Exchange exchange = exchange_of(message_of(1));
  exchange.receive(reply.substr(0, 30));
  sent_by(exchange);
  exchange.receive(reply.substr(30));
  EXPECT_EQ(outcome(exchange), "verdict: no action 0.000000 0");
}

TEST(Exchange, AfterDoneNothingChanges) {
  Exchange exchange = exchange_of(message_of(1));
  EXPECT_FALSE(exchange.result());
  sent_by(exchange);
  exchange.sent(1000);
  exchange.receive(reply_of(R"({"action":"no action"})"));
  ASSERT_TRUE(is_done(exchange));
  exchange.receive("HTTP/1.1 500 x\r\n\r\n");
  exchange.sent(1);
  exchange.end({Ending::Kind::closed});
  EXPECT_TRUE(is_done(exchange));
  EXPECT_EQ(outcome(exchange), "verdict: no action 0.000000 0");
}

TEST(Exchange, EmptyMessage) {
  Exchange exchange = exchange_of(std::make_shared<mail::Message>());
  EXPECT_EQ(sent_by(exchange), request_of(mail::Message()));
  EXPECT_TRUE(std::holds_alternative<Await>(exchange.next(start)));
}

TEST(Exchange, RecordedReplies) {
  struct Row {
    std::string file;
    std::string expected;
  };
  const Row rows[] = {
      {"rspamd-3.4/null-sender.http", "verdict: no action 3.400000 15"},
      {"rspamd-3.4/unknown-settings-id.http", "verdict: no action 3.400000 16"},
      {"rspamd-3.4/empty-message.http", "verdict: no action 0.000000 1"},
      {"rspamd-3.4/invalid-utf8.http", "verdict: no action 3.700000 17"},
      {"rspamd-3.4/not-finite.http", "verdict: no action 3.625000 18"},
      {"rspamd-3.4/huge-numbers.http", "verdict: reject 1000000000000000019884624838656.000000 18"},
      {"rspamd-3.4/rewritten-body.http", "verdict: no action 3.700000 17 rewritten body"},
      {"rspamd-3.4/invalid-command.http", "http: 500 invalid command"},
      {"rspamd-3.4/decompression-error.http", "http: 503 Decompression error: Unknown frame descriptor"},
      {"rspamd-3.4/compressed.http", "verdict: no action 3.400000 16"},
      {"rspamd-3.12/null-sender.http", "verdict: no action 3.500000 20"},
      {"rspamd-3.12/unknown-settings-id.http", "verdict: greylist 5.000000 22"},
      {"rspamd-3.12/empty-message.http", "verdict: reject 15.000000 2"},
      {"rspamd-3.12/invalid-utf8.http", "verdict: greylist 5.000000 23"},
      {"rspamd-3.12/not-finite.http", "verdict: greylist 5.000000 23"},
      {"rspamd-3.12/huge-numbers.http", "verdict: reject 1000000000000000019884624838656.000000 18"},
      {"rspamd-3.12/rewritten-body.http", "verdict: greylist 5.000000 22 rewritten body"},
      {"rspamd-3.12/invalid-command.http", "http: 500 invalid command"},
      {"rspamd-3.12/decompression-error.http", "http: 503 Decompression error: Unknown frame descriptor"},
      {"rspamd-3.12/compressed.http", "verdict: greylist 5.000000 22"},
      {"rspamd-4.1/null-sender.http", "verdict: greylist 4.000000 21"},
      {"rspamd-4.1/unknown-settings-id.http", "verdict: greylist 5.500000 23"},
      {"rspamd-4.1/empty-message.http", "verdict: reject 15.000000 2"},
      {"rspamd-4.1/invalid-utf8.http", "verdict: greylist 5.500000 24"},
      {"rspamd-4.1/not-finite.http", "verdict: greylist 5.500000 24"},
      {"rspamd-4.1/huge-numbers.http", "verdict: reject 1000000000000000019884624838656.000000 21"},
      {"rspamd-4.1/rewritten-body.http", "verdict: greylist 5.500000 23 rewritten body"},
      {"rspamd-4.1/invalid-command.http", "http: 500 invalid command"},
      {"rspamd-4.1/decompression-error.http", "http: 503 Decompression error: decompression error: Unknown frame descriptor"},
      {"rspamd-4.1/compressed.http", "verdict: greylist 5.500000 23"},
  };
  std::mt19937 random(1);
  for (const Row& row : rows) {
    const std::string bytes = recorded(row.file);
    EXPECT_EQ(answered(bytes, std::string::npos, Then::open), row.expected) << row.file;
    EXPECT_EQ(answered(bytes, 1, Then::open), row.expected) << row.file;
    for (int i = 0; i < 20; ++i) EXPECT_EQ(answered(bytes, 1 + random() % 500, Then::open), row.expected) << row.file;
  }
}

// However the reply is cut short and however the connection then ends, there is no verdict.
TEST(Exchange, NoTruncationIsAVerdict) {
  for (const std::string& file : recordings(".json")) {
    const std::string json = recorded(file);
    const std::string open_end = "HTTP/1.1 200 OK\r\n\r\n";
    for (const std::string& whole : {reply_of(json), chunked(json), open_end + json}) {
      EXPECT_TRUE(answered(whole, std::string::npos, Then::closed).starts_with("verdict: ")) << file;
      for (std::size_t size = 0; size < whole.size(); size += truncation_step(file)) {
        const std::string_view cut = std::string_view(whole).substr(0, size);
        for (const Then then : {Then::closed, Then::timed_out, Then::failed}) {
          const std::string result = answered(cut, std::string::npos, then);
          ASSERT_FALSE(result.starts_with("verdict: ")) << file << " " << size << " " << result;
          if (then == Then::timed_out) {
            ASSERT_TRUE(result.starts_with("timed_out: ")) << result;
          } else if (then == Then::failed) {
            ASSERT_TRUE(result.starts_with("unreachable: ")) << result;
          }
        }
      }
    }
  }
}

TEST(Exchange, SaysWhatThereWasNoTimeFor) {
  Exchange exchange = exchange_of(message_of(1));
  exchange.end({Ending::Kind::timed_out, "no connection in time"});
  EXPECT_EQ(exchange.result().error().what, "no connection in time");
}

}  // namespace
}  // namespace mailbridge::rspamd
