// What one transcript per talk of the agent (tests/sessions/lmtp) cannot show: several recipients, probes, reuse, and the
// contract of every machine.
#include "lmtp/client.hpp"

#include <memory>
#include <sstream>

#include <gtest/gtest.h>

#include "base/transcript.hpp"

namespace mailbridge::lmtp {
namespace {

constexpr TimePoint t0{std::chrono::hours(1)};

Patience patience() { return {.dot_by = t0 + std::chrono::seconds(240), .reply_by = t0 + std::chrono::seconds(290)}; }

// How a talk of the table below is played: arrivals that follow one another in one read, each on its own, or byte by byte.
enum class Cuts { whole, lines, bytes };

struct Talk {
  std::string name;
  Transaction transaction;
  std::optional<LhloState> reused;
  std::string script;   // lanes D and T of a transcript; "D! tls" is a handshake that succeeds
  std::string results;  // by recipient, stage and code: "dot250", without a reply "dot!", unknown "dot?"; then "kept" or "stale"
};

class Player {
 public:
  Player(const Talk& talk, Cuts cuts)
      : cuts_(cuts),
        reused_(talk.reused.has_value()),
        lines_(transcript::parse(talk.script)),
        client_(std::make_unique<Client>(talk.transaction, patience(), talk.reused)) {}

  // Up to the line `end`, or all of them.
  void play(std::size_t end = std::string::npos) {
    for (std::size_t i = 0; i < std::min(end, lines_.size()); ++i) {
      std::string text = lines_[i].text;
      switch (lines_[i].direction) {
        case '<':
          leave(text);
          break;
        case '>':
          for (; cuts_ == Cuts::whole && i + 1 < std::min(end, lines_.size()) && lines_[i + 1].direction == '>'; ++i) {
            text += lines_[i + 1].text;
          }
          arrive(text);
          break;
        case '!':
          finish(text);
          break;
        default:
          now_ += std::chrono::seconds(std::stol(text));
      }
    }
  }

  bool is_arrival(std::size_t i) const { return i < lines_.size() && lines_[i].direction == '>'; }
  std::size_t size() const { return lines_.size(); }

  // What must hold when line `at`, or its second half, does not arrive, and an ending does.
  void play_broken(std::size_t at, bool half, Ending::Kind kind) {
    play(at);
    if (half) arrive(lines_[at].text.substr(0, lines_[at].text.size() / 2));
    step();
    const bool settled = client_->settled();
    client_->end({kind, "broken"});
    EXPECT_TRUE(std::holds_alternative<Done>(step())) << at;
    ASSERT_TRUE(client_->settled()) << at;
    EXPECT_FALSE(client_->reusable()) << at;
    EXPECT_EQ(client_->stale(), reused_ && !settled && dot_.empty() && kind != Ending::Kind::timed_out) << at;
    for (const Outcome& outcome : client_->outcomes()) {
      EXPECT_TRUE(!outcome.unknown || !dot_.empty()) << at;
      EXPECT_TRUE(!outcome.may_try_elsewhere() || dot_.empty()) << at;
      EXPECT_TRUE(!outcome.delivered() || finals_ > 0) << at;
    }
  }

  std::string results() {
    if (!std::holds_alternative<Done>(step())) return "not done";
    std::string all;
    for (const Outcome& outcome : client_->outcomes()) {
      all += (all.empty() ? "" : " ") + std::string(name(outcome.stage));
      if (outcome.reply) all += std::to_string(outcome.reply->code);
      if (!outcome.reply && !outcome.unknown) all += "!";
      if (outcome.unknown) all += "?";
    }
    if (client_->reusable()) all += " kept";
    if (client_->stale()) all += " stale";
    return all;
  }

 private:
  Step step() {
    Step step = client_->next(now_);
    EXPECT_EQ(client_->next(now_).index(), step.index()) << "asked twice";
    if (client_->before_dot()) {
      client_->permit_dot("");
      step = client_->next(now_);
    }
    return step;
  }

  void leave(std::string_view expected) {
    while (!expected.empty()) {
      const Step now = step();
      const auto* send = std::get_if<Send>(&now);
      ASSERT_TRUE(send) << "should say " << expected;
      const std::size_t n = cuts_ == Cuts::bytes ? 1 : std::min(send->bytes.size(), expected.size());
      ASSERT_EQ(send->bytes.substr(0, n), expected.substr(0, n));
      if (client_->stage() == Stage::dot && !client_->settled()) dot_.append(expected.substr(0, n));
      client_->sent(n);
      expected.remove_prefix(n);
    }
  }

  void arrive(std::string_view bytes) {
    while (!bytes.empty()) {
      const Step now = step();
      EXPECT_FALSE(std::holds_alternative<Done>(now)) << "nothing is heard any more: " << bytes;
      const std::size_t n = cuts_ == Cuts::bytes ? 1 : bytes.size();
      if (!dot_.empty() && bytes.starts_with('2')) ++finals_;
      client_->receive(bytes.substr(0, n));
      bytes.remove_prefix(n);
    }
  }

