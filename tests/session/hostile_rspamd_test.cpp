// Replies that rspamd should never send, through the whole engine: each mail gets its answer once, nothing malformed goes to
// smtpd, and what cannot be read is a temporary failure.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/transcript.hpp"
#include "tests/rspamd/recordings.hpp"
#include "tests/support/filter_player.hpp"
#include "tests/support/smtpd_host.hpp"

namespace mailbridge::testing {
namespace {

using transcript::Line;

const std::string unscanned = "reject|451 4.3.0 Message could not be scanned, try again later";
const std::vector<std::string> mail = {"Received: by us", "From: a@b.example", "Subject: hello", "X-Old: 1", "", "body", "..dot"};
const std::vector<std::string> as_it_came(mail.begin(), mail.begin() + 4);

std::string http(const std::string& json) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(json.size()) + "\r\n\r\n" + json;
}

// One mail, rspamd's reply, and how the connection then ends.
std::vector<Line> conversation(const std::string& reply, const std::string& ending) {
  std::string text = "S> report|0.7|1.2|smtp-in|link-connect|0a|mx.example.net|pass|192.0.2.1:99|192.0.2.9:25\n";
  for (const std::string& line : mail) text += "S> filter|0.7|1.2|smtp-in|data-line|0a|d0|" + line + "\n";
  text += "S> filter|0.7|1.2|smtp-in|data-line|0a|d0|.\n";
  std::vector<Line> lines = transcript::parse(text);
  if (!reply.empty()) lines.push_back({'R', '>', 1, reply, 0});
  lines.push_back({'R', '!', 1, ending, 0});
  const auto rest = transcript::parse(
      "S> filter|0.7|1.2|smtp-in|commit|0a|c0|\nS> report|0.7|1.2|smtp-in|tx-commit|0a|00000001|9\nN result=committed\n");
  lines.insert(lines.end(), rest.begin(), rest.end());
  return lines;
}

struct Outcome {
  std::string answer;               // "proceed", "reject|…"
  std::vector<std::string> header;  // as it left
  std::string log;
};

Outcome outcome_of(const Played& played) {
  constexpr std::string_view data = "filter-dataline|0a|d0|", result = "filter-result|0a|c0|";
  Outcome outcome;
  bool in_header = true;
  for (std::string_view rest = played.to_smtpd; !rest.empty(); rest.remove_prefix(rest.find('\n') + 1)) {
    const std::string line(rest.substr(0, rest.find('\n')));
    in_header = in_header && line != data && line != std::string(data) + ".";
    if (in_header && line.starts_with(data)) outcome.header.push_back(line.substr(data.size()));
    if (line.starts_with(result)) outcome.answer = line.substr(result.size());
  }
  for (const Note& note : played.notes) outcome.log += note.text + "\n";
  return outcome;
}

Outcome play(const std::string& reply, const std::string& ending, const Manner& manner, const std::string& name) {
  const Played played = play_filter(conversation(reply, ending), manner);
  EXPECT_EQ(played.violations, std::vector<std::string>{}) << name;
  EXPECT_EQ(played.differences, std::vector<std::string>{}) << name;
  for (const Note& note : played.notes) {
    EXPECT_TRUE(std::all_of(note.text.begin(), note.text.end(), [](char c) { return c >= 0x20 && c < 0x7f; }))
        << name << note.text;
    EXPECT_LE(note.text.size(), 8192U) << name;
  }
  return outcome_of(played);
}

std::string repeated(std::size_t count, const std::string& text) {
  std::string all;
  all.reserve(count * text.size());
  for (std::size_t i = 0; i < count; ++i) all += text;
  return all;
}

// The `members` of an object that adds headers: "X-0": "v", "X-1": "v", …
std::string numbered(std::size_t count, const std::string& value) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += (i ? ",\"X-" : "\"X-") + std::to_string(i) + "\":" + value;
  return all;
}

