#include "agent/addressing.hpp"

#include <gtest/gtest.h>

namespace mailbridge::agent {
namespace {

const Addressing usual{.delimiters = "+", .folding = Folding::domain};

std::string made(std::string_view form, std::string_view recipient, Addressing addressing = usual) {
  const auto parsed = parse_rcpt_form(form);
  if (!parsed) return "!" + parsed.error().what;
  addressing.form = *parsed;
  const auto address = rcpt_address(recipient, "bob", addressing);
  return address ? *address : "!" + address.error().what;
}

TEST(Addressing, Forms) {
  struct Row {
    std::string_view form, recipient, expected;
  };
  const Row rows[] = {
      {"recipient", "al+tag@x.example", "al+tag@x.example"},
      {"recipient", "al", "al"},
      {"recipient", "al+tag", "al+tag"},
      {"recipient", "al+a+b@x", "al+a+b@x"},
      {"recipient", "+al@x", "+al@x"},
      {"recipient", "al+@x", "al@x"},
      {"recipient", "\"a b+c\"@x", "\"a b+c\"@x"},
      {"recipient", "a@b@x", "a@b@x"},
      {"user", "al@x", "bob"},
      {"user", "al+tag@x", "bob+tag"},
      {"{local}", "al+tag@x", "al"},
      {"{local}@{domain}", "al+tag@x", "al@x"},
      {"{local}{+detail}@mail.{domain}", "al+tag@x", "al+tag@mail.x"},
      {"{local}{+detail}@mail.{domain}", "al@x", "al@mail.x"},
      {"{domain}/{local}", "al@x", "x/al"},
      {"{detail}@{local}.{domain}", "al+tag@x", "tag@al.x"},
      {"{user}{@domain}", "al", "bob"},
      {"{detail}@{domain}", "al@x", "!recipient: --rcpt makes no address of al@x"},
      {"{local}@{domain}", "al", "!recipient: --rcpt makes no address of al"},
      {"{detail}", "al@x", "!recipient: --rcpt makes no address of al@x"},
      {"{local}> SIZE=1", "al@x", "!recipient: the address holds a blank or an angle bracket outside quotes"},
      {"{user", "al@x", "!a part is written {name}"},
      {"{local}}", "al@x", "!a part is written {name}"},
      {"{username}", "al@x", "!there is no part {username}"},
      {"{}", "al@x", "!there is no part {}"},
      {"usr", "al@x", "!recipient, user, or a text with parts as {local} is wanted, not usr"},
      {"", "al@x", "!recipient, user, or a text with parts as {local} is wanted, not "},
  };
  for (const Row& row : rows) EXPECT_EQ(made(row.form, row.recipient), row.expected) << row.form << " " << row.recipient;
}

TEST(Addressing, DetailAndCase) {
  struct Row {
    std::string_view form;
    bool strip;
    std::string delimiters;
    Folding folding;
    std::string_view expected;  // of Al+Tag@X.Example
  };
  const Row rows[] = {
      {"recipient", false, "+", Folding::none, "Al+Tag@X.Example"},
      {"recipient", false, "+", Folding::domain, "Al+Tag@x.example"},
      {"recipient", false, "+", Folding::all, "al+Tag@x.example"},
      {"recipient", true, "+", Folding::none, "Al@X.Example"},
      {"recipient", true, "-", Folding::none, "Al+Tag@X.Example"},
      {"recipient", true, "-+", Folding::all, "al@x.example"},
      {"recipient", false, "", Folding::all, "al+tag@x.example"},
      {"{local}{+detail}", false, "l+", Folding::none, "Al+Tag"},
      {"{local}:{detail}", false, "+", Folding::all, "al:Tag"},
      {"user", true, "+", Folding::none, "bob"},
      {"{LOCAL}", false, "+", Folding::all, "!there is no part {LOCAL}"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(made(row.form, "Al+Tag@X.Example", {{}, row.strip, row.delimiters, row.folding}), row.expected) << row.expected;
  }
}

TEST(Addressing, NamesOfAMailbox) {
  struct Row {
    std::string address, local, domain;
    bool also_as_given;
  };
  const Row rows[] = {
      {"alice", "alice", "example.org", true},
      {"alice", "Alice+Tag", "Example.ORG", true},
      {"alice@example.org", "Alice+Tag", "Example.ORG", true},
      {"alice+tag", "alice+tag", "example.org", true},
      {"alice@example.org", "alice", "example.org", false},  // the same already
      {"bob", "alice", "example.org", false},                // an alias
      {"alice@example.net", "alice", "example.org", false},  // a virtual user
      {"alice+home", "alice+tag", "example.org", false},
      {"alice+tag", "alice", "example.org", false},
      {"alic", "alice", "example.org", false},
      {"vmail", "any", "example.org", false},
      {"\"al ice\"", "\"al ice\"", "example.org", true},
  };
  for (const Row& row : rows) {
    Environment environment;
    environment.local = row.local;
    environment.domain = row.domain;
    std::vector<std::string> expected = {row.address};
    if (row.also_as_given) expected.push_back(row.local + "@" + row.domain);
    EXPECT_EQ(names_of_mailbox(row.address, environment, usual), expected) << row.address << " " << row.local;
  }
  EXPECT_EQ(names_of_mailbox("alice", {}, usual), std::vector<std::string>{"alice"}) << "smtpd has not told";
}

TEST(Addressing, AreBounded) {
  const std::string local(600, 'a');
  EXPECT_EQ(made("{local}", local), local);
  EXPECT_EQ(made("{local}{local}", local), "!recipient: the address is longer than 1,000 bytes");
}

TEST(Addressing, NoUser) {
  const auto address = rcpt_address("al@x", std::nullopt, {"{user}", false, "+", Folding::domain});
  ASSERT_FALSE(address);
  EXPECT_EQ(address.error().what, "no user: USER is not in the environment");
  EXPECT_FALSE(rcpt_address("al@x", "", {"{user}", false, "+", Folding::domain}));
}

TEST(Addressing, WhatTheClientGave) {
  Environment environment;
  EXPECT_EQ(original_recipient(environment), "");
  environment.local = "Info";
  EXPECT_EQ(original_recipient(environment), "");
  environment.domain = "X.example";
  EXPECT_EQ(original_recipient(environment), "Info@X.example");
  environment.original_recipient = "other@x.example";
  EXPECT_EQ(original_recipient(environment), "other@x.example");
  environment.original_recipient = "a b@x";
  EXPECT_EQ(original_recipient(environment), "");
}

}  // namespace
}  // namespace mailbridge::agent