  void finish(const std::string& ending) {
    const Step now = step();
    if (ending == "tls") {
      ASSERT_TRUE(client_->wants_tls());
      EXPECT_TRUE(std::holds_alternative<Done>(now));
      return client_->tls_started();
    }
    client_->end(ending == "closed"      ? Ending{Ending::Kind::closed}
                 : ending == "timed_out" ? Ending{Ending::Kind::timed_out}
                                         : Ending{Ending::Kind::failed, ending});
  }

  Cuts cuts_;
  bool reused_;
  std::vector<transcript::Line> lines_;
  std::unique_ptr<Client> client_;
  TimePoint now_ = t0;
  std::string dot_;
  int finals_ = 0;
};

std::shared_ptr<const mail::Message> message() {
  const auto mail = std::make_shared<mail::Message>();
  mail->append_line("S: x");
  mail->append_line("");
  mail->append_line(".dot");
  return mail;
}

Transaction to(std::vector<Recipient> recipients) {
  return {.helo = "me", .sender = "s@x", .recipients = std::move(recipients), .mail = {{}, message(), 0}};
}

Transaction kept(Transaction transaction) {
  transaction.keep = true;
  return transaction;
}

Transaction probe(std::vector<Recipient> recipients) {
  return {.probe = true, .helo = "me", .sender = {}, .recipients = std::move(recipients), .keep = true};
}

Transaction with_tls(Transaction transaction) {
  transaction.starttls = true;
  return transaction;
}

Transaction for_client(ClientInfo client, Transaction transaction) {
  transaction.client = std::move(client);
  return transaction;
}

const std::vector<Recipient> three = {{"a@x"}, {"b@x"}, {"c@x"}};
const ClientInfo someone = {"192.0.2.1", "mx.example", "ESMTP", "f1e2"};
const ClientInfo another = {"2001:db8::1", "[IPv6:2001:db8::1]", "SMTP", "a+b=c d"};

const LhloState pipelining = {.pipelining = true};
const LhloState chunking = {.pipelining = true, .chunking = true};
const LhloState labelled = {.pipelining = true, .xclient = {"ADDR", "PORT", "HELO", "PROTO", "SESSION"}, .client = someone};

std::string lhlo(const std::string& listed) {
  std::string script = "D< LHLO me\\r\nD> 250-x\\r\n";
  std::istringstream words(listed);
  std::vector<std::string> lines;
  for (std::string line; std::getline(words, line);) lines.push_back(line);
  for (const std::string& line : lines) script += (&line == &lines.back() ? "D> 250 " : "D> 250-") + line + "\\r\n";
  return script;
}

std::string greeting(const std::string& listed) { return "D> 220 x\\r\n" + lhlo(listed); }

const std::string envelope_of_three = R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x>\r
D< RCPT TO:<b@x>\r
D< RCPT TO:<c@x>\r
)";
// Up to the dot, the second of three recipients refused.
const std::string two_of_three = greeting("PIPELINING") + envelope_of_three + R"(D< DATA\r
D> 250 x\r
D> 250 a\r
D> 550 b\r
D> 250 c\r
D> 354 go\r
D< S: x\r
D< \r
D< ..dot\r
D< .\r
)";
const std::string quit = "D< QUIT\\r\n";
const std::string data_and_dot = "D< S: x\\r\nD< \\r\nD< ..dot\\r\nD< .\\r\n";
const std::string one = R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x>\r
D< DATA\r
D> 250 x\r
D> 250 a\r
D> 354 go\r
D< S: x\r
D< \r
D< ..dot\r
D< .\r
D> 250 saved\r
)";
const std::string bdat = R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x>\r
D> 250 x\r
D> 250 a\r
D< BDAT 14 LAST\r
D< S: x\r
D< \r
D< .dot\r
)";
const std::string rset = "D< RSET\\r\n";
const std::string ok = "D> 250 x\\r\n";

