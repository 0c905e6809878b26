#include "rspamd/verdict.hpp"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recordings.hpp"

namespace mailbridge::rspamd {

namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::UnorderedElementsAre;

std::string show(const AddHeader& h) { return h.name + "=" + h.value + "@" + std::to_string(h.order); }
std::string show(const RemoveHeader& h) { return h.name + "@" + std::to_string(h.index); }

template <class T>
std::vector<std::string> shown(const std::vector<T>& things) {
  std::vector<std::string> lines;
  lines.reserve(things.size());
  for (const T& thing : things) lines.push_back(show(thing));
  return lines;
}

Verdict parsed(const std::string& json) {
  ScanResult result = parse_verdict(json);
  EXPECT_TRUE(result) << json << ": " << (result ? "" : result.error().what);
  return result ? *result : Verdict{};
}

Verdict with_milter(const std::string& milter) { return parsed(R"({"action":"no action","milter":{)" + milter + "}}"); }

TEST(Verdict, AddHeadersInAllShapes) {
  using Lines = std::vector<std::string>;
  struct Row {
    std::string json;
    Lines expected;
    Lines unsupported = {};
  };
  const Lines left_out = {"add_headers"};
  const Row rows[] = {
      {R"({})", {}},
      {R"({"X":"v"})", {"X=v@-1"}},
      {R"({"X":{"value":"v"}})", {"X=v@-1"}},
      {R"({"X":{"value":"v","order":0}})", {"X=v@0"}},
      {R"({"X":{"index":3,"value":"v"}})", {"X=v@3"}},
      {R"({"X":{"value":"v","order":-2,"index":3}})", {"X=v@-2"}},
      {R"({"X":{"value":"v","order":1.9}})", {"X=v@1"}},
      {R"({"X":{"value":"v","order":-1.9}})", {"X=v@-1"}},
      {R"({"X":{"value":"v","order":"1"}})", {"X=v@-1"}},
      {R"({"X":{"value":"v","order":null}})", {"X=v@-1"}},
      {R"({"X":{"value":"v","order":1e+25}})", {"X=v@1000000"}},
      {R"({"X":{"value":"v","order":-9223372036854775808}})", {"X=v@-1000000"}},
      {R"({"X":{"value":"v","order":18446744073709551615}})", {"X=v@1000000"}},
      {R"({"X":["a",{"value":"b","order":1},{"value":"c"}]})", {"X=a@-1", "X=b@1", "X=c@-1"}},
      {R"({"X":[]})", {}},
      {R"({"Z":"1","A":"2","X":"3"})", {"Z=1@-1", "A=2@-1", "X=3@-1"}},
      {R"({"X":"a","Y":"b","X":"c"})", {"X=a@-1", "Y=b@-1", "X=c@-1"}},
      {R"({"X":"a\r\n\tb"})", {"X=a\r\n\tb@-1"}},
      {R"({"X":""})", {"X=@-1"}},
      {R"({"X":3,"Y":true,"Z":null,"A":"v"})", {"A=v@-1"}, left_out},
      {R"({"X":{"value":3},"Y":{"order":1}})", {}, left_out},
      {R"({"X":[1,"a",["b"]]})", {"X=a@-1"}, left_out},
      {R"({"":"v","X Y":"v","X:":"v","X\r\nY":"v","Ö":"v","Ok!":"v"})", {"Ok!=v@-1"}, left_out},
      {R"("X")", {}},
  };
  for (const Row& row : rows) {
    const Verdict verdict = with_milter(R"("add_headers":)" + row.json);
    EXPECT_EQ(shown(verdict.add_headers), row.expected) << row.json;
    EXPECT_EQ(verdict.unsupported, row.unsupported) << row.json;
  }
}

TEST(Verdict, RemoveHeadersInAllShapes) {
  using Lines = std::vector<std::string>;
  struct Row {
    std::string json;
    Lines expected;
    Lines unsupported = {};
  };
  const Row rows[] = {
      {R"({"X":0})", {"X@0"}},
      {R"({"X":2,"A":-1})", {"X@2", "A@-1"}},
      {R"({"X":1.0})", {"X@1"}},
      {R"({"X":[1,-2,3.0]})", {"X@1", "X@-2", "X@3"}},
      {R"({"X":[]})", {}},
      {R"({"X":1e+300,"Y":-1e+300})", {"X@1000000", "Y@-1000000"}},
      {R"({"X":"1","Y":null,"Z":[true,1],"A B":0})", {"Z@1"}, {"remove_headers"}},
      {R"([0])", {}},
  };
  for (const Row& row : rows) {
    const Verdict verdict = with_milter(R"("remove_headers":)" + row.json);
    EXPECT_EQ(shown(verdict.remove_headers), row.expected) << row.json;
    EXPECT_EQ(verdict.unsupported, row.unsupported) << row.json;
  }
}

TEST(Verdict, SpamHeaderNoActionRejectAndWhatWeCannot) {
  EXPECT_THAT(shown(with_milter(R"("spam_header":"maybe")").spam_headers), ElementsAre("X-Spam=maybe@-1"));
  EXPECT_THAT(shown(with_milter(R"("spam_header":{"X-Junk":"yes","X-B":"1"})").spam_headers),
              ElementsAre("X-Junk=yes@-1", "X-B=1@-1"));
  EXPECT_THAT(with_milter(R"("spam_header":5)").unsupported, ElementsAre("spam_header"));
  EXPECT_TRUE(with_milter(R"("no_action":true)").no_action);
  EXPECT_FALSE(with_milter(R"("no_action":false)").no_action);
  EXPECT_FALSE(with_milter(R"("no_action":"true")").no_action);
  EXPECT_EQ(with_milter(R"("reject":"discard")").instead_of_reject, "discard");
  EXPECT_EQ(with_milter(R"("reject":"quarantine")").instead_of_reject, "quarantine");
  EXPECT_EQ(with_milter(R"("reject":"reject")").instead_of_reject, "");
  EXPECT_EQ(with_milter(R"("reject":true)").instead_of_reject, "");
  EXPECT_THAT(with_milter(R"("del_rcpt":["a@b"],"change_from":"x@y")").unsupported, ElementsAre("change_from", "del_rcpt"));
}

TEST(Verdict, TopLevelFields) {
  const Verdict verdict =
      parsed(R"({"action":"rewrite subject","action":"second","score":-1.5,"required_score":15,"subject":"*** x",
      "messages":{"smtp_message":"Try\r\nlater"},"symbols":{"Z":{"name":"Z","score":2},"A":{"score":-0.5},"N":{},"S":"no symbol"},
      "dkim-signature":["a","b"]})");
  EXPECT_EQ(verdict.action, "rewrite subject");
  EXPECT_EQ(verdict.score, -1.5);
  EXPECT_EQ(verdict.required_score, 15);
  EXPECT_EQ(verdict.subject, "*** x");
  EXPECT_EQ(verdict.smtp_message, "Try\r\nlater");
  ASSERT_EQ(verdict.symbols.size(), 3u);
  EXPECT_EQ(verdict.symbols[0].name, "Z");
  EXPECT_EQ(verdict.symbols[0].score, 2);
  EXPECT_EQ(verdict.symbols[1].score, -0.5);
  EXPECT_EQ(verdict.symbols[2].score, 0);
  EXPECT_THAT(verdict.dkim_signatures, ElementsAre("a", "b"));
  EXPECT_FALSE(verdict.has_rewritten_body);
  EXPECT_THAT(parsed(R"({"action":"x","dkim-signature":"a"})").dkim_signatures, ElementsAre("a"));
  EXPECT_THAT(parsed(R"({"action":"x","dkim-signature":["a",1]})").unsupported, ElementsAre("dkim-signature"));
}

