#include "policy/actions.hpp"

#include <gtest/gtest.h>

namespace mailbridge::policy {
namespace {

// As one line: what, and what goes with it.
std::string shown(const ActionRule& rule) {
  switch (rule.kind) {
    case ActionKind::accept:
      return "accept";
    case ActionKind::header:
      return "header <" + rule.header_name + "> <" + rule.header_value + ">";
    case ActionKind::subject:
      return "subject <" + rule.subject + ">";
    case ActionKind::tempfail:
      return "tempfail " + rule.code + " " + rule.enhanced + " <" + rule.text + ">";
    case ActionKind::reject:
      return "reject " + rule.code + " " + rule.enhanced + " <" + rule.text + ">";
  }
  return {};
}

TEST(Action, IsReadAsItIsWritten) {
  struct Row {
    std::string text;
    std::string name;
    std::string rule;
  };
  const Row rows[] = {
      {"greylist=accept", "greylist", "accept"},
      {" add header = accept ", "add header", "accept"},
      {"hold=header", "hold", "header <> <>"},
      {"hold=header X-Hold: for three days", "hold", "header <X-Hold> <for three days>"},
      {"hold=header X-Hold:a=b", "hold", "header <X-Hold> <a=b>"},
      {"rewrite subject=subject", "rewrite subject", "subject <>"},
      {"add header=subject", "add header", "subject <*** SPAM *** %s>"},
      {"add header=subject [junk %d] %s", "add header", "subject <[junk %d] %s>"},
      {"greylist=tempfail", "greylist", "tempfail 451 4.7.1 <>"},
      {"greylist=tempfail Come back later", "greylist", "tempfail 451 4.7.1 <Come back later>"},
      {"add header=reject", "add header", "reject 554 5.7.1 <>"},
      {"add header=reject 550", "add header", "reject 550 5.7.1 <>"},
      {"add header=reject 550 5.7.0", "add header", "reject 550 5.7.0 <>"},
      {"add header=reject 5.7.0 No", "add header", "reject 554 5.7.0 <No>"},
      {"add header=reject 550 No spam, please", "add header", "reject 550 5.7.1 <No spam, please>"},
      {"add header=reject No 550", "add header", "reject 554 5.7.1 <No 550>"},
  };
  for (const Row& row : rows) {
    const auto action = parse_action(row.text);
    ASSERT_TRUE(action) << row.text << ": " << action.error().what;
    EXPECT_EQ(action->first, row.name) << row.text;
    EXPECT_EQ(shown(action->second), row.rule) << row.text;
  }
}

TEST(Action, SaysWhatIsWrong) {
  struct Row {
    std::string text;
    std::string what;
  };
  const Row rows[] = {
      {"", "NAME=DO is wanted, not "},
      {"reject", "NAME=DO is wanted, not reject"},
      {"=accept", "NAME=DO is wanted, not =accept"},
      {"add_header=accept", "add_header is called \"add header\" in rspamd's replies"},
      {"No_Action=accept", "No_Action is called \"no action\" in rspamd's replies"},
      {"hold=", "hold: one of accept, header, subject, tempfail and reject is wanted, not "},
      {"hold=rejct", "hold: one of accept, header, subject, tempfail and reject is wanted, not rejct; did you mean reject?"},
      {"rejct=accept", "rejct is no action of rspamd's; did you mean reject?"},
      {"soft-reject=accept", "soft-reject is no action of rspamd's; did you mean soft reject?"},
      {"addheader=accept", "addheader is no action of rspamd's; did you mean add header?"},
      {"rewrite-subjet=accept", "rewrite-subjet is no action of rspamd's; did you mean rewrite subject?"},
      {"hold=quarantine", "hold: one of accept, header, subject, tempfail and reject is wanted, not quarantine"},
      {"hold=accept it", "hold: nothing can follow accept"},
      {"hold=header X-Hold", "hold: header wants NAME: VALUE, not X-Hold"},
      {"hold=header X-Hold:", "hold: header wants NAME: VALUE, not X-Hold:"},
      {"hold=header X Hold: x", "hold: header wants NAME: VALUE, not X Hold: x"},
      {"hold=header : x", "hold: header wants NAME: VALUE, not : x"},
      {"hold=reject 451 later", "hold: reject wants a code from 500 to 559, not 451"},
      {"hold=reject 599", "hold: reject wants a code from 500 to 559, not 599"},
      {"hold=reject two\nlines", "hold: printable ASCII without double quotes is wanted, 400 bytes at most"},
      {"hold=reject a \"word\"", "hold: printable ASCII without double quotes is wanted, 400 bytes at most"},
      {"hold=reject n\xc3\xb6", "hold: printable ASCII without double quotes is wanted, 400 bytes at most"},
      {"hold=reject " + std::string(400, 'x'), "hold: printable ASCII without double quotes is wanted, 400 bytes at most"},
  };
  for (const Row& row : rows) {
    const auto action = parse_action(row.text);
    ASSERT_FALSE(action) << row.text;
    EXPECT_EQ(action.error().what, row.what);
  }
}

TEST(Subject, IsMadeFromTheOldOne) {
  EXPECT_EQ(expand_subject("*** SPAM *** %s", " hello\r\n folded\r\n", 7.5), "*** SPAM *** hello\r\n folded");
  EXPECT_EQ(expand_subject("[%d] %s %% %x %", "a%s", -1), "[-1.00] a%s % %x %");
  EXPECT_EQ(expand_subject("spam: %s", "", 0), "spam:");
  EXPECT_EQ(expand_subject("%s", std::string(10'000, 'x'), 0).size(), 4096U);
  const std::string fits(4096, 'x');
  EXPECT_EQ(expand_subject("%s", fits, 0), fits);
  EXPECT_EQ(expand_subject("%s", "one\r\n\t" + fits, 0), "one") << "an encoded word is of no use when it is cut";
  EXPECT_EQ(expand_subject("%s", fits + " two", 0), fits);
}

}  // namespace
}  // namespace mailbridge::policy