const Talk talks[] = {
    // Several recipients
    {"replies belong to accepted recipients in their order",
     to(three),
     {},
     two_of_three + "D> 552 a\\r\nD> 250 c\\r\n" + quit,
     "dot552 rcpt550 dot250"},
    {"the same path twice",
     to({{"a@x"}, {"a@x"}}),
     {},
     greeting("PIPELINING") + R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x>\r
D< RCPT TO:<a@x>\r
D< DATA\r
D> 250 x\r
D> 250 a\r
D> 250 a\r
D> 354 go\r
)" + data_and_dot +
         "D> 250 a\\r\nD> 452 a\\r\n" + quit,
     "dot250 dot452"},
    {"closed between the replies to the dot", to(three), {}, two_of_three + "D> 250 a\\r\nD! closed\n", "dot250 rcpt550 dot?"},
    {"421 between the replies to the dot",
     to(three),
     {},
     two_of_three + "D> 250 a\\r\nD> 421 gone\\r\n",
     "dot250 rcpt550 dot421?"},
    {"421 instead of them", to(three), {}, two_of_three + "D> 421 gone\\r\n", "dot421? rcpt550 dot421?"},
    {"garbage between them", to(three), {}, two_of_three + "D> 250 a\\r\nD> what\\r\n", "dot250 rcpt550 dot?"},
    {"silence between them", to(three), {}, two_of_three + "D> 250 a\\r\nD! timed_out\n", "dot250 rcpt550 dot?"},
    {"an early refusal is for all that are left",
     to(three),
     {},
     greeting("PIPELINING") + envelope_of_three + R"(D< DATA\r
D> 250 x\r
D> 250 a\r
D> 550 b\r
D> 250 c\r
D> 354 go\r
D< S: x\r
D> 552 too big\r
)",
     "body552 rcpt550 body552"},
    {"421 among the replies to RCPT",
     to(three),
     {},
     greeting("PIPELINING") + envelope_of_three + R"(D< DATA\r
D> 250 x\r
D> 550 a\r
D> 421 gone\r
)",
     "rcpt550 rcpt421 rcpt421"},
    {"all refused",
     to({{"a@x"}, {"b@x"}}),
     {},
     greeting("PIPELINING") + R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x>\r
D< RCPT TO:<b@x>\r
D< DATA\r
D> 250 x\r
D> 550 a\r
D> 451 b\r
D> 503 nobody\r
)" + quit,
     "rcpt550 rcpt451"},
    {"one at a time",
     to({{"a@x"}, {"b@x"}}),
     {},
     greeting("8BITMIME") + R"(D< MAIL FROM:<s@x> BODY=8BITMIME\r
D> 250 x\r
D< RCPT TO:<a@x>\r
D> 550 a\r
D< RCPT TO:<b@x>\r
D> 250 b\r
D< DATA\r
D> 354 go\r
)" + data_and_dot +
         ok + quit,
     "rcpt550 dot250"},
    {"MAIL refused, the rest of the replies is read",
     kept(to(three)),
     {},
     greeting("PIPELINING") + envelope_of_three + R"(D< DATA\r
D> 451 later\r
D> 503 a\r
D> 503 b\r
D> 503 c\r
D> 503 nobody\r
)",
     "mail451 mail451 mail451 kept"},
    {"a reply to what has not wholly left",
     to(three),
     {},
     greeting("PIPELINING") + R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x>\r
D< RCPT\
D> 250 x\r
D> 550 a\r
D> 250 b\r
)",
     "rcpt550 rcpt! rcpt!"},

    // Kept, and reused
    {"kept", kept(to({{"a@x"}})), {}, greeting("PIPELINING") + one, "dot250 kept"},
    {"kept when all are refused",
     kept(to({{"a@x"}})),
     {},
     greeting("PIPELINING") + "D< MAIL FROM:<s@x>\\r\nD< RCPT TO:<a@x>\\r\nD< DATA\\r\nD> 250 x\\r\nD> 550 a\\r\nD> 503 x\\r\n",
     "rcpt550 kept"},
    {"not kept when DATA is refused: the recipients would stay",
     kept(to({{"a@x"}})),
     {},
     greeting("PIPELINING") + "D< MAIL FROM:<s@x>\\r\nD< RCPT TO:<a@x>\\r\nD< DATA\\r\nD> 250 x\\r\nD> 250 a\\r\nD> 451 x\\r\n" +
         quit,
     "data451"},
    {"nor when MAIL is and RCPT is not", kept(to({{"a@x"}})), chunking,
     rset + "D< MAIL FROM:<s@x>\\r\nD< RCPT TO:<a@x>\\r\nD> 250 x\\r\nD> 451 x\\r\nD> 250 a\\r\n" + quit, "mail451"},
    {"not kept with a lone dot",
     kept(to({{"a@x"}})),
     {},
     greeting("PIPELINING") +
         "D< MAIL FROM:<s@x>\\r\nD< RCPT TO:<a@x>\\r\nD< DATA\\r\nD> 250 x\\r\nD> 550 a\\r\nD> 354 x\\r\nD< .\\r\n" + quit,
     "rcpt550"},
    {"not kept after a refusal to serve", kept(to({{"a@x"}})), {}, "D> 220 x\\r\nD< LHLO me\\r\nD> 550 x\\r\n" + quit, "lhlo550"},
    {"reused", kept(to({{"a@x"}})), pipelining, rset + R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x>\r
D< DATA\r
D> 250 reset\r
D> 250 x\r
D> 250 a\r
D> 354 go\r
)" + data_and_dot + ok,
     "dot250 kept"},
    {"reused and not kept", to({{"a@x"}}), LhloState{}, rset + ok + R"(D< MAIL FROM:<s@x>\r
D> 250 x\r
D< RCPT TO:<a@x>\r
D> 550 a\r
)" + quit,
     "rcpt550"},
    {"a farewell was waiting", to({{"a@x"}}), pipelining, "D> 421 4.4.2 Disconnected for inactivity\\r\n", "mail421 stale"},
    {"something was waiting", to({{"a@x"}}), pipelining, "D> 250 x\\r\n", "mail! stale"},
    {"the connection had ended", to({{"a@x"}}), pipelining, "D! closed\n", "mail! stale"},
    {"it ended when we spoke", to({{"a@x"}}), pipelining, rset + "D! Connection reset by peer\n", "mail! stale"},
    {"421 to RSET", to({{"a@x"}}), LhloState{}, rset + "D> 421 gone\\r\n", "mail421 stale"},
    {"RSET refused", to({{"a@x"}}), LhloState{}, rset + "D> 500 what\\r\n", "mail! stale"},
    {"no answer is not stale", to({{"a@x"}}), LhloState{}, rset + "D! timed_out\n", "mail!"},
    {"closed within the mail", to({{"a@x"}}), chunking, rset + R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x>\r
D> 250 x\r
D> 250 x\r
D> 250 a\r
D< BDAT 14 LAST\r
D< S: x\r
D! closed
)",
     "body! stale"},
    {"closed after the dot is not stale", to({{"a@x"}}), chunking, rset + R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x>\r
D> 250 x\r
D> 250 x\r
D> 250 a\r
D< BDAT 14 LAST\r
D< S: x\r
D< \r
D< .dot\r
D! closed
)",
     "dot?"},
    {"refused and then closed is not stale", to({{"a@x"}}), pipelining, rset + R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x>\r
D< DATA\r
D> 250 x\r
D> 250 x\r
D> 550 a\r
D! closed
)",
     "rcpt550"},

    // Probes
    {"a probe",
     probe(three),
     {},
     greeting("PIPELINING\nSIZE\n8BITMIME\nCHUNKING") + R"(D< MAIL FROM:<>\r
D< RCPT TO:<a@x>\r
D< RCPT TO:<b@x>\r
D< RCPT TO:<c@x>\r
D< RSET\r
D> 250 x\r
D> 250 a\r
D> 550 b\r
D> 451 c\r
D> 250 reset\r
)",
     "rcpt250 rcpt550 rcpt451 kept"},
    {"a probe on a reused connection", probe({{"a@x"}}), labelled, rset + R"(D< MAIL FROM:<>\r
D< RCPT TO:<a@x>\r
D< RSET\r
D> 250 reset\r
D> 250 x\r
D> 552 a\r
D> 250 reset\r
)",
     "rcpt552 kept"},
    {"a probe, one at a time",
     probe({{"a@x"}, {"b@x"}}),
     {},
     greeting("X") + R"(D< MAIL FROM:<>\r
D> 250 x\r
D< RCPT TO:<a@x>\r
D> 250 a\r
D< RCPT TO:<b@x>\r
D> 550 b\r
D< RSET\r
D> 250 x\r
)",
     "rcpt250 rcpt550 kept"},
    {"a probe whose MAIL is refused says nothing about anybody",
     probe({{"a@x"}}),
     {},
     greeting("PIPELINING") + R"(D< MAIL FROM:<>\r
D< RCPT TO:<a@x>\r
D< RSET\r
D> 550 no\r
D> 503 a\r
D> 250 reset\r
)",
     "mail550 kept"},
    {"a probe whose RSET is refused", probe({{"a@x"}}), pipelining, rset + R"(D< MAIL FROM:<>\r
D< RCPT TO:<a@x>\r
D< RSET\r
D> 250 x\r
D> 250 x\r
D> 250 a\r
D> 500 what\r
)" + quit,
     "rcpt250"},
    {"421 among the replies to a probe", probe(three), pipelining, rset + R"(D< MAIL FROM:<>\r
D< RCPT TO:<a@x>\r
D< RCPT TO:<b@x>\r
D< RCPT TO:<c@x>\r
D< RSET\r
D> 250 reset\r
D> 250 x\r
D> 250 a\r
D> 421 gone\r
)",
     "rcpt250 rcpt421 rcpt421 stale"},

    // BDAT
    {"a chunk", to({{"a@x"}}), {}, greeting("PIPELINING\nCHUNKING") + bdat + ok + quit, "dot250"},
    {"a reply for each recipient, and dots are not stuffed",
     kept(to(three)),
     {},
     greeting("PIPELINING\nCHUNKING") + envelope_of_three + R"(D> 250 x\r
D> 250 a\r
D> 550 b\r
D> 250 c\r
D< BDAT 14 LAST\r
D< S: x\r
D< \r
D< .dot\r
D> 250 a\r
D> 552 c\r
)",
     "dot250 rcpt550 dot552 kept"},
    {"no chunk for nobody",
     kept(to({{"a@x"}})),
     {},
     greeting("PIPELINING\nCHUNKING") + "D< MAIL FROM:<s@x>\\r\nD< RCPT TO:<a@x>\\r\nD> 250 x\\r\nD> 550 a\\r\n",
     "rcpt550 kept"},
    {"refused within the chunk",
     kept(to({{"a@x"}})),
     {},
     greeting("PIPELINING\nCHUNKING") +
         "D< MAIL FROM:<s@x>\\r\nD< RCPT TO:<a@x>\\r\nD> 250 x\\r\nD> 250 a\\r\nD< BDAT 14 LAST\\r\nD> 552 x\\r\n",
     "body552"},
    {"success within the chunk is none",
     to({{"a@x"}}),
     {},
     greeting("PIPELINING\nCHUNKING") +
         "D< MAIL FROM:<s@x>\\r\nD< RCPT TO:<a@x>\\r\nD> 250 x\\r\nD> 250 a\\r\nD< BDAT 14 LAST\\r\nD> 250 x\\r\n",
     "body!"},
    {"half of the chunk's end is no success",
     to({{"a@x"}}),
     {},
     greeting("PIPELINING\nCHUNKING") + bdat.substr(0, bdat.size() - 3) + "\\r\\\nD> 250 x\\r\n",
     "dot?"},
    {"nothing is no chunk",
     {.helo = "me", .sender = "s@x", .recipients = {{"a@x"}}},
     {},
     greeting("CHUNKING") + R"(D< MAIL FROM:<s@x>\r
D> 250 x\r
D< RCPT TO:<a@x>\r
D> 250 a\r
D< DATA\r
D> 354 go\r
D< .\r
D> 250 x\r
)" + quit,
     "dot250"},

    // XCLIENT
    {"whom we speak for",
     for_client(someone, to({{"a@x"}})),
     {},
     greeting("PIPELINING\nXCLIENT ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT") +
         "D< XCLIENT ADDR=192.0.2.1 HELO=mx.example PROTO=ESMTP SESSION=f1e2\\r\n" + greeting("PIPELINING") + one + quit,
     "dot250"},
    {"as xtext, and what is listed",
     for_client(another, to({{"a@x"}})),
     {},
     greeting("PIPELINING\nxclient session addr") + "D< XCLIENT ADDR=IPV6:2001:db8::1 SESSION=a+2Bb+3Dc+20d\\r\n" +
         greeting("PIPELINING\nXCLIENT SESSION ADDR") + one + quit,
     "dot250"},
    {"a name that is none",
     for_client({"192.0.2.1", "bob's pc", "", ""}, to({{"a@x"}})),
     {},
     greeting("PIPELINING\nXCLIENT ADDR HELO PROTO") + "D< XCLIENT ADDR=192.0.2.1\\r\n" + greeting("PIPELINING") + one + quit,
     "dot250"},
    {"nothing to tell",
     for_client({"", "..", "", ""}, to({{"a@x"}})),
     {},
     greeting("PIPELINING\nXCLIENT ADDR HELO PROTO") + one + quit,
     "dot250"},
    {"XCLIENT is not listed", for_client(someone, to({{"a@x"}})), {}, greeting("PIPELINING") + one + quit, "dot250"},
    {"XCLIENT refused",
     for_client(someone, to({{"a@x"}})),
     {},
     greeting("PIPELINING\nXCLIENT ADDR") + "D< XCLIENT ADDR=192.0.2.1\\r\nD> 550 5.7.14 no\\r\n" + one + quit,
     "dot250"},
    {"reused for the same client", for_client(someone, to({{"a@x"}})), labelled, rset + R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x>\r
D< DATA\r
D> 250 x\r
D> 250 x\r
D> 550 a\r
D> 503 x\r
)" + quit,
     "rcpt550"},
    {"reused for another client", for_client(another, to({{"a@x"}})), labelled,
     rset + "D< XCLIENT ADDR=IPV6:2001:db8::1 HELO=[IPv6:2001:db8::1] PROTO=SMTP SESSION=a+2Bb+3Dc+20d\\r\n" + ok +
         greeting("PIPELINING") + one + quit,
     "dot250"},
    {"another client refused", for_client(another, to({{"a@x"}})), labelled,
     rset + "D< XCLIENT ADDR=IPV6:2001:db8::1 HELO=[IPv6:2001:db8::1] PROTO=SMTP SESSION=a+2Bb+3Dc+20d\\r\nD> 250 x\\r\nD> 501 "
            "x\\r\n",
     "lhlo! stale"},
    {"a server keeps the name that the next client has not", for_client({"192.0.2.9", "", "ESMTP", "1"}, to({{"a@x"}})), labelled,
     "", "mail! stale"},

    {"XCLIENT is not listed any more", for_client(another, to({{"a@x"}})), LhloState{.pipelining = true, .client = someone}, "",
     "mail! stale"},

    // ORCPT
    {"the original recipient",
     to({{"a@x", "A+b=c@x"}, {"b@x"}}),
     {},
     greeting("PIPELINING\nDSN") + R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x> ORCPT=rfc822;A+2Bb+3Dc@x\r
D< RCPT TO:<b@x>\r
D> 250 x\r
D> 550 a\r
D> 550 b\r
)" + quit,
     "rcpt550 rcpt550"},
    {"Dovecot takes it and does not list it",
     to({{"a@x", "A@x"}}),
     {},
     greeting("PIPELINING\nCHUNKING") + R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x> ORCPT=rfc822;A@x\r
D> 250 x\r
D> 550 a\r
)" + quit,
     "rcpt550"},
    {"another server may not",
     to({{"a@x", "A@x"}}),
     {},
     greeting("PIPELINING") + R"(D< MAIL FROM:<s@x>\r
D< RCPT TO:<a@x> ORCPT=rfc822;A@x\r
D> 250 x\r
D> 555 what\r
D< RCPT TO:<a@x>\r
D> 250 a\r
D< DATA\r
D> 354 go\r
)" + data_and_dot +
         ok + quit,
     "dot250"},
    {"nor what follows",
     to({{"a@x", "A@x"}}),
     {},
     greeting("8BITMIME") + R"(D< MAIL FROM:<s@x> BODY=8BITMIME\r
D> 250 x\r
D< RCPT TO:<a@x> ORCPT=rfc822;A@x\r
D> 501 what\r
D< RCPT TO:<a@x>\r
D> 501 what\r
)" + quit,
     "rcpt501"},
    {"several are not tried", to({{"a@x", "A@x"}, {"b@x", "B@x"}}), LhloState{.chunking = true},
     rset + ok + R"(D< MAIL FROM:<s@x>\r
D> 250 x\r
D< RCPT TO:<a@x>\r
D> 550 a\r
D< RCPT TO:<b@x>\r
D> 550 a\r
)" + quit,
     "rcpt550 rcpt550"},
    {"it is not tried again", to({{"a@x", "A@x"}}), LhloState{.orcpt_refused = true}, rset + ok + R"(D< MAIL FROM:<s@x>\r
D> 250 x\r
D< RCPT TO:<a@x>\r
D> 550 a\r
)" + quit,
     "rcpt550"},
    {"not for a probe, nor what is not ASCII, nor what is endless", to({{"a@x", "\xc3\xa4@x"}, {"b@x", std::string(500, 'b')}}),
     LhloState{.dsn = true}, rset + ok + R"(D< MAIL FROM:<s@x>\r
D> 250 x\r
D< RCPT TO:<a@x>\r
D> 550 a\r
D< RCPT TO:<b@x>\r
D> 550 a\r
)" + quit,
     "rcpt550 rcpt550"},

    // STARTTLS
    {"what was listed in the clear is forgotten",
     with_tls(to({{"a@x"}})),
     {},
     greeting("PIPELINING\nCHUNKING\nSTARTTLS") + "D< STARTTLS\\r\nD> 220 go\\r\nD! tls\n" + lhlo("PIPELINING") + one + quit,
     "dot250"},
    {"STARTTLS is not listed", with_tls(to({{"a@x"}})), {}, greeting("PIPELINING"), "lhlo!"},
    {"STARTTLS refused", with_tls(to({{"a@x"}})), {}, greeting("STARTTLS") + "D< STARTTLS\\r\nD> 454 no\\r\n" + quit, "lhlo454"},
    {"the handshake fails",
     with_tls(to({{"a@x"}})),
     {},
     greeting("STARTTLS") + "D< STARTTLS\\r\nD> 220 go\\r\nD! certificate verify failed\n",
     "lhlo!"},
    {"under TLS already", with_tls(to({{"a@x"}})), LhloState{.tls = true}, rset + ok + R"(D< MAIL FROM:<s@x>\r
D> 250 x\r
D< RCPT TO:<a@x>\r
D> 550 a\r
)" + quit,
     "rcpt550"},
    {"then XCLIENT",
     for_client(someone, with_tls(to({{"a@x"}}))),
     {},
     greeting("STARTTLS\nXCLIENT ADDR") + "D< STARTTLS\\r\nD> 220 go\\r\nD! tls\n" + lhlo("PIPELINING\nXCLIENT ADDR") +
         "D< XCLIENT ADDR=192.0.2.1\\r\n" + greeting("PIPELINING") + one + quit,
     "dot250"},

    // SMTPUTF8
    {"UTF-8 where it is listed",
     to({{"\xc3\xa4@x"}}),
     {},
     greeting("PIPELINING\nSMTPUTF8\nCHUNKING") +
         "D< MAIL FROM:<s@x> SMTPUTF8\\r\nD< RCPT TO:<\xc3\xa4@x>\\r\nD> 250 x\\r\nD> 550 a\\r\n" + quit,
     "rcpt550"},
    {"not for ASCII", to({{"a@x"}}), {}, greeting("PIPELINING\nSMTPUTF8") + one + quit, "dot250"},
};

