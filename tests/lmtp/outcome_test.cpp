#include "lmtp/outcome.hpp"

#include <gtest/gtest.h>

namespace mailbridge::lmtp {
namespace {

Outcome answered(Stage stage, int code, std::string enhanced = {}, std::string text = "text") {
  return {stage, Reply{code, std::move(enhanced), {std::move(text)}}, {}};
}

TEST(ExitStatus, ByStageAndCode) {
  struct Row {
    Stage stage;
    int code;
    std::string enhanced;
    int status;
  };
  const Row rows[] = {
      {Stage::dot, 250, "2.0.0", 0},   {Stage::dot, 251, "", 0},        {Stage::dot, 354, "", 75},
      {Stage::rcpt, 250, "", 75},      {Stage::body, 250, "", 75},      {Stage::data, 250, "", 75},
      {Stage::dot, 451, "4.2.0", 75},  {Stage::dot, 421, "4.3.2", 75},  {Stage::rcpt, 452, "4.2.2", 75},
      {Stage::banner, 554, "", 75},    {Stage::lhlo, 550, "5.7.1", 75}, {Stage::mail, 550, "5.1.8", 75},
      {Stage::mail, 555, "5.5.4", 75}, {Stage::mail, 552, "5.2.3", 65}, {Stage::mail, 552, "5.3.4", 65},
      {Stage::mail, 552, "", 75},      {Stage::rcpt, 550, "5.1.1", 67}, {Stage::rcpt, 550, "", 67},
      {Stage::rcpt, 552, "5.2.2", 69}, {Stage::rcpt, 501, "5.5.4", 65}, {Stage::rcpt, 501, "", 65},
      {Stage::rcpt, 503, "5.5.1", 75}, {Stage::rcpt, 500, "", 75},      {Stage::rcpt, 555, "", 75},
      {Stage::rcpt, 550, "5.1.0", 67}, {Stage::rcpt, 550, "5.1.3", 65}, {Stage::rcpt, 550, "5.1.6", 67},
      {Stage::rcpt, 550, "5.7.1", 77}, {Stage::data, 503, "5.5.0", 75}, {Stage::data, 503, "", 75},
      {Stage::data, 554, "5.5.1", 75}, {Stage::dot, 552, "5.2.2", 69},  {Stage::dot, 552, "5.2.3", 65},
      {Stage::dot, 550, "", 69},       {Stage::dot, 554, "5.3.0", 75},  {Stage::dot, 554, "5.3.4", 65},
      {Stage::dot, 554, "5.4.6", 75},  {Stage::dot, 554, "5.6.0", 69},  {Stage::dot, 550, "5.7.1", 77},
      {Stage::dot, 501, "", 75},       {Stage::body, 552, "5.3.4", 65}, {Stage::body, 554, "", 69},
      {Stage::dot, 599, "", 75},       {Stage::rcpt, 530, "5.7.0", 75}, {Stage::rcpt, 530, "", 75},
      {Stage::rcpt, 503, "5.0.0", 75}, {Stage::data, 503, "5.0.0", 75}, {Stage::dot, 500, "5.7.1", 75},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(exit_status(answered(row.stage, row.code, row.enhanced)), row.status)
        << name(row.stage) << row.code << row.enhanced;
  }
  EXPECT_EQ(exit_status({Stage::dot, std::nullopt, "x", true}), 75);
  EXPECT_EQ(exit_status({Stage::connect, std::nullopt, "x"}), 75);
}

TEST(ExitStatus, ByPolicy) {
  using Oversize = Policies::Oversize;
  const Policies unknown_later{true, false, Oversize::answered};
  const Policies full_later{false, true, Oversize::answered};
  const Policies permanent{false, false, Oversize::permanent};
  const Policies later{false, false, Oversize::later};
  const std::string too_large = "<u@x> Mail size is larger than the maximum size allowed by server configuration";
  struct Row {
    Policies policies;
    Outcome outcome;
    int status;
  };
  const Row rows[] = {
      {unknown_later, answered(Stage::rcpt, 550, "5.1.1"), 75},
      {unknown_later, answered(Stage::rcpt, 552, "5.2.2"), 69},
      {unknown_later, answered(Stage::rcpt, 550, "5.7.1"), 77},
      {full_later, answered(Stage::rcpt, 552, "5.2.2"), 75},
      {full_later, answered(Stage::dot, 552, "5.2.2"), 75},
      {full_later, answered(Stage::dot, 552), 75},
      {full_later, answered(Stage::dot, 552, "5.2.0"), 69},
      {full_later, answered(Stage::dot, 552, "5.2.3"), 65},
      {full_later, answered(Stage::rcpt, 550, "5.1.1"), 67},
      {{}, answered(Stage::dot, 451, "4.2.0", too_large), 75},
      {permanent, answered(Stage::dot, 451, "4.2.0", too_large), 65},
      {permanent, answered(Stage::dot, 552, "5.2.3"), 65},
      {permanent, answered(Stage::mail, 452, "4.3.4"), 65},
      {permanent, answered(Stage::dot, 451, "4.2.0", "Sieve was aborted"), 75},
      {permanent, answered(Stage::dot, 250, "2.0.0", too_large), 0},
      {permanent, answered(Stage::banner, 451, "4.2.0", too_large), 75},
      {permanent, answered(Stage::dot, 421, "4.3.4"), 75},
      {permanent, {Stage::dot, std::nullopt, too_large, true}, 75},
      {later, answered(Stage::dot, 552, "5.2.3"), 75},
      {later, answered(Stage::mail, 552, "5.3.4"), 75},
      {later, answered(Stage::dot, 552, "5.2.2"), 69},
  };
  for (const Row& row : rows) {
    const Outcome& outcome = row.outcome;
    EXPECT_EQ(exit_status(outcome, row.policies), row.status)
        << name(outcome.stage) << (outcome.reply ? outcome.reply->code : 0) << (outcome.reply ? outcome.reply->enhanced : "");
  }
}

TEST(LastLine, Texts) {
  struct Row {
    Outcome outcome;
    std::string expected;
  };
  const Row rows[] = {
      {answered(Stage::dot, 250), ""},
      {answered(Stage::dot, 552, "5.2.2", "<u@x> Quota exceeded"), "552 5.2.2 <u@x> Quota exceeded (lmtp=/p, stage=dot)"},
      {answered(Stage::rcpt, 550, "", "no\tsuch \"user\"\x01\xff"), "550 <u@x> no such 'user' ? (lmtp=/p, stage=rcpt)"},
      {answered(Stage::rcpt, 550, "", ""), "550 <u@x> (lmtp=/p, stage=rcpt)"},
      {{Stage::connect, std::nullopt, "nobody listens there"}, "451 4.4.1 <u@x> nobody listens there (lmtp=/p, stage=connect)"},
      {{Stage::connect, std::nullopt, "no descriptor", false, true}, "451 4.3.0 <u@x> no descriptor (lmtp=/p, stage=connect)"},
      {{Stage::body, std::nullopt, "the server closed the connection"},
       "451 4.4.2 <u@x> the server closed the connection (lmtp=/p, stage=body)"},
      {{Stage::dot, std::nullopt, "no reply in time", true},
       "451 4.4.2 <u@x> no reply in time; outcome unknown, may be delivered twice (lmtp=/p, stage=dot)"},
  };
  for (const Row& row : rows) EXPECT_EQ(last_line(row.outcome, "u@x", "/p"), row.expected);
}

TEST(LastLine, IsBounded) {
  const std::string line =
      last_line(answered(Stage::dot, 552, "5.2.2", std::string(1000, 'x')), std::string(300, 'r'), std::string(300, 'p'));
  EXPECT_EQ(line.size(), max_last_line);
  EXPECT_TRUE(line.ends_with(", stage=dot)")) << line;
  EXPECT_TRUE(line.starts_with("552 5.2.2 <rrr")) << line;
}

TEST(LogNote, OneLineOfKeysAndValues) {
  std::array<Duration, stages> spent{};
  spent[static_cast<std::size_t>(Stage::connect)] = std::chrono::milliseconds(3);
  spent[static_cast<std::size_t>(Stage::dot)] = std::chrono::milliseconds(12);
  const Note delivered =
      log_note(answered(Stage::dot, 250, "2.0.0", "<u@x> 5HcX Saved"), {"", "u@x", "2ac23942", "/p", 57, 0, spent});
  EXPECT_EQ(delivered.level, Level::info);
  EXPECT_EQ(delivered.text,
            "from=<> to=<u@x> msgid=2ac23942 bytes=57 lmtp=/p stage=dot status=0 outcome=delivered reply=\"250 2.0.0 <u@x> 5HcX "
            "Saved\" input_ms=0 connect_ms=3 banner_ms=0 lhlo_ms=0 mail_ms=0 rcpt_ms=0 data_ms=0 body_ms=0 dot_ms=12 "
            "total_ms=15");
  const Note unknown = log_note({Stage::dot, std::nullopt, "no reply in time", true}, {"a@b", "u@x", "", "/p", 57, 75, spent});
  EXPECT_EQ(unknown.level, Level::error);
  EXPECT_NE(unknown.text.find(" status=75 outcome=unknown reason=\"no reply in time\" note=\"may be delivered twice\" "),
            std::string::npos);
  const Note refused = log_note(answered(Stage::rcpt, 550, "5.1.1", "no"), {"a@b", "u@x", "", "/p", 57, 67, spent});
  EXPECT_NE(refused.text.find(" stage=rcpt status=67 outcome=refused reply=\"550 5.1.1 no\" "), std::string::npos)
      << refused.text;
  EXPECT_EQ(refused.text.find("dot_ms"), std::string::npos);
}

}  // namespace
}  // namespace mailbridge::lmtp