TEST(Verdict, WrongTypesAreIgnored) {
  const Verdict verdict = parsed(R"({"action":"a","score":null,"required_score":"15","subject":7,"messages":["x"],"symbols":[],
      "dkim-signature":null,"milter":"x"})");
  EXPECT_EQ(verdict.score, 0);
  EXPECT_EQ(verdict.required_score, 0);
  EXPECT_EQ(verdict.subject, "");
  EXPECT_EQ(verdict.smtp_message, "");
  EXPECT_THAT(verdict.symbols, IsEmpty());
}

TEST(Verdict, NoVerdict) {
  const std::string no_object = "the reply is not a JSON object";
  const std::string no_action = "the reply has no action";
  struct Row {
    std::string json;
    std::string what;
  };
  const Row rows[] = {
      {"", no_object},
      {" ", no_object},
      {"{", no_object},
      {"[]", no_object},
      {"\"action\"", no_object},
      {"pong\r\n", no_object},
      {R"({"action":"no action"}x)", no_object},
      {R"({"action":"no action","score":NaN})", no_object},
      {R"({"action":"no action","score":100000000000000000000000})", no_object},
      {R"({"action":"no action","score":0.0000000001e-2147483639})", no_object},
      {std::string(2000, '['), no_object},
      {"{}", no_action},
      {R"({"action":""})", no_action},
      {R"({"action":null})", no_action},
      {R"({"action":["reject"]})", no_action},
      {R"({"error":"bad \"x\"\r\ny","error_domain":"z"})", "the reply is an error: bad 'x' y"},
      {R"({"error":5})", no_action},
  };
  for (const Row& row : rows) {
    const ScanResult result = parse_verdict(row.json);
    ASSERT_FALSE(result) << row.json;
    EXPECT_EQ(result.error().kind, ScanFailure::Kind::unreadable) << row.json;
    EXPECT_EQ(result.error().what, row.what) << row.json;
  }
}