TEST(Client, Talks) {
  for (const Talk& talk : talks) {
    for (const Cuts cuts : {Cuts::whole, Cuts::lines, Cuts::bytes}) {
      SCOPED_TRACE(talk.name + (cuts == Cuts::whole ? "" : cuts == Cuts::lines ? ", line by line" : ", byte by byte"));
      Player player(talk, cuts);
      player.play();
      EXPECT_EQ(player.results(), talk.results);
    }
  }
}

TEST(Client, BrokenAtEveryStep) {
  for (const Talk& talk : talks) {
    SCOPED_TRACE(talk.name);
    for (std::size_t at = 0; at < Player(talk, Cuts::lines).size(); ++at) {
      if (!Player(talk, Cuts::lines).is_arrival(at)) continue;
      for (const Ending::Kind kind : {Ending::Kind::closed, Ending::Kind::timed_out, Ending::Kind::failed}) {
        for (const bool half : {false, true}) Player(talk, Cuts::lines).play_broken(at, half, kind);
      }
    }
  }
}

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

// One recipient, and all but the dot has left.
struct BeforeDot {
  Client client;
  explicit BeforeDot(Transaction transaction = to({{"a@x"}}), const LhloState& reused = pipelining)
      : client(std::move(transaction), patience(), reused) {
    said(client);
    client.receive("250 x\r\n250 x\r\n250 a\r\n");
    if (!reused.chunking) client.receive("354 go\r\n");
    EXPECT_FALSE(client.before_dot());
    last = said(client);
  }
  std::string last;  // what it said
};