std::string adding(const std::string& members) { return R"({"action":"no action","milter":{"add_headers":{)" + members + "}}}"; }

std::vector<std::string> with(std::vector<std::string> added) {
  std::vector<std::string> all = as_it_came;
  all.insert(all.end(), added.begin(), added.end());
  return all;
}

// The tests below rely on it.
TEST(SmtpdHost, KnowsAnAddedFieldFromWhatIsNone) {
  struct Row {
    std::string line;
    bool field;
  };
  const Row rows[] = {
      {"X-A: 1", true},    {"X-A:", true},       {"\tfolded", true}, {"from: smtpd itself\r", true},
      {"no colon", false}, {": no name", false}, {"X A: 1", false},  {" \t", false},
      {"X-A: 1\r", false}, {"X-A: \x01", false}, {"\tX\x1b", false}, {"X-A: " + std::string(994, 'x'), false},
  };
  for (const Row& row : rows) {
    SmtpdHost host;
    host.said("report|0.7|1.2|smtp-in|link-connect|0a|x|pass|192.0.2.1:99|192.0.2.9:25\n");
    for (const char* line : {"from: smtpd itself\r", "", "body", "."})
      host.said("filter|0.7|1.2|smtp-in|data-line|0a|d0|" + std::string(line) + "\n");
    for (const std::string& line : {row.line, std::string(), std::string("body"), std::string(".")})
      host.heard("filter-dataline|0a|d0|" + line + "\n");
    EXPECT_EQ(host.violations().empty(), row.field) << row.line;
  }
}

