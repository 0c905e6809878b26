#include "mail/submission.hpp"

#include <gtest/gtest.h>

#include "mail/headers.hpp"

namespace mailbridge::mail {
namespace {

struct Address {
  const char* what;
  const char* value;
  const char* expected;
};
// As OpenSMTPD 7.8 writes them, and 6.8 where the next table has nothing else.
const Address addresses[] = {
    {"with a domain", " bob@example.net", " bob@example.net"},
    {"bare", " bob", " bob@h"},
    {"no blank after the colon", "bob", "bob@h"},
    {"trailing blanks", " bob \t", " bob@h \t"},
    {"a carriage return", " bob\r", " bob@h\r"},
    {"in brackets", " Bob <bob>", " Bob <bob@h>"},
    {"blanks within the brackets", " Bob < bob >", " Bob < bob@h >"},
    {"empty brackets", " Bob <>", " Bob <>"},
    {"blank brackets", " Bob < >", " Bob < >"},
    {"only the last of two brackets", " <a> <b>", " <a> <b@h>"},
    {"several", " a, b@x,c", " a@h, b@x,c@h"},
    {"folded", " a,\n\tb,\n c", " a@h,\n\tb@h,\n c@h"},
    {"folded within an address", " Bob\n <bob>", " Bob\n <bob@h>"},
    {"a comma at the end", " a,", " a@h,"},
    {"nothing between commas", " a,,b", " a@h,,b@h"},
    {"empty", "", ""},
    {"blanks alone", "  \n\t", "  \n\t"},
    {"quoted name", " \"Doe, John\" <joe>", " \"Doe, John\" <joe@h>"},
    {"quoted local part", " \"joe doe\"", " \"joe doe\"@h"},
    {"an at sign within quotes is none", " \"a@b\"", " \"a@b\"@h"},
    {"comment after", " bob (the one, and only)", " bob@h (the one, and only)"},
    {"an at sign within a comment is none", " bob (b@x)", " bob@h (b@x)"},
    {"comment alone", " (nobody)", " (nobody)"},
    {"nested comments", " bob (a (b) c)", " bob@h (a (b) c)"},
    {"group", " friends: bob;", " friends: bob;"},
    {"group of several", " friends: a, b;", " friends: a, b;@h"},  // smtpd's reading
    {"empty group", " undisclosed-recipients:;", " undisclosed-recipients:;"},
    {"open quote", " \"bob", " \"bob"},
    {"open comment", " (bob", " (bob"},
    {"open bracket", " <bob", " <bob"},
    {"an at sign after a backslash", " bob\\@x", " bob\\@x"},
    {"escaped quote outside of quotes", " \\\"a, b", " \\\"a@h, b@h"},
    {"encoded word", " =?utf-8?q?B=2C?= <bob>", " =?utf-8?q?B=2C?= <bob@h>"},
    {"raw 8-bit", " J\xc3\xb6rg <j\xc3\xb6rg>", " J\xc3\xb6rg <j\xc3\xb6rg@h>"},
};

TEST(AppendDomain, AsSmtpdDoes) {
  for (const Address& row : addresses) {
    for (const bool escapes_in_quotes : {false, true}) {
      const std::string appended = append_domain(row.value, "h", escapes_in_quotes);
      EXPECT_EQ(appended, row.expected) << row.what;
      EXPECT_EQ(append_domain(appended, "h", escapes_in_quotes), appended) << row.what;
    }
  }
}

TEST(AppendDomain, QuotesWithinQuotesAreReadSince75) {
  const std::string value = R"( "\"Doe, John\"" <joe>, bob)";
  EXPECT_EQ(append_domain(value, "h", false), R"( "\"Doe@h, John\"" <joe>, bob)");
  EXPECT_EQ(append_domain(value, "h", true), R"( "\"Doe, John\"" <joe>, bob@h)");
}

TEST(AppendDomain, NothingBeyondSmtpdsBuffer) {
  const std::string address(65535 - 3, 'a');  // with "@h" one byte less than the buffer
  EXPECT_TRUE(append_domain(address, "h", true) == address + "@h");
  EXPECT_TRUE(append_domain(address, "hh", true) == address);
}

std::string submitted(const std::string& head, std::size_t max_line = 1000) {
  return as_submitted(head, {"h", "Sun, 1 Nov 2026 00:00:00 +0000 (UTC)", "<u@h>", true, max_line}).value_or("unchanged");
}

const std::string date = "Date: Sun, 1 Nov 2026 00:00:00 +0000 (UTC)\r\n";
const std::string id = "Message-ID: <u@h>\r\n";

struct Head {
  const char* what;
  std::string head;
  std::string expected;
};
const Head heads[] = {
    {"complete", "To: a@x\r\ndate: x\r\nMESSAGE-id: y\r\n", "unchanged"},
    {"nothing at all", "", date + id},
    {"no Date", "Subject: s\r\n" + id, "Subject: s\r\n" + id + date},
    {"no Message-ID", date + "Subject: s\r\n\tfolded\r\n", date + "Subject: s\r\n\tfolded\r\n" + id},
    {"Resent-Date is no Date", "Resent-Date: x\r\n" + id, "Resent-Date: x\r\n" + id + date},
    {"a blank before the colon: not the name that smtpd looks for", "Date : x\r\nBcc : b\r\nTo : c\r\n" + id,
     "Date : x\r\nBcc : b\r\nTo : c\r\n" + id + date},
    {"Bcc, folded, twice", "Bcc: a,\r\n b\r\n" + date + "BCC:\r\n" + id, date + id},
    {"Resent-Bcc stays", date + "Resent-Bcc: a\r\n" + id, "unchanged"},
    {"addresses", date + "FROM: a\r\nTo: b,\r\n\tc\r\ncc:d\r\nReply-To: e\r\nSender: f\r\n" + id,
     date + "FROM: a@h\r\nTo: b@h,\r\n\tc@h\r\ncc:d@h\r\nReply-To: e\r\nSender: f\r\n" + id},
    {"nothing is folded anew", date + "To: a@x,\r\n \t b@x \r\n" + id, "unchanged"},
    {"what smtpd would change once more stays", date + "To:(x)\r\n" + id, "unchanged"},
    {"a line that is no field: smtpd refuses the mail", "To: a\r\nno field\r\n", "unchanged"},
    {"a first line that is a continuation", " To: a\r\n", "unchanged"},
};

TEST(AsSubmitted, Table) {
  for (const Head& row : heads) {
    const std::string once = submitted(row.head);
    EXPECT_EQ(once, row.expected) << row.what;
    if (once != "unchanged") {
      EXPECT_EQ(submitted(once), "unchanged") << row.what;
    }
  }
}

TEST(AsSubmitted, WhatIsNotKnownIsNotAdded) {
  EXPECT_EQ(as_submitted("To: a\r\n", {"h", "", "", true, 1000}), "To: a@h\r\n");
  EXPECT_EQ(as_submitted("To: a@x\r\n", {"h", "", "", true, 1000}), std::nullopt);
}

TEST(AsSubmitted, NoLineGrowsBeyondItsBound) {
  const std::string field = "To: " + std::string(94, 'a') + "\r\n";
  EXPECT_EQ(submitted(field + date + id, 100), "To: " + std::string(94, 'a') + "@h\r\n" + date + id);
  EXPECT_EQ(submitted(field + date + id, 99), "unchanged");
}

TEST(AsSubmitted, ListsOfBareNamesCannotBlowItUp) {
  std::string head = date + id;
  std::string field = "To: ";
  for (int i = 0; i < 200; ++i) field += "a,\r\n ";
  field += "a\r\n";
  for (int i = 0; i < 1000; ++i) head += field;
  const std::string host(255, 'h');
  const auto grown = as_submitted(head, {host, "", "", true, 1000});
  ASSERT_TRUE(grown);
  EXPECT_GT(grown->size(), head.size() + 1'000'000);
  EXPECT_LT(grown->size(), head.size() + 1'200'000);
}

TEST(ReceivedDate, StandsAtTheEndOfSmtpdsOwnField) {
  const std::string first =
      "X-Spam: Yes\r\nReceived: from c (c [192.0.2.1])\r\n\tby h (OpenSMTPD) with ESMTPSA id 0a1b2c3d (TLS;x) user=a;b\r\n"
      "\tfor <r@example.org>;\r\n\tSun, 1 Nov 2026 00:00:00 +0000 (UTC)\r\n";
  EXPECT_EQ(received_date(first + "Received: id 0a1b2c3d; other\r\n", "0a1b2c3d"), "Sun, 1 Nov 2026 00:00:00 +0000 (UTC)");
  EXPECT_EQ(received_date(first, "0a1b2c3e"), "");
  EXPECT_EQ(received_date(first, ""), "");
  EXPECT_EQ(received_date("Received: by x id 0a1b2c3d\r\n", "0a1b2c3d"), "");
  EXPECT_EQ(received_date("Received: x; by x id 0a1b2c3d\r\n", "0a1b2c3d"), "");
  EXPECT_EQ(received_date("Received: by x id 0a1b2c3d;\r\n\t" + std::string(64, 'd') + "\r\n", "0a1b2c3d"), std::string(64, 'd'));
  EXPECT_EQ(received_date("Received: by x id 0a1b2c3d;\r\n\t" + std::string(65, 'd') + "\r\n", "0a1b2c3d"), "");
  EXPECT_EQ(received_date("Received: by x id 0a1b2c3d;\r\n", "0a1b2c3d"), "");
  EXPECT_EQ(received_date("Subject: x\r\n", "0a1b2c3d"), "");
}

TEST(ReceivedDate, IsNotWhatTheClientAppends) {
  const std::string own = "Sun, 1 Nov 2026 00:00:00 +0000 (UTC)";
  for (const std::string before : {"auth=yes user=a", "auth=yes user=a;", "auth=yes user=a;\r\n\tfor <r@example.org>"}) {
    for (const char* forged : {"\t; Mon, 2 Nov 1998 00:00:00 +0000\r\n", " x;\r\n\tMon, 2 Nov 1998 00:00:00 +0000\r\n",
                               "\tfor <s@example.org>;\r\n\tMon, 2 Nov 1998 00:00:00 +0000\r\n"}) {
      const std::string head =
          "Received: from c\r\n\tby h (OpenSMTPD) with ESMTPSA id 0a1b2c3d " + before + ";\r\n\t" + own + "\r\n";
      EXPECT_EQ(received_date(head + forged, "0a1b2c3d"), own) << head << forged;
    }
  }
}

}  // namespace
}  // namespace mailbridge::mail