TEST(Client, TheDotWaitsForPermission) {
  BeforeDot dot;
  EXPECT_EQ(dot.last, "S: x\r\n\r\n..dot\r\n");
  EXPECT_TRUE(dot.client.before_dot());
  const Step step = dot.client.next(t0 + std::chrono::seconds(239));
  ASSERT_TRUE(std::holds_alternative<Await>(step));
  EXPECT_EQ(std::get<Await>(step).until, patience().dot_by);
  EXPECT_TRUE(std::holds_alternative<Done>(dot.client.next(t0 + std::chrono::seconds(240))));
  EXPECT_EQ(dot.client.outcome(0).failure, "no time is left to send the final dot");
  EXPECT_FALSE(dot.client.stale());
}

TEST(Client, TheEndOfTheChunkWaitsForPermission) {
  BeforeDot dot(to({{"a@x"}}), chunking);
  EXPECT_EQ(dot.last, "BDAT 14 LAST\r\nS: x\r\n\r\n.dot");
  EXPECT_TRUE(dot.client.before_dot());
  dot.client.permit_dot("");
  EXPECT_EQ(said(dot.client), "\r\n");
}

TEST(Client, WhatIsNotPermittedDoesNotLeave) {
  for (const LhloState& state : {pipelining, chunking}) {
    BeforeDot dot(to({{"a@x"}}), state);
    dot.client.permit_dot("not wanted any more");
    EXPECT_EQ(said(dot.client), "");
    EXPECT_TRUE(done(dot.client));
    EXPECT_EQ(dot.client.outcome(0).failure, "not wanted any more");
    EXPECT_FALSE(dot.client.outcome(0).unknown || dot.client.stale() || dot.client.reusable());
  }
}

