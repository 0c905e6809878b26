#include "lmtp/trace.hpp"

#include <gtest/gtest.h>

namespace mailbridge::lmtp {
namespace {

TEST(Trace, ExactlyWhatSmtpdPrepended) {
  struct Row {
    std::string name;
    std::string mail;
    std::string sender;
    std::string left;
  };
  const std::string both = "Return-Path: <a@b.c>\nDelivered-To: u@x\n";
  const Row rows[] = {
      {"both", both + "Received: x\n", "a@b.c", "Received: x\n"},
      {"null sender", "Delivered-To: u@x\nReceived: x\n", "", "Received: x\n"},
      {"nothing follows", both, "a@b.c", ""},
      {"once only", both + both + "S: x\n", "a@b.c", both + "S: x\n"},
      {"a Return-Path of the mail stays", "Delivered-To: u@x\nReturn-Path: <z@z>\n", "", "Return-Path: <z@z>\n"},
      {"the null sender has no Return-Path", "Return-Path: <>\nDelivered-To: u@x\n", "", "Return-Path: <>\nDelivered-To: u@x\n"},
      {"another sender", "Return-Path: <z@b.c>\nDelivered-To: u@x\n", "a@b.c", "Return-Path: <z@b.c>\nDelivered-To: u@x\n"},
      {"a sender mangled by %{sender}", "Return-Path: <b+1=o'x@b.c>\nDelivered-To: u@x\nS: x\n", "b+1=o:x@b.c", "S: x\n"},
      {"mangling is not a wildcard", "Return-Path: <bob@b.c>\nDelivered-To: u@x\n", "b:b@b.c",
       "Return-Path: <bob@b.c>\nDelivered-To: u@x\n"},
      {"Return-Path alone", "Return-Path: <a@b.c>\nS: x\n", "a@b.c", "Return-Path: <a@b.c>\nS: x\n"},
      {"Delivered-To alone with a sender", "Delivered-To: u@x\nS: x\n", "a@b.c", "Delivered-To: u@x\nS: x\n"},
      {"not at the top", "S: x\n" + both, "a@b.c", "S: x\n" + both},
      {"smtpd writes LF", "Return-Path: <a@b.c>\r\nDelivered-To: u@x\r\n", "a@b.c",
       "Return-Path: <a@b.c>\r\nDelivered-To: u@x\r\n"},
      {"unfinished", "Return-Path: <a@b.c>\nDelivered-To: u@x", "a@b.c", "Return-Path: <a@b.c>\nDelivered-To: u@x"},
      {"empty", "", "a@b.c", ""},
      {"empty, null sender", "", "", ""},
  };
  for (const Row& row : rows) EXPECT_EQ(without_smtpd_trace(row.mail, row.sender), row.left) << row.name;
}

}  // namespace
}  // namespace mailbridge::lmtp
