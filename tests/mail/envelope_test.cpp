#include "mail/envelope.hpp"

#include <gtest/gtest.h>

namespace mailbridge::mail {
namespace {

TEST(Envelope, AddressesAsSmtpdReadsThem) {
  struct Row {
    std::string name;
    std::string text;
    std::string expected;
  };
  const Row rows[] = {
      {"plain", "a@example.net", "a@example.net"},
      {"null sender", "", ""},
      {"no domain", "postmaster", "postmaster@mx.example.org"},
      {"empty domain", "a@", "a@mx.example.org"},
      {"a domain of control bytes alone", "a@\x01\x02", "a@mx.example.org"},
      {"no local part", "@example.net", ""},
      {"case stays", "John.Doe@Example.NET", "John.Doe@Example.NET"},
      {"a tag stays", "a+tag@example.net", "a+tag@example.net"},
      {"the last '@' counts", "a@b@example.net", "a@b@example.net"},
      {"source route", "@one.example,@two.example:a@example.net", "a@example.net"},
      {"source route of a bare name", "@one.example:a", ""},
      {"up to the first ':' only", "a:b:c@example.net", "b:c@example.net"},
      {"nothing behind the ':'", "a:@example.net", ""},
      {"a ':' in the domain is no route", "a@[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]"},
      {"'|'", "a|b@example.net", "a|b@example.net"},
      {"what smtpd lets through before a ':'", "a\rX-Inj\x01\xe9:user@example.net", "user@example.net"},
      {"CR", "a\rb@example.net", "ab@example.net"},
      {"control bytes", "\x01 a\t\x7f@\x1f\x65xample.net", "a@example.net"},
      {"NUL", std::string("a\0b@example.net", 15), "ab@example.net"},
      {"8-bit", "j\xc3\xb6rg@ex\xe4mple.net", "jrg@exmple.net"},
      {"8-bit alone", "\xc3\xb6@example.net", ""},
      {"blanks", "a b@example.net ", "ab@example.net"},
      {"angle brackets", "<a>@<example.net>", "a@example.net"},
      {"quotes and commas stay", "\"a,b\"@example.net", "\"a,b\"@example.net"},
  };
  for (const Row& row : rows) EXPECT_EQ(normalised_address(row.text, "mx.example.org"), row.expected) << row.name;
}

TEST(Envelope, DefaultDomain) {
  EXPECT_EQ(normalised_address("root", ""), "root");
  EXPECT_EQ(normalised_address("root@", ""), "root");
  EXPECT_EQ(normalised_address("root", "m x\r\n.example"), "root@mx.example");
  EXPECT_EQ(normalised_address("root", "\x01"), "root");
  EXPECT_EQ(normalised_address("", "mx.example"), "");
}

}  // namespace
}  // namespace mailbridge::mail
