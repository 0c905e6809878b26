#include "recipients/delivery.hpp"

#include <gtest/gtest.h>

namespace mailbridge::recipients {
namespace {

using lmtp::Outcome;
using lmtp::Reply;
using lmtp::Stage;

Outcome reply(Stage stage, int code, std::string enhanced = {}, std::string text = "<alice> words of Dovecot's") {
  return {stage, Reply{code, std::move(enhanced), {std::move(text)}}, {}};
}
const Outcome delivered = reply(Stage::dot, 250, "2.0.0", "<alice> x Saved");
const Outcome full = reply(Stage::dot, 552, "5.2.2");
const Outcome full_now = reply(Stage::dot, 452, "4.2.2");
const Outcome nobody = reply(Stage::rcpt, 550, "5.1.1");
const Outcome down = {Stage::connect, std::nullopt, "nobody listens there"};
const Outcome not_asked = {Stage::connect, std::nullopt, "Too many open files", false, true};
const Outcome lost = {Stage::dot, std::nullopt, "the server closed the connection", true};

TEST(Delivery, WhatAnAnswerIsWorth) {
  struct Row {
    std::string name;
    Outcome outcome;
    DeliveryStatus status;
  };
  const Row rows[] = {
      {"saved", delivered, DeliveryStatus::delivered},
      {"any 2xx", reply(Stage::dot, 251), DeliveryStatus::delivered},
      {"full for good", full, DeliveryStatus::refused},
      {"full for now", full_now, DeliveryStatus::deferred},
      {"unknown at RCPT", nobody, DeliveryStatus::refused},
      {"full at RCPT", reply(Stage::rcpt, 552, "5.2.2"), DeliveryStatus::refused},
      {"an address that Dovecot does not understand", reply(Stage::rcpt, 501, "5.5.4"), DeliveryStatus::refused},
      {"Sieve fails", reply(Stage::dot, 451, "4.2.0"), DeliveryStatus::deferred},
      {"no enhanced code", reply(Stage::dot, 451), DeliveryStatus::deferred},
      {"userdb is down", reply(Stage::rcpt, 451, "4.3.0"), DeliveryStatus::failed},
      {"the server's disk", reply(Stage::dot, 452, "4.3.1"), DeliveryStatus::failed},
      {"its backend is down", reply(Stage::rcpt, 451, "4.4.0"), DeliveryStatus::failed},
      {"shutting down", reply(Stage::rcpt, 421, "4.3.2"), DeliveryStatus::failed},
      {"shutting down, before anything else", reply(Stage::banner, 421), DeliveryStatus::failed},
      {"it wants no mail at all", reply(Stage::banner, 554), DeliveryStatus::failed},
      {"not from this sender, for now", reply(Stage::mail, 451, "4.2.0"), DeliveryStatus::failed},
      {"larger than any mailbox takes, said early", reply(Stage::mail, 552, "5.3.4"), DeliveryStatus::refused},
      {"our own mistake", reply(Stage::data, 503, "5.5.1"), DeliveryStatus::failed},
      {"refused in mid-body", reply(Stage::body, 552, "5.2.2"), DeliveryStatus::refused},
      {"deferred in mid-body", reply(Stage::body, 452, "4.2.2"), DeliveryStatus::deferred},
      {"an answer that is none", reply(Stage::dot, 354), DeliveryStatus::failed},
      {"no connection", down, DeliveryStatus::failed},
      {"no descriptor for one", not_asked, DeliveryStatus::failed},
      {"no reply to the dot", lost, DeliveryStatus::unknown},
  };
  for (const Row& row : rows) EXPECT_EQ(to_string(status_of(row.outcome)), to_string(row.status)) << row.name;
}

TEST(Delivery, TheClientHearsTheCodesAndOurWords) {
  struct Row {
    Outcome outcome;
    std::string told;
  };
  const Row rows[] = {
      {full, "552 5.2.2 Mailbox is full"},
      {full_now, "452 4.2.2 Mailbox is full"},
      {nobody, "550 5.1.1 Mailbox does not exist"},
      {reply(Stage::rcpt, 550), "550 5.2.0 Message was refused by the mail store"},
      {reply(Stage::rcpt, 550, "5.2.1"), "550 5.2.1 Mailbox is disabled"},
      {reply(Stage::dot, 552, "5.2.3"), "552 5.2.3 Message is too large for the mailbox"},
      {reply(Stage::dot, 451, "4.2.0"), "451 4.2.0 Message could not be delivered, try again later"},
      {reply(Stage::dot, 451), "451 4.2.0 Message could not be delivered, try again later"},
      {reply(Stage::dot, 554, "5.7.1"), "554 5.7.1 Message was refused by the mail store"},
  };
  for (const Row& row : rows) EXPECT_EQ(refusal_of(*row.outcome.reply), row.told);
}

TEST(Delivery, WhatAllOfThemComeTo) {
  struct Row {
    std::string name;
    std::vector<Outcome> outcomes;
    std::size_t delivered;
    std::string refusal;
    bool unknown;
    std::string worst;  // its stage and code
  };
  const Row rows[] = {
      {"one has it", {delivered}, 1, "", false, ""},
      {"both have it", {delivered, delivered}, 2, "", false, ""},
      {"one has it, one is full", {delivered, full}, 1, "", false, "dot 552"},
      {"one is full", {full}, 0, "552 5.2.2 Mailbox is full", false, "dot 552"},
      {"both refused: the first", {nobody, full}, 0, "550 5.1.1 Mailbox does not exist", false, "rcpt 550"},
      {"one of them for now: all for now", {full, full_now, nobody}, 0, "452 4.2.2 Mailbox is full", false, "dot 452"},
      {"one refused, one not reached", {full, down}, 0, "", false, "connect 0"},
      {"nobody reached", {down, down}, 0, "", false, "connect 0"},
      {"one refused, one unknown", {full, lost}, 0, "", true, "dot 0"},
      {"one has it, one unknown", {delivered, lost}, 1, "", true, "dot 0"},
      {"an outcome is missing", {}, 0, "", true, ""},
  };
  for (const Row& row : rows) {
    const Conclusion conclusion = conclude(std::max<std::size_t>(1, row.outcomes.size()), row.outcomes);
    EXPECT_EQ(conclusion.delivered, row.delivered) << row.name;
    EXPECT_EQ(conclusion.refusal, row.refusal) << row.name;
    EXPECT_EQ(conclusion.unknown, row.unknown) << row.name;
    const Outcome* worst = conclusion.worst;
    EXPECT_EQ(worst ? std::string(name(worst->stage)) + " " + std::to_string(worst->reply ? worst->reply->code : 0) : "",
              row.worst)
        << row.name;
  }
  EXPECT_TRUE(conclude(2, {down, down}).silent);
  EXPECT_FALSE(conclude(2, {not_asked, not_asked}).silent) << "nobody was asked";
  EXPECT_TRUE(conclude(2, {not_asked, not_asked}).ours);
  EXPECT_EQ(conclude(3, {delivered}).delivered, 1U) << "of two nothing is known";
  EXPECT_TRUE(conclude(3, {delivered}).unknown);
}

}  // namespace
}  // namespace mailbridge::recipients