TEST(Verdict, BrokenUtf8AndRawControlBytesAreRepaired) {
  struct Row {
    std::string raw;
    std::string expected;
  };
  const Row rows[] = {
      {"j\xc3\xb6rg", "j\xc3\xb6rg"},
      {"\xff", "?"},
      {"a\xc3", "a?"},
      {"\xc3\xb6\xc3", "\xc3\xb6?"},
      {"\xc0\xaf", "??"},            // overlong
      {"\xf0\x80\x80\xaf", "????"},  // overlong
      {"\xe0\x80\xaf", "???"},       // overlong
      {"\xed\xa0\x80", "???"},       // a surrogate
      {"\xf4\x90\x80\x80", "????"},  // beyond U+10FFFF
      {"\xf0\x9f\x93\xa7\x80", "\xf0\x9f\x93\xa7?"},
      {"\xe2\x82", "??"},
      {std::string("a\x01\nb\0c", 6), "a  b c"},
  };
  for (const Row& row : rows) {
    const Verdict verdict = parsed(R"({"action":"reject","subject":")" + row.raw + "\"}\n");
    EXPECT_EQ(verdict.action, "reject") << row.expected;
    EXPECT_EQ(verdict.subject, row.expected);
  }
}

TEST(Verdict, Bounds) {
  std::string headers, removals, symbols;
  for (int i = 0; i <= 1000; ++i) {
    const std::string key = (i ? ",\"X" : "\"X") + std::to_string(i);
    headers += key + "\":\"v\"";
    removals += key + "\":0";
    symbols += key + "\":{}";
  }
  const Verdict verdict = parsed(R"({"action":"x","symbols":{)" + symbols + R"(},"milter":{"add_headers":{)" + headers +
                                 R"(},"remove_headers":{)" + removals + "}}}");
  EXPECT_EQ(verdict.symbols.size(), 1000u);
  EXPECT_EQ(verdict.add_headers.size(), 1000u);
  EXPECT_EQ(verdict.remove_headers.size(), 1000u);
  EXPECT_THAT(verdict.unsupported, ElementsAre("add_headers", "remove_headers"));

  const auto deep = [](std::size_t lists) {
    return R"({"action":"x","list":)" + std::string(lists, '[') + std::string(lists, ']') + "}";
  };
  EXPECT_TRUE(parse_verdict(deep(999)));
  EXPECT_FALSE(parse_verdict(deep(1000)));

  const std::string fits(65536, 'v');
  EXPECT_EQ(with_milter(R"("add_headers":{"X":")" + fits + "\"}").add_headers.size(), 1u);
  EXPECT_EQ(with_milter(R"("add_headers":{"X":")" + fits + "v\"}").add_headers.size(), 0u);
  const std::string name(255, 'X');
  EXPECT_EQ(with_milter(R"("add_headers":{")" + name + R"(":"v"})").add_headers.size(), 1u);
  EXPECT_EQ(with_milter(R"("add_headers":{")" + name + R"(X":"v"})").add_headers.size(), 0u);
}

TEST(Verdict, RecordedEverything) {
  const Verdict verdict = parsed(recorded("rspamd-3.4/milter-everything.json"));
  EXPECT_EQ(verdict.action, "greylist");
  EXPECT_DOUBLE_EQ(verdict.score, 4.275);
  EXPECT_EQ(verdict.symbols.size(), 18u);
  EXPECT_EQ(verdict.symbols[3].name, "MIME_GOOD");
  EXPECT_EQ(verdict.symbols[3].score, -0.1);
  const auto added = shown(verdict.add_headers);
  ASSERT_EQ(added.size(), 12u);
  EXPECT_THAT(std::vector(added.begin(), added.begin() + 6),
              ElementsAre("X-A=v1@0", "X-B=b1@1", "X-B=b2@-1", "X-C=plain@-1", "Authentication-Results=vm;\r\n\tnone@1",
                          "X-Rspamd-Server=vm@-1"));
  EXPECT_THAT(shown(verdict.remove_headers),
              ElementsAre("X-Old@0", "X-Old2@1", "X-Old2@-1", "X-Rspamd-Server@0", "Authentication-Results@0",
                          "X-Rspamd-Queue-Id@0", "X-Spam@0", "X-Spam-Level@0", "X-Spam-Status@0", "X-Rspamd-Action@0",
                          "Deliver-To@0", "X-Virus@0", "X-Spamd-Result@0", "X-Spamd-Bar@0"));
  EXPECT_THAT(shown(verdict.spam_headers), ElementsAre("X-Spam=maybe@-1"));
  EXPECT_TRUE(verdict.no_action);
  EXPECT_EQ(verdict.instead_of_reject, "discard");
  EXPECT_THAT(verdict.unsupported, ElementsAre("change_from", "add_rcpt", "del_rcpt"));
}