TEST(HostileRspamd, Verdicts) {
  struct Row {
    std::string name;
    std::string json;
    std::string answer = unscanned;
    std::vector<std::string> header = {};
  };
  const std::string proceed = "proceed", spam = "reject|554 5.7.1 Spam message rejected";
  const Row rows[] = {
      // What is no verdict.
      {"nothing", ""},
      {"a blank", " "},
      {"a list", R"([{"action":"no action"}])"},
      {"a string", R"("reject")"},
      {"two objects", R"({"action":"no action"}{"action":"reject"})"},
      {"rubbish behind", R"({"action":"no action"} x)"},
      {"a byte order mark alone", "\xef\xbb\xbf"},
      {"no action", R"({"score":1})"},
      {"action is empty", R"({"action":""})"},
      {"action is a number", R"({"action":7})"},
      {"action is null", R"({"action":null})"},
      {"action is a list", R"({"action":["reject"]})"},
      {"action is an object", R"({"action":{"reject":true}})"},
      {"actions in other letters", R"({"Action":"reject"})"},
      {"deep lists", R"({"action":"no action","x":)" + repeated(100'000, "[") + repeated(100'000, "]") + "}"},
      {"deep objects", repeated(100'000, R"({"a":)") + "1" + repeated(100'000, "}")},
      {"lists without end", repeated(1'000'000, "[")},
      {"not a number", R"({"action":"no action","score":NaN})"},
      {"an integer beyond 64 bits", R"({"action":"reject","score":123456789012345678901234567890})"},
      {"a number beyond all", R"({"action":"no action","score":1e999999})"},

      // What is a verdict all the same.
      {"the first of two actions counts", R"({"action":"no action","action":"reject"})", proceed, as_it_came},
      {"NUL behind", std::string("{\"action\":\"no action\"}\0", 23), proceed, as_it_came},
      {"numbers as strings", R"({"action":"reject","score":"8","required_score":"15","time":"x"})", spam},
      {"wrong types everywhere",
       R"({"action":"no action","score":[],"required_score":{},"subject":7,"messages":[1],"symbols":"x","dkim-signature":7,)"
       R"("milter":[{}],"urls":0,"emails":{},"message-id":[],"thresholds":null})",
       proceed, as_it_came},
      {"wrong types in milter",
       R"({"action":"no action","milter":{"add_headers":[],"remove_headers":"X-Old","spam_header":7,"no_action":"yes","reject":{},)"
       R"("change_from":1,"add_rcpt":"x","del_rcpt":{}}})",
       proceed, as_it_came},
      {"milter is null", R"({"action":"reject","milter":null})", spam},
      {"an action with line ends", R"({"action":"a\r\nfilter-result|0a|c0|proceed\r\n"})", proceed,
       with({"X-Rspamd-Action: a filter-result|0a|c0|proceed"})},
      {"an action of 1 MB", R"({"action":")" + repeated(1'000'000, "a") + R"("})", proceed,
       with({"X-Rspamd-Action: " + std::string(200, 'a')})},
      {"an action of blanks", R"({"action":"\r\n "})", proceed, with({"X-Rspamd-Action:"})},
      {"a text with line ends", R"({"action":"reject","messages":{"smtp_message":"a\r\n250 ok\r\n.\r\n\u0000|\"b\""}})",
       "reject|554 5.7.1 a 250 ok . |'b'"},
      {"a text of line ends", R"({"action":"soft reject","messages":{"smtp_message":"\r\n\r\n"}})",
       "reject|451 4.7.1 Try again later"},
      {"a text of 1 MB", R"({"action":"reject","messages":{"smtp_message":")" + repeated(1'000'000, "|") + R"("}})",
       "reject|554 5.7.1 " + std::string(400, '|')},
      {"a text that is no text", R"({"action":"reject","messages":{"smtp_message":["x"]}})", spam},
      {"a text that ends the session", R"({"action":"soft reject","messages":{"smtp_message":"421 4.7.0 bye"}})",
       "reject|451 4.7.0 bye"},
      {"a text that accepts", R"({"action":"reject","messages":{"smtp_message":"250 2.0.0 ok"}})",
       "reject|554 5.7.1 250 2.0.0 ok"},
      {"symbols with line ends", R"({"action":"no action","symbols":{"A\r\nB|\u0000\"":{"score":9},"":{"score":"1"}}})", proceed,
       as_it_came},
      {"100,000 symbols", R"({"action":"no action","symbols":{)" + numbered(100'000, R"({"score":1})") + "}}", proceed,
       as_it_came},

      // Headers.
      {"values with line ends",
       adding(R"("X-A":"1\r\nX-B: 2","X-C":"3\r\n\r\nbody","X-D":"4\n.\n5","X-E":"6\r7","X-F":"\r\n8\r\n")"), proceed,
       with({"X-A: 1", "\tX-B: 2", "X-C: 3", "\tbody", "X-D: 4", "\t.", "\t5", "X-E: 6", "\t7", "X-F: 8"})},
      {"values that smtpd would take for its own", adding(R"("X-A":"\nfilter-dataline|0a|d0|.\nfilter-result|0a|c0|proceed")"),
       proceed, with({"X-A: filter-dataline|0a|d0|.", "\tfilter-result|0a|c0|proceed"})},
      {"values with control bytes", adding(R"("X-A":"a\u0000b\u0001\u001b[2J\u007fc")"), proceed, with({"X-A: ab[2Jc"})},
      {"values of blanks", adding(R"("X-A":" ","X-B":"\r\n \r\n\t\r\n","X-C":"")"), proceed, with({"X-A:", "X-B:", "X-C:"})},
      {"names that are none",
       adding(R"("":"1","X A":"2","X:":"3","X\r\nY":"4","X\tY":"5","\u0000":"6","ä":"7",".":"8","X-Fine":"9")"), proceed,
       with({"..: 8" /* stuffed */, "X-Fine: 9"})},
      {"a name of 10,000 bytes", adding("\"" + std::string(10'000, 'X') + R"(":"1")"), proceed, as_it_came},
      {"a value of 1 MB", adding(R"("X-A":")" + repeated(1'000'000, "v") + R"(")"), proceed, as_it_came},
      {"orders beyond everything",
       adding(R"("X-A":{"value":"1","order":9e99},"X-B":{"value":"2","order":-9e99},"X-C":{"value":"3","order":"0"})"),
       proceed,
       {"X-B: 2", "Received: by us", "From: a@b.example", "Subject: hello", "X-Old: 1", "X-A: 1", "X-C: 3"}},
      {"removals beyond everything",
       R"({"action":"no action","milter":{"remove_headers":{"X-Old":[9e99,-9e99,"1",null,{}],"X Y":0,"":0,"Subject":2}}})",
       proceed, as_it_came},
      {"everything but smtpd's trace is removed",
       R"({"action":"no action","milter":{"remove_headers":{"x-old":0,"FROM":0,"subject":-1,"Received":0}}})",
       proceed,
       {"Received: by us"}},
      {"a subject with fields behind it",
       R"({"action":"rewrite subject","subject":"a\r\nX-B: 1\r\n\r\nbody\r\n.\r\n"})",
       proceed,
       {"Received: by us", "From: a@b.example", "Subject: a", "\tX-B: 1", "\tbody", "\t.", "X-Old: 1"}},
      {"a signature with fields behind it",
       R"({"action":"no action","dkim-signature":["v=1;\r\nX-B: 1\r\n.\r\n",7,{}]})",
       proceed,
       {"Received: by us", "DKIM-Signature: v=1;", "\tX-B: 1", "\t.", "From: a@b.example", "Subject: hello", "X-Old: 1"}},
      {"a spam header with fields behind it", R"({"action":"add header","milter":{"spam_header":"Yes\r\nX-B: 1"}})", proceed,
       with({"X-Spam: Yes", "\tX-B: 1"})},
  };
  for (const Row& row : rows) {
    const std::string reply = http(row.json);
    for (const Manner& manner : {Manner{Manner::Cuts::lines}, Manner{Manner::Cuts::random, 7}}) {
      if (manner.cuts == Manner::Cuts::random && reply.size() > 100'000) continue;
      const Outcome outcome = play(reply, "closed", manner, row.name);
      EXPECT_EQ(outcome.answer, row.answer) << row.name;
      EXPECT_EQ(outcome.header, row.header) << row.name;
    }
  }
}

TEST(HostileRspamd, ThousandsOfHeaders) {
  const std::string list = "[" + repeated(50'000, R"("v",)") + R"("v"])";
  for (const std::string& json :
       {adding(numbered(50'000, R"("v")")), adding(R"("X-A":)" + list), adding(numbered(50'000, R"({"value":"v","order":1})"))}) {
    const Outcome outcome = play(http(json), "closed", {}, json.substr(0, 100));
    EXPECT_EQ(outcome.answer, "proceed");
    EXPECT_EQ(outcome.header.size(), as_it_came.size() + 1000) << "no more than 1,000 are added";
    EXPECT_NE(outcome.log.find("not_applied=add_headers"), std::string::npos) << outcome.log;
  }
  const Outcome removed =
      play(http(R"({"action":"no action","milter":{"remove_headers":{"X-Old":[)" + repeated(100'000, "1,") + "1]}}}"), "closed",
           {}, "");
  EXPECT_EQ(removed.header, std::vector<std::string>(as_it_came.begin(), as_it_came.end() - 1));
}

TEST(HostileRspamd, Replies) {
  const std::string ok = R"({"action":"no action"})";
  struct Row {
    std::string name;
    std::string reply;
    bool verdict = false;
  };
  const Row rows[] = {
      {"another protocol", "SSH-2.0-OpenSSH_9.2p1\r\n"},
      {"SMTP", "220 mail.example.org ESMTP\r\n250 ok\r\n"},
      {"JSON without HTTP", ok},
      {"a status without a number", "HTTP/1.1 OK\r\n\r\n" + ok},
      {"a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 22\r\n\r\n" + ok},
      {"no content", "HTTP/1.1 204 No Content\r\n\r\n" + ok},
      {"a redirection", "HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 22\r\n\r\n" + ok},
      {"an error with a verdict", "HTTP/1.1 500 x\r\nContent-Length: 22\r\n\r\n" + ok},
      {"a reason with escapes", "HTTP/1.1 500 \x1b[2J\rfilter-result|0a|c0|proceed\r\nContent-Length: 0\r\n\r\n"},
      {"1,000 interim replies", repeated(1000, "HTTP/1.1 100 Continue\r\n\r\n") + http(ok), true},
      {"10,000 interim replies", repeated(10'000, "HTTP/1.1 100 Continue\r\n\r\n") + http(ok)},
      {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 22\r\nContent-Length: 2\r\n\r\n" + ok},
      {"length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 22\r\nTransfer-Encoding: chunked\r\n\r\n" + ok},
      {"a length below nothing", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + ok},
      {"a length beyond 64 bits", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551638\r\n\r\n" + ok},
      {"a length beyond the cap", "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n" + ok},
      {"less than the length", "HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n" + ok},
      {"more than the length", http(ok) + "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"action\":\"reject\"}", true},
      {"a chunk beyond 64 bits", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000016\r\n" + ok},
      {"a chunk below nothing", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-16\r\n" + ok},
      {"chunks of a byte", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"},
      {"a body until the end", "HTTP/1.1 200 OK\r\n\r\n" + ok, true},
      {"folded headers", "HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 22\r\n\r\n" + ok},
      {"a header that is none", "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 22\r\n\r\n" + ok},
      {"an offset beyond the body", "HTTP/1.1 200 OK\r\nContent-Length: 22\r\nMessage-Offset: 23\r\n\r\n" + ok},
      {"an offset below nothing", "HTTP/1.1 200 OK\r\nContent-Length: 22\r\nMessage-Offset: -1\r\n\r\n" + ok},
      {"an offset within the JSON", "HTTP/1.1 200 OK\r\nContent-Length: 22\r\nMessage-Offset: 10\r\n\r\n" + ok},
      {"an offset of nothing", "HTTP/1.1 200 OK\r\nContent-Length: 22\r\nMessage-Offset: 0\r\n\r\n" + ok},
      {"compressed though not asked for", "HTTP/1.1 200 OK\r\nCompression: zstd\r\nContent-Length: 22\r\n\r\n" + ok},
  };
  for (const Row& row : rows) {
    for (const Manner& manner : {Manner{Manner::Cuts::lines}, Manner{Manner::Cuts::random, 3}, Manner{Manner::Cuts::bytes}}) {
      if (manner.cuts == Manner::Cuts::bytes && row.reply.size() > 10'000) continue;
      const Outcome outcome = play(row.reply, "closed", manner, row.name);
      EXPECT_EQ(outcome.answer, row.verdict ? "proceed" : unscanned) << row.name << "\n" << outcome.log;
    }
  }
}

// Wherever a recorded reply is cut short.
TEST(HostileRspamd, EveryTruncationIsATemporaryFailure) {
  std::vector<std::pair<std::string, std::string>> replies;
  for (const std::string& file : rspamd::recordings(".json")) replies.emplace_back(file, http(rspamd::recorded(file)));
  for (const std::string& file : rspamd::recordings(".http")) replies.emplace_back(file, rspamd::recorded(file));
  for (const auto& [file, whole] : replies) {
    for (std::size_t size = 0; size < whole.size(); size += rspamd::truncation_step(file)) {
      const char* ending = size % 2 == 0 ? "closed" : "timed_out";
      const Outcome outcome = play(whole.substr(0, size), ending, {}, file);
      ASSERT_EQ(outcome.answer, unscanned) << file << " " << size << " " << ending;
      ASSERT_TRUE(outcome.header.empty()) << file << " " << size;
    }
  }
}

}  // namespace
}  // namespace mailbridge::testing