TEST(Client, AMailThatCannotBeReadIsNotEnded) {
  for (const LhloState& state : {pipelining, chunking}) {
    const auto unreadable = std::make_shared<mail::Message>();
    unreadable->append_line("S: x");
    unreadable->fail(std::make_error_code(std::errc::io_error));
    Transaction transaction = to({{"a@x"}});
    transaction.mail.message = unreadable;
    BeforeDot dot(std::move(transaction), state);
    EXPECT_FALSE(dot.client.before_dot());
    EXPECT_TRUE(done(dot.client));
    EXPECT_EQ(dot.client.outcome(0).failure, "the mail cannot be read again");
    EXPECT_FALSE(dot.client.outcome(0).unknown || dot.client.outcome(0).may_try_elsewhere() || dot.client.reusable());
  }
}

TEST(Client, APermittedDotStillHasToLeaveInTime) {
  BeforeDot dot;
  dot.client.permit_dot("");
  const Step first = dot.client.next(t0);
  EXPECT_EQ(std::get<Send>(first).until, patience().dot_by);
  dot.client.sent(3);
  const Step after = dot.client.next(t0);
  EXPECT_EQ(std::get<Await>(after).until, patience().reply_by);
}

TEST(Client, WhatFollowsTheLastReplyCannotBeKept) {
  for (const std::string more : {"", "250 x\r\n", "250-x", "4", "421 gone\r\n", "what\r\n"}) {
    BeforeDot dot(kept(to({{"a@x"}})));
    dot.client.permit_dot("");
    said(dot.client);
    dot.client.receive("250 saved\r\n" + more);
    EXPECT_TRUE(done(dot.client));
    EXPECT_TRUE(dot.client.outcome(0).delivered());
    EXPECT_EQ(dot.client.reusable().has_value(), more.empty()) << more;
  }
}

