#include "session/delivery_plan.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace mailbridge::session {
namespace {

const std::string trace =
    "Received: from x (y [192.0.2.1])\r\n\tby mx.example.org (OpenSMTPD) with ESMTP id 00000001;\r\n"
    "\tThu, 1 Jan 2026 00:00:00 +0000 (UTC)\r\n";

// Two recipients with a mailbox, and nothing against a delivery.
Transaction transaction() {
  Transaction tx;
  tx.msgid = "00000001";
  tx.recipients = {"alice@example.org", "bob@example.org"};
  tx.verified = {"alice@example.org", "bob@example.org"};
  tx.decision.emplace().header_bytes = trace + "Subject: x\r\n";
  tx.client_part.line("Received: from x (y [192.0.2.1])");
  return tx;
}

TEST(DeliveryPlan, WhatBecomesOfAMessageThatIsToPass) {
  using Kind = DeliveryPlan::Kind;
  using Tx = Transaction;
  using Circumstances = DeliveryCircumstances;
  struct Row {
    const char* name;
    std::function<void(Tx&, Circumstances&)> but;
    Kind kind;
    std::string objection;
    std::size_t recipients;
  };
  const Row rows[] = {
      {"as it is", [](Tx&, Circumstances&) {}, Kind::deliver, "", 2},
      {"not wanted", [](Tx&, Circumstances& now) { now.wanted = false; }, Kind::queue, "", 0},
      {"nobody has a mailbox", [](Tx& tx, Circumstances&) { tx.verified.clear(); }, Kind::queue, "", 0},
      {"one is somebody else's", [](Tx& tx, Circumstances&) { tx.recipients.push_back("c@example.com"); }, Kind::queue,
       "recipients", 2},
      {"one is several", [](Tx& tx, Circumstances&) { tx.expanded = true; }, Kind::queue, "recipients", 2},
      {"one is full", [](Tx& tx, Circumstances&) { tx.verified.erase("bob@example.org"), tx.full.insert("bob@example.org"); },
       Kind::deliver, "", 1},
      {"one is named twice", [](Tx& tx, Circumstances&) { tx.recipients.push_back("alice@example.org"); }, Kind::deliver, "", 2},
      {"no address for LMTP",
       [](Tx& tx, Circumstances&) {
         tx.recipients = {"a b@example.org"};
         tx.verified = {"a b@example.org"};
       },
       Kind::queue, "addresses", 0},
      {"smtpd's trace is not on top", [](Tx& tx, Circumstances&) { tx.decision->header_bytes = "Subject: x\r\n"; }, Kind::queue,
       "trace", 2},
      {"the limit of sizes is not known", [](Tx&, Circumstances& now) { now.max_size.reset(); }, Kind::queue, "size", 2},
      {"it may be cut", [](Tx& tx, Circumstances&) { tx.client_part.line(std::string(1'000'000 - 10, 'x')); }, Kind::queue,
       "size", 2},
      {"the mail store is silent", [](Tx&, Circumstances& now) { now.store_is_silent = true; }, Kind::queue, "silence", 2},
      {"smtpd would refuse it", [](Tx& tx, Circumstances&) { tx.decision->header_bytes += "no colon\r\n"; }, Kind::queue,
       "not-rfc5322", 2},
      {"it is to be discarded", [](Tx& tx, Circumstances&) { tx.decision->discard = true; }, Kind::discard, "", 2},
      {"a discard needs no mail store",
       [](Tx& tx, Circumstances& now) {
         tx.decision->discard = true;
         now.store_is_silent = true;
       },
       Kind::discard, "", 2},
      {"a discard is for all or for none",
       [](Tx& tx, Circumstances&) {
         tx.decision->discard = true;
         tx.verified.erase("bob@example.org"), tx.full.insert("bob@example.org");
       },
       Kind::deliver, "", 1},
      {"it came back to one", [](Tx& tx, Circumstances&) { tx.decision->header_bytes += "Delivered-To: bob@example.org\r\n"; },
       Kind::deliver, "", 1},
      {"it came back to all",
       [](Tx& tx, Circumstances&) {
         tx.decision->header_bytes += "Delivered-To: bob@example.org\r\nDelivered-To: alice@example.org\r\n";
       },
       Kind::refuse, "", 0},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    Tx tx = transaction();
    Circumstances now{.wanted = true, .max_size = 1'000'000, .store_is_silent = false};
    row.but(tx, now);
    const DeliveryPlan plan = plan_delivery(tx, now);
    EXPECT_EQ(plan.kind, row.kind);
    if (row.objection != "not-rfc5322") EXPECT_EQ(plan.objection, row.objection);
    else EXPECT_FALSE(plan.objection.empty());
    EXPECT_EQ(plan.recipients.size(), row.recipients);
  }
}

TEST(DeliveryPlan, Distinct) {
  EXPECT_EQ(distinct({}), 0U);
  EXPECT_EQ(distinct({"a", "b", "a"}), 2U);
}

}  // namespace
}  // namespace mailbridge::session
