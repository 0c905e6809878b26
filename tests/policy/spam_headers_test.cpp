#include "policy/spam_headers.hpp"

#include <gtest/gtest.h>

#include "mail/headers.hpp"

namespace mailbridge::policy {
namespace {

using namespace std::chrono_literals;
using rspamd::Verdict;

// As they stand in the mail, top down; "--" between those on top and those at the end.
std::string lines(const std::vector<rspamd::AddHeader>& headers) {
  std::string top, end;
  for (const auto& [name, value, order] : headers) {
    const std::string field = mail::make_field(name, value);
    if (order == 0) top = field + top;
    else end += field;
  }
  std::string all = top + "--\n" + end;
  std::erase(all, '\r');
  return all;
}

Verdict verdict(std::string action, double score = 0, double required = 15, std::vector<rspamd::Symbol> symbols = {}) {
  Verdict verdict;
  verdict.action = std::move(action);
  verdict.score = score;
  verdict.required_score = required;
  verdict.symbols = std::move(symbols);
  return verdict;
}

TEST(SpamHeaders, AsTheMilterWritesThem) {
  const auto milter = [](const Verdict& verdict, Spam spam) {
    return lines(spam_headers({SpamHeaders::milter, 1s}, verdict, spam));
  };
  Verdict spam = verdict("add header", 7, 15, {{"A", 7}});
  EXPECT_EQ(milter(spam, Spam::no), "--\n");
  EXPECT_EQ(milter(spam, Spam::subject), "--\n");
  EXPECT_EQ(milter(spam, Spam::junk), "--\nX-Spam: Yes\n");
  spam.spam_headers = {{"X-Junk", "1", 1}, {"X-Spam", "very", -1}};
  EXPECT_EQ(milter(spam, Spam::junk), "--\nX-Junk: 1\nX-Spam: very\n");
  EXPECT_EQ(milter(spam, Spam::no), "--\n");
  spam.no_action = true;
  EXPECT_EQ(milter(spam, Spam::no), "--\nX-Junk: 1\nX-Spam: very\n");
  spam.action = "reject";
  EXPECT_EQ(milter(spam, Spam::no), "--\n");
  EXPECT_EQ(milter(spam, Spam::junk), "--\nX-Spam: Yes\n") << "spam_header belongs to add header";
}

TEST(SpamHeaders, AsRspamcWritesThem) {
  const auto rspamc = [](const Verdict& verdict, Spam spam, Duration time) {
    return lines(spam_headers({SpamHeaders::rspamc, time}, verdict, spam));
  };
  EXPECT_EQ(rspamc(verdict("add header", 7.456, 15, {{"SECOND", 1}, {"FIRST", 6.456}, {"THIRD", 0}}), Spam::junk, 12ms),
            "--\nX-Spam-Scanner: filter-mailbridge\nX-Spam-Scan-Time: 0.012\nX-Spam: yes\nX-Spam-Action: add header\n"
            "X-Spam-Score: 7.46 / 15.00\nX-Spam-Level: ********\nX-Spam-Symbols: SECOND,\n\tFIRST,\n\tTHIRD\n");
  EXPECT_EQ(rspamc(verdict("no action", -0.1), Spam::no, 12345ms),
            "--\nX-Spam-Scanner: filter-mailbridge\nX-Spam-Scan-Time: 12.3\nX-Spam-Action: no action\n"
            "X-Spam-Score: -0.10 / 15.00\nX-Spam-Level:\nX-Spam-Symbols:\n");
  EXPECT_NE(rspamc(verdict("rewrite subject"), Spam::subject, 0s).find("\nX-Spam: yes\n"), std::string::npos);
  EXPECT_NE(rspamc(verdict("reject", 1e6), Spam::no, 0s).find("\nX-Spam-Level: ********************************\n"),
            std::string::npos);
  EXPECT_NE(rspamc(verdict("no action", 3), Spam::no, 0s).find("\nX-Spam-Level: ***\n"), std::string::npos);
  EXPECT_NE(rspamc(verdict("to the\nattic"), Spam::no, 0s).find("\nX-Spam-Action: to the attic\n"), std::string::npos);
}

TEST(SpamHeaders, AsFilterRspamdWritesThem) {
  const auto filter_rspamd = [](const Verdict& verdict, Spam spam = Spam::junk) {
    return lines(spam_headers({SpamHeaders::filter_rspamd, 1s}, verdict, spam));
  };
  EXPECT_EQ(filter_rspamd(verdict("no action", 8, 15, {{"A", 8}}), Spam::no), "--\n");
  EXPECT_EQ(filter_rspamd(verdict("rewrite subject", 8, 15, {{"A", 8}}), Spam::subject), "--\n");
  EXPECT_EQ(filter_rspamd(verdict("add header", 7.1, 15)), "X-Spam: yes\nX-Spam-Score: 7.1 / 15\n--\n");
  // A line of tests may have 68 bytes, and where it is broken there is no comma.
  EXPECT_EQ(filter_rspamd(verdict("add header", 7.1, 15.25,
                                  {{"TWENTY_TWO_BYTES_LONG", -0.1},
                                   {"A", 8},
                                   {"TWENTY_TWO_BYTES_MORE", 0},
                                   {"ONE_THAT_DOES_NOT_FIT", 0.0005},
                                   {"A", 7.25}})),
            "X-Spam: yes\nX-Spam-Score: 7.1 / 15.25\nX-Spam-Status: Yes, score=7.100 required=15.250\n"
            "\ttests=[A=7.250, ONE_THAT_DOES_NOT_FIT=0.001\n\tTWENTY_TWO_BYTES_LONG=-0.100, TWENTY_TWO_BYTES_MORE=0.000]\n--\n");
  for (const auto& [score, text] : {std::pair(1e6, "1000000"), std::pair(-0.0001, "-0.0001"), std::pair(0.00001, "1e-05"),
                                    std::pair(1e21, "1e+21"), std::pair(0.0, "0"), std::pair(4.85, "4.85")}) {
    EXPECT_EQ(filter_rspamd(verdict("add header", score)), "X-Spam: yes\nX-Spam-Score: " + std::string(text) + " / 15\n--\n");
  }
}

TEST(SpamHeaders, WithoutAVerdict) {
  EXPECT_EQ(lines(spam_headers({SpamHeaders::milter, 1s}, "unreachable: x")), "--\nX-Spam-Error: unreachable: x\n");
  EXPECT_EQ(lines(spam_headers({SpamHeaders::filter_rspamd, 1s}, "unreachable: x")), "--\nX-Spam-Error: unreachable: x\n");
  EXPECT_EQ(lines(spam_headers({SpamHeaders::rspamc, 1500ms}, "unreachable: x")),
            "--\nX-Spam-Scanner: filter-mailbridge\nX-Spam-Scan-Time: 1.5\nX-Spam-Error: unreachable: x\n");
}

TEST(SpamHeaders, Names) {
  EXPECT_EQ(parse_spam_headers("milter"), SpamHeaders::milter);
  EXPECT_EQ(parse_spam_headers("rspamc"), SpamHeaders::rspamc);
  EXPECT_EQ(parse_spam_headers("filter-rspamd"), SpamHeaders::filter_rspamd);
  EXPECT_FALSE(parse_spam_headers("spamassassin"));
}

// Numbers are rspamd's: the largest there are still fit.
TEST(SpamHeaders, HugeScores) {
  for (const SpamHeaders set : {SpamHeaders::rspamc, SpamHeaders::filter_rspamd}) {
    const auto headers = spam_headers({set, 1s}, verdict("add header", 1.7e308, -1.7e308, {{"A", 1.7e308}}), Spam::junk);
    for (const auto& header : headers) EXPECT_FALSE(mail::make_field(header.name, header.value).empty());
  }
}

}  // namespace
}  // namespace mailbridge::policy