TEST(Client, NothingSaidInTheClearIsHeardUnderTls) {
  for (const std::string more : {"", "250 x\r\n", "250-x\r\n", "2"}) {
    Client client(with_tls(to({{"a@x"}})), patience());
    client.receive("220 x\r\n");
    said(client);
    client.receive("250-x\r\n250 STARTTLS\r\n");
    EXPECT_EQ(said(client), "STARTTLS\r\n");
    client.receive("220 go\r\n" + more);
    EXPECT_TRUE(done(client));
    if (client.wants_tls()) client.tls_started();
    EXPECT_EQ(said(client), more.empty() ? "LHLO me\r\n" : "") << more;
    EXPECT_EQ(done(client), !more.empty());
  }
}

TEST(Client, WhatIsKeptOfAConnection) {
  Transaction transaction = for_client(someone, kept(probe({{"a@x"}})));
  Client client(transaction, patience());
  client.receive("220 x\r\n");
  said(client);
  client.receive("250-x\r\n250 XCLIENT ADDR\r\n");
  EXPECT_EQ(said(client), "XCLIENT ADDR=192.0.2.1\r\n");
  client.receive("220 x\r\n");
  said(client);
  client.receive(
      "250-x\r\n250-XCLIENT ADDR HELO\r\n250-8bitmime\r\n250-SIZE 1000\r\n250-DSN\r\n250-CHUNKING\r\n250-SMTPUTF8\r\n250 "
      "PIPELINING\r\n");
  said(client);
  client.receive("250 x\r\n250 a\r\n250 reset\r\n");
  EXPECT_TRUE(done(client));
  const auto state = client.reusable();
  ASSERT_TRUE(state);
  EXPECT_EQ(state->client, (ClientInfo{"192.0.2.1", "", "", ""}));
  EXPECT_EQ(state->xclient, (std::vector<std::string>{"ADDR", "HELO"}));
  EXPECT_TRUE(state->pipelining && state->eightbitmime && state->size && state->dsn && state->chunking && state->smtputf8);
  EXPECT_FALSE(state->starttls || state->tls || state->orcpt_refused);
}

