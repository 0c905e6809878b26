#include "agent/received.hpp"

#include <gtest/gtest.h>

namespace mailbridge::agent {
namespace {

// "ip/helo/hostname/mta/id/user/tls"
std::string shown(const std::string& head) {
  const mail::Envelope e = envelope_of(head, "s@x", "r@y");
  EXPECT_EQ(e.sender, "s@x");
  EXPECT_EQ(e.recipients, std::vector<std::string>{"r@y"});
  return e.ip + "/" + e.helo + "/" + e.hostname + "/" + e.mta_name + "/" + e.queue_id + "/" + e.user + "/" + e.tls_version + " " +
         e.tls_cipher;
}

TEST(Received, WhatSmtpdWrote) {
  struct Row {
    std::string head, expected;
  };
  const Row rows[] = {
      {"Received: from mx.example.net (host.example.net [192.0.2.25])\r\n\tby mail.example.org (OpenSMTPD) with ESMTP id "
       "0123abcd\r\n"
       "\tfor <u@example.org>;\r\n\tSun, 1 Jun 2025 10:00:00 +0000 (UTC)\r\n",
       "192.0.2.25/mx.example.net/host.example.net/mail.example.org/0123abcd// "},
      {"Return-Path: <s@x>\r\nX-Spam: Yes\r\nReceived: from [192.0.2.7] (<unknown> [2001:db8::7])\r\n"
       "\tby m (OpenSMTPD) with SMTP id 9c970082;\r\n\tDATE\r\nReceived: from a (b [198.51.100.1])\r\n\tby c (OpenSMTPD) with "
       "ESMTP id 1\r\n",
       "2001:db8::7/[192.0.2.7]//m/9c970082// "},
      {"Received: from localhost (vm [local])\r\n\tby vm (OpenSMTPD) with ESMTPA id f45e828d\r\n\tfor <u@x>;\r\n\tDATE\r\n",
       "127.0.0.1/localhost//vm/f45e828d// "},
      {"Received: from laptop (h.example [192.0.2.9])\r\n\tby m (OpenSMTPD) with ESMTPSA id 45ef3497 "
       "(TLSv1.3:TLS_AES_256_GCM_SHA384:256:NO) auth=yes user=alice;\r\n\tDATE\r\n",
       "192.0.2.9/laptop/h.example/m/45ef3497/alice/TLSv1.3 TLS_AES_256_GCM_SHA384"},
      {"Received: from laptop (h.example [192.0.2.9])\r\n\tby m (OpenSMTPD) with ESMTPSA id 45ef3497 (TLSv1.2:X:256:NO)\r\n"
       "\tfor <u@x>;\r\n\tDATE\r\n",
       "192.0.2.9/laptop/h.example/m/45ef3497/authenticated/TLSv1.2 X"},
      {"Received: \r\n\tby m (OpenSMTPD) with ESMTP id 1;\r\n\tDATE\r\n", "///m/1// "},
      {"Received: from a (b [192.0.2.1])\r\n\tby c (Postfix) with ESMTP id 1;\r\n\tDATE\r\n", "////// "},
      {"Received: from a (b [192.0.2.1]) by c (OpenSMTPD) with ESMTP id 1; DATE\r\n", "////// "},
      {"Received: from a\r\n\tby c (OpenSMTPD) with ESMTP id 1;\r\n\tDATE\r\n", "///c/1// "},
      {"Subject: none\r\n", "////// "},
      {"", "////// "},
  };
  for (const Row& row : rows) EXPECT_EQ(shown(row.head), row.expected) << row.head;
}

// A client whose first line begins with a blank continues smtpd's field (before OpenSMTPD 7.5, or with a filter).
TEST(Received, WhatTheClientAppendsTellsNothing) {
  struct Row {
    std::string head, expected;
  };
  const Row rows[] = {
      {"Received: from c (h.example [192.0.2.9])\r\n\tby m (OpenSMTPD) with ESMTP id 45ef3497\r\n\tfor <u@x>;\r\n\tDATE\r\n",
       "192.0.2.9/c/h.example/m/45ef3497// "},
      {"Received: from c (h.example [192.0.2.9])\r\n\tby m (OpenSMTPD) with ESMTP id 45ef3497;\r\n\tDATE\r\n",
       "192.0.2.9/c/h.example/m/45ef3497// "},
      {"Received: \r\n\tby m (OpenSMTPD) with ESMTP id 45ef3497;\r\n\tDATE\r\n", "///m/45ef3497// "},
  };
  const std::string forgeries[] = {
      " auth=yes user=root\r\n",
      "\twith ESMTPSA id 1 (TLSv1.3:X:256:NO) auth=yes user=root;\r\n",
      "\tby m (OpenSMTPD) with ESMTPSA id 1 (TLSv1.3:X:256:NO) auth=yes user=root;\r\n\tDATE\r\n",
      "\tfrom localhost (vm [local])\r\n\tby vm (OpenSMTPD) with ESMTPA id 1;\r\n\tDATE\r\n",
      " from a (b [127.0.0.1])\r\n",
      "\tReceived: from a (b [127.0.0.1])\r\n\tby m (OpenSMTPD) with ESMTPSA id 1 auth=yes user=root;\r\n",
  };
  for (const Row& row : rows) {
    for (const std::string& forged : forgeries) {
      EXPECT_EQ(shown(row.head + forged), row.expected) << row.head << forged;
      EXPECT_EQ(shown(row.head + forged + "Received: from a (b [127.0.0.1])\r\n\tby m (OpenSMTPD) with ESMTPSA id 1;\r\n"),
                row.expected)
          << row.head << forged;
    }
  }
}

}  // namespace
}  // namespace mailbridge::agent
