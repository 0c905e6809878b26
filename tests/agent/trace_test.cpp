#include "agent/trace.hpp"

#include <gtest/gtest.h>

namespace mailbridge::agent {
namespace {

TEST(Trace, ExactlyWhatSmtpdPrepended) {
  struct Row {
    std::string name;
    std::string mail;
    std::string sender;
    std::string left;
  };
  const std::string both = "Return-Path: <a@b.c>\r\nDelivered-To: u@x\r\n";
  const Row rows[] = {
      {"both", both + "Received: x\r\n", "a@b.c", "Received: x\r\n"},
      {"null sender", "Delivered-To: u@x\r\nReceived: x\r\n", "", "Received: x\r\n"},
      {"nothing follows", both, "a@b.c", ""},
      {"once only", both + both + "S: x\r\n", "a@b.c", both + "S: x\r\n"},
      {"a Return-Path of the mail stays", "Delivered-To: u@x\r\nReturn-Path: <z@z>\r\n", "", "Return-Path: <z@z>\r\n"},
      {"the null sender has no Return-Path", "Return-Path: <>\r\nDelivered-To: u@x\r\n", "",
       "Return-Path: <>\r\nDelivered-To: u@x\r\n"},
      {"another sender", "Return-Path: <z@b.c>\r\nDelivered-To: u@x\r\n", "a@b.c",
       "Return-Path: <z@b.c>\r\nDelivered-To: u@x\r\n"},
      {"a sender mangled by %{sender}", "Return-Path: <b+1=o'x@b.c>\r\nDelivered-To: u@x\r\nS: x\r\n", "b+1=o:x@b.c", "S: x\r\n"},
      {"mangling is not a wildcard", "Return-Path: <bob@b.c>\r\nDelivered-To: u@x\r\n", "b:b@b.c",
       "Return-Path: <bob@b.c>\r\nDelivered-To: u@x\r\n"},
      {"Return-Path alone", "Return-Path: <a@b.c>\r\nS: x\r\n", "a@b.c", "Return-Path: <a@b.c>\r\nS: x\r\n"},
      {"Delivered-To alone with a sender", "Delivered-To: u@x\r\nS: x\r\n", "a@b.c", "Delivered-To: u@x\r\nS: x\r\n"},
      {"not at the top", "S: x\r\n" + both, "a@b.c", "S: x\r\n" + both},
      {"empty", "", "a@b.c", ""},
      {"empty, null sender", "", "", ""},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(row.mail.substr(smtpd_trace_size(row.mail, row.sender)), row.left) << row.name;
  }
}

}  // namespace
}  // namespace mailbridge::agent