// Later ones write their tables in an order of their own, so headers are told by name.
TEST(Verdict, RecordedEverythingOfLaterVersions) {
  for (const char* folder : {"rspamd-3.12", "rspamd-4.1"}) {
    SCOPED_TRACE(folder);
    const Verdict verdict = parsed(recorded(std::string(folder) + "/milter-everything.json"));
    EXPECT_EQ(verdict.action, "greylist");
    const auto added = shown(verdict.add_headers);
    EXPECT_THAT(added, IsSupersetOf({"X-A=v1@0", "X-B=b1@1", "X-B=b2@-1", "X-C=plain@-1", "X-Spam-Level=*****@-1"}));
    EXPECT_EQ(added.size(), 12u);
    EXPECT_THAT(shown(verdict.remove_headers), IsSupersetOf({"X-Old@0", "X-Old2@1", "X-Old2@-1", "Deliver-To@0"}));
    EXPECT_THAT(shown(verdict.spam_headers), ElementsAre("X-Spam=maybe@-1"));
    EXPECT_TRUE(verdict.no_action);
    EXPECT_EQ(verdict.instead_of_reject, "discard");
    EXPECT_THAT(verdict.unsupported, UnorderedElementsAre("change_from", "add_rcpt", "del_rcpt"));
  }
}

TEST(Verdict, Recorded) {
  struct Row {
    std::string file;
    std::string action;
    double score;
    std::size_t symbols, added, removed;
    std::string subject, smtp_message;
  };
  const Row rows[] = {
      {"rspamd-3.4/gtube-reject.json", "reject", 15, 1, 0, 0, "", "Gtube pattern"},
      {"rspamd-3.4/no-action.json", "no action", 3.9, 17, 8, 11, "", ""},
      {"rspamd-3.4/rewrite-subject.json", "rewrite subject", 13.775, 19, 9, 11, "*** SPAM *** TREWR", ""},
      {"rspamd-3.4/soft-reject.json", "soft reject", 0, 4, 9, 10, "", "Try much later"},
      {"rspamd-3.12/gtube-reject.json", "reject", 15, 1, 0, 0, "", "Gtube pattern"},
      {"rspamd-3.12/no-action.json", "greylist", 5, 22, 8, 10, "", ""},
      {"rspamd-3.12/rewrite-subject.json", "rewrite subject", 13.5, 23, 9, 10, "*** SPAM *** rewrite", ""},
      {"rspamd-3.12/soft-reject.json", "soft reject", 1, 15, 10, 10, "", "Try much later"},
      {"rspamd-4.1/gtube-reject.json", "reject", 15, 1, 0, 0, "", "Gtube pattern"},
      {"rspamd-4.1/no-action.json", "greylist", 5.5, 23, 8, 10, "", ""},
      {"rspamd-4.1/rewrite-subject.json", "rewrite subject", 14, 24, 9, 10, "*** SPAM *** rewrite", ""},
      {"rspamd-4.1/soft-reject.json", "soft reject", 3.8, 18, 10, 10, "", "Try much later"},
  };
  for (const Row& row : rows) {
    const Verdict verdict = parsed(recorded(row.file));
    EXPECT_EQ(verdict.action, row.action) << row.file;
    EXPECT_DOUBLE_EQ(verdict.score, row.score) << row.file;
    EXPECT_EQ(verdict.required_score, 15) << row.file;
    EXPECT_EQ(verdict.symbols.size(), row.symbols) << row.file;
    EXPECT_EQ(verdict.add_headers.size(), row.added) << row.file;
    EXPECT_EQ(verdict.remove_headers.size(), row.removed) << row.file;
    EXPECT_EQ(verdict.subject, row.subject) << row.file;
    EXPECT_EQ(verdict.smtp_message, row.smtp_message) << row.file;
    EXPECT_THAT(verdict.unsupported, IsEmpty()) << row.file;
  }
  EXPECT_THAT(parsed(recorded("rspamd-3.4/soft-reject.json")).add_headers[7].value, HasSubstr("опция2"));
  for (const char* folder : {"rspamd-3.12", "rspamd-4.1"}) {  // which encode it
    EXPECT_THAT(shown(parsed(recorded(std::string(folder) + "/soft-reject.json")).add_headers),
                Contains(HasSubstr("T_SOFT(0.00)[opt1,=?UTF-8?Q?=D0=BE=D0=BF")));
  }
}

}  // namespace
}  // namespace mailbridge::rspamd