TEST(Client, AskingTwiceAnswersTheSame) {
  Client client(to({{"a@x"}}), patience());
  client.receive("220 x\r\n");
  const Step first = client.next(t0);
  const Step second = client.next(t0 + std::chrono::seconds(1));
  EXPECT_EQ(std::get<Send>(first).bytes, "LHLO me\r\n");
  EXPECT_EQ(std::get<Send>(second).bytes, "LHLO me\r\n");
  EXPECT_EQ(std::get<Send>(first).until, std::get<Send>(second).until);
}

TEST(Client, AfterTheEndNothingMatters) {
  Client client(to({{"a@x"}}), patience());
  client.end({Ending::Kind::failed, "Connection reset by peer"});
  EXPECT_TRUE(done(client));
  client.receive("220 x\r\n");
  client.end({Ending::Kind::closed});
  EXPECT_TRUE(done(client));
  EXPECT_EQ(client.outcome(0).failure, "Connection reset by peer");
}

TEST(Client, TimeIsCountedPerStage) {
  Client client(to({{"a@x"}}), patience());
  client.next(t0);
  client.receive("220 x\r\n");
  client.next(t0 + std::chrono::milliseconds(5));
  client.sent(9);
  client.next(t0 + std::chrono::milliseconds(6));
  client.receive("250-x\r\n250 PIPELINING\r\n");
  client.next(t0 + std::chrono::milliseconds(13));
  EXPECT_EQ(client.spent()[static_cast<std::size_t>(Stage::banner)], std::chrono::milliseconds(5));
  EXPECT_EQ(client.spent()[static_cast<std::size_t>(Stage::lhlo)], std::chrono::milliseconds(8));
}

TEST(Outcome, AnotherServerMayBeTried) {
  const auto reply = [](int code) { return Reply{code, {}, {"x"}}; };
  struct Row {
    Outcome outcome;
    bool may;
  };
  const Row rows[] = {
      {{Stage::input, {}, "unreadable"}, false}, {{Stage::connect, {}, "refused"}, true},
      {{Stage::banner, {}, "closed"}, true},     {{Stage::banner, reply(554), {}}, true},
      {{Stage::lhlo, reply(500), {}}, true},     {{Stage::lhlo, {}, "the server does not offer STARTTLS"}, true},
      {{Stage::mail, {}, "closed"}, true},       {{Stage::mail, reply(421), {}}, true},
      {{Stage::mail, reply(451), {}}, true},     {{Stage::mail, reply(552), {}}, false},
      {{Stage::rcpt, {}, "closed"}, true},       {{Stage::rcpt, reply(421), {}}, true},
      {{Stage::rcpt, reply(451), {}}, false},    {{Stage::rcpt, reply(550), {}}, false},
      {{Stage::rcpt, reply(250), {}}, false},    {{Stage::data, reply(451), {}}, false},
      {{Stage::body, {}, "closed"}, true},       {{Stage::body, reply(552), {}}, false},
      {{Stage::body, reply(421), {}}, true},     {{Stage::dot, {}, "no time is left"}, false},
      {{Stage::dot, reply(421), {}}, false},     {{Stage::dot, {}, "closed", true}, false},
      {{Stage::dot, reply(250), {}}, false},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(row.outcome.may_try_elsewhere(), row.may)
        << name(row.outcome.stage) << (row.outcome.reply ? row.outcome.reply->code : 0);
  }
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
