#include "mail/headers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace mailbridge::mail {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

struct Insertion {
  std::string name;
  std::string value;
  int order;
};

std::vector<bool> nothing(const HeaderSection& section) { return std::vector<bool>(section.fields.size()); }

std::string repeated(std::string_view text, std::size_t times) {
  std::string out;
  while (times-- > 0) out += text;
  return out;
}

std::string bytes_as(const std::string& text, char from, const std::string& to) {
  std::string out;
  for (const char c : text) out += c == from ? to : std::string(1, c);
  return out;
}

TEST(Headers, Sections) {
  struct Row {
    std::string name;
    std::string message;
    std::vector<std::string> fields;  // NAME=RAW
    std::string rest;
  };
  const Row rows[] = {
      {"empty message", "", {}, ""},
      {"body alone", "\r\nbody\r\n", {}, "\r\nbody\r\n"},
      {"two fields", "A: 1\r\nB: 2\r\n\r\nbody\r\n", {"A=A: 1\r\n", "B=B: 2\r\n"}, "\r\nbody\r\n"},
      {"LF only", "A: 1\nB: 2\n\nbody\n", {"A=A: 1\n", "B=B: 2\n"}, "\nbody\n"},
      {"mixed line ends", "A: 1\nB: 2\r\n\nbody\r\n", {"A=A: 1\n", "B=B: 2\r\n"}, "\nbody\r\n"},
      {"no empty line at the end", "A: 1\r\nB: 2\r\n", {"A=A: 1\r\n", "B=B: 2\r\n"}, ""},
      {"no line end at the end", "A: 1\r\nB: 2", {"A=A: 1\r\n", "B=B: 2"}, ""},
      {"folds", "A: 1\r\n\t2\r\n  3\r\nB: 4\r\n\r\n", {"A=A: 1\r\n\t2\r\n  3\r\n", "B=B: 4\r\n"}, "\r\n"},
      {"a fold of blanks alone", "A: 1\r\n \r\nB: 2\r\n\r\n", {"A=A: 1\r\n \r\n", "B=B: 2\r\n"}, "\r\n"},
      {"a fold that looks like a field", "A: 1\r\n X-Spam: no\r\n\r\n", {"A=A: 1\r\n X-Spam: no\r\n"}, "\r\n"},
      {"first line is a continuation", " X-Spam: Yes\r\nA: 1\r\n\r\n", {"= X-Spam: Yes\r\n", "A=A: 1\r\n"}, "\r\n"},
      {"two continuations of nothing", " a: b\r\n\tc\r\nA: 1\r\n\r\n", {"= a: b\r\n\tc\r\n", "A=A: 1\r\n"}, "\r\n"},
      {"no colon", "A: 1\r\nhello\r\nB: 2\r\n\r\n", {"A=A: 1\r\n", "=hello\r\n", "B=B: 2\r\n"}, "\r\n"},
      {"a continuation of what is no field", "hello\r\n there\r\nB: 2\r\n\r\n", {"=hello\r\n there\r\n", "B=B: 2\r\n"}, "\r\n"},
      {"no name", ": 1\r\nB: 2\r\n\r\n", {"=: 1\r\n", "B=B: 2\r\n"}, "\r\n"},
      {"blanks before the colon", "A \t: 1\r\n\r\n", {"A=A \t: 1\r\n"}, "\r\n"},
      {"no blank after the colon", "A:1\r\n\r\n", {"A=A:1\r\n"}, "\r\n"},
      {"two colons", "A: B: 1\r\n\r\n", {"A=A: B: 1\r\n"}, "\r\n"},
      {"case stays", "sUBJECT: 1\r\n\r\n", {"sUBJECT=sUBJECT: 1\r\n"}, "\r\n"},
      {"a bare CR ends nothing", "A: 1\rB: 2\r\n\r\r\nC: 3\r\n\r\n", {"A=A: 1\rB: 2\r\n", "=\r\r\n", "C=C: 3\r\n"}, "\r\n"},
      {"NUL", std::string("A: \0\r\n\r\n", 8), {std::string("A=A: \0\r\n", 8)}, "\r\n"},
  };
  for (const Row& row : rows) {
    const HeaderSection section = parse_headers(row.message);
    std::vector<std::string> fields;
    std::string whole;
    for (const Field& field : section.fields) {
      fields.push_back(std::string(field.name) + "=" + std::string(field.raw));
      whole += field.raw;
    }
    EXPECT_THAT(fields, ElementsAreArray(row.fields)) << row.name;
    EXPECT_EQ(row.message.substr(section.size), row.rest) << row.name;
    EXPECT_EQ(whole + row.rest, row.message) << row.name;
    EXPECT_EQ(HeaderEditor(section, nothing(section), 0).bytes(), whole) << row.name;
  }
}

TEST(Headers, RawValue) {
  const HeaderSection section = parse_headers("A: 1\r\n\t2\r\nB:\r\nhello\r\n");
  EXPECT_EQ(raw_value(section.fields[0]), " 1\r\n\t2\r\n");
  EXPECT_EQ(raw_value(section.fields[1]), "\r\n");
  EXPECT_EQ(raw_value(section.fields[2]), "");
}

TEST(Headers, InsertionsGoWhereTheirOrderSays) {
  struct Row {
    std::string name;
    std::vector<Insertion> insertions;
    std::string expected;  // of the fields a b c
    std::size_t head = 0;
  };
  const Row rows[] = {
      {"nothing", {}, "abc"},
      {"very top", {{"x", "", 0}}, "xabc"},
      {"after the first", {{"x", "", 1}}, "axbc"},
      {"after the second", {{"x", "", 2}}, "abxc"},
      {"after the last", {{"x", "", 3}}, "abcx"},
      {"beyond the end", {{"x", "", 4}}, "abcx"},
      {"far beyond the end", {{"x", "", 1'000'000}}, "abcx"},
      {"at the end", {{"x", "", -1}}, "abcx"},
      {"second from the end", {{"x", "", -2}}, "abxc"},
      {"third from the end", {{"x", "", -3}}, "axbc"},
      {"fourth from the end", {{"x", "", -4}}, "xabc"},
      {"beyond the beginning", {{"x", "", -5}}, "xabc"},
      {"far beyond the beginning", {{"x", "", -1'000'000}}, "xabc"},
      {"the smallest number", {{"x", "", std::numeric_limits<int>::min()}}, "xabc"},
      {"the largest number", {{"x", "", std::numeric_limits<int>::max()}}, "abcx"},
      {"several on top push each other down", {{"x", "", 0}, {"y", "", 0}, {"z", "", 0}}, "zyxabc"},
      {"several after the first", {{"x", "", 1}, {"y", "", 1}, {"z", "", 1}}, "azyxbc"},
      {"several at the end stay in order", {{"x", "", -1}, {"y", "", -1}, {"z", "", -1}}, "abcxyz"},
      {"several second from the end", {{"x", "", -2}, {"y", "", -2}}, "abxyc"},
      {"what was put on top is not counted", {{"x", "", 0}, {"y", "", 2}}, "xabyc"},
      {"twice on top, then after the first", {{"x", "", 0}, {"y", "", 0}, {"z", "", 1}}, "yxazbc"},
      {"on top of a head, then after the first", {{"x", "", 0}, {"y", "", 1}}, "xabyc", 1},
      {"other inserted ones are counted", {{"x", "", 1}, {"y", "", 2}}, "axybc"},
      {"rising orders", {{"x", "", 1}, {"y", "", 2}, {"z", "", 3}}, "axyzbc"},
      {"beyond the end, twice", {{"x", "", 9}, {"y", "", 9}}, "abcxy"},
      {"top with a head", {{"x", "", 0}}, "xabc", 1},
      {"after the first with a head", {{"x", "", 1}}, "abxc", 1},
      {"after the second with a head", {{"x", "", 2}}, "abcx", 1},
      {"beyond the end with a head", {{"x", "", 3}}, "abcx", 1},
      {"from the end, a head does not count", {{"x", "", -4}}, "xabc", 1},
      {"a head of all", {{"x", "", 1}}, "abcx", 3},
  };
  const HeaderSection section = parse_headers("a: 1\r\nb: 2\r\nc: 3\r\n\r\nbody\r\n");
  for (const Row& row : rows) {
    HeaderEditor editor(section, nothing(section), row.head);
    for (const Insertion& insertion : row.insertions)
      EXPECT_TRUE(editor.insert(insertion.name, insertion.value, insertion.order));
    const std::string bytes = editor.bytes();
    std::string names;
    for (const Field& field : parse_headers(bytes).fields) names += field.name;
    EXPECT_EQ(names, row.expected) << row.name;
  }
}

TEST(Headers, InsertionsIntoNothing) {
  for (const int order : {0, 1, 5, -1, -2}) {
    const HeaderSection section = parse_headers("");
    HeaderEditor editor(section, {}, 0);
    EXPECT_TRUE(editor.insert("X", "1", order));
    EXPECT_EQ(editor.bytes(), "X: 1\r\n") << order;
  }
}

TEST(Headers, InsertionsCountWhatRemovalsLeft) {
  const HeaderSection section = parse_headers("mark: 1\r\na: 1\r\nb: 2\r\nc: 3\r\n");
  HeaderEditor editor(section, {true, false, true, false}, 1);
  EXPECT_TRUE(editor.insert("x", "4", 1));
  EXPECT_EQ(editor.bytes(), "a: 1\r\nx: 4\r\nc: 3\r\n");
}

TEST(Headers, ANameThatIsNoneIsRefused) {
  const HeaderSection section = parse_headers("a: 1\r\n");
  HeaderEditor editor(section, nothing(section), 0);
  EXPECT_FALSE(editor.insert("x y", "1", 0));
  EXPECT_FALSE(editor.insert("", "1", -1));
  EXPECT_FALSE(editor.replace("x\r\ny", "1"));
  EXPECT_EQ(editor.bytes(), "a: 1\r\n");
}

TEST(Headers, Replacements) {
  struct Row {
    std::string name;
    std::string section;
    std::string expected;
  };
  const Row rows[] = {
      {"where it stands", "A: 1\r\nSubject: old\r\nB: 2\r\n", "A: 1\r\nSubject: new\r\nB: 2\r\n"},
      {"whatever its case", "sUbJeCt:old\r\nB: 2\r\n", "Subject: new\r\nB: 2\r\n"},
      {"with its folds", "A: 1\r\nSubject: o\r\n\tl\r\n d\r\nB: 2\r\n", "A: 1\r\nSubject: new\r\nB: 2\r\n"},
      {"all others go", "Subject: 1\r\nA: 1\r\nsubject: 2\r\n 3\r\nSubject: 4\r\nB: 2\r\n", "Subject: new\r\nA: 1\r\nB: 2\r\n"},
      {"at the end when missing", "A: 1\r\n", "A: 1\r\nSubject: new\r\n"},
      {"into nothing", "", "Subject: new\r\n"},
  };
  for (const Row& row : rows) {
    const HeaderSection section = parse_headers(row.section);
    HeaderEditor editor(section, nothing(section), 0);
    EXPECT_TRUE(editor.replace("Subject", "new"));
    EXPECT_EQ(editor.bytes(), row.expected) << row.name;
  }
}

// A letter for each field: S, M and A are those of ARC, all others are names.
std::string arc_order(const std::string& section_text, std::vector<Insertion> insertions) {
  const std::string arc = "SMA";
  const std::string names[] = {"ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"};
  for (Insertion& insertion : insertions) {
    if (const std::size_t at = arc.find(insertion.name); at != std::string::npos) insertion.name = names[at];
  }
  const HeaderSection section = parse_headers(section_text);
  HeaderEditor editor(section, nothing(section), 0);
  for (const Insertion& insertion : insertions) editor.insert(insertion.name, insertion.value, insertion.order);
  editor.order_arc_sets();
  const std::string bytes = editor.bytes();
  std::string order;
  for (const Field& field : parse_headers(bytes).fields) {
    const auto* name = std::find(std::begin(names), std::end(names), field.name);
    order += name == std::end(names) ? std::string(field.name) : arc.substr(static_cast<std::size_t>(name - names), 1);
    const std::size_t digit = field.raw.find_first_of("123456789");
    if (digit != std::string::npos) order += field.raw[digit];
  }
  return order;
}

TEST(Headers, AReplacementLeavesAHead) {
  const HeaderSection section = parse_headers("Subject: 1\r\nsubject: 2\r\nReceived: 3\r\nSubject: 4\r\nB: 5\r\n");
  HeaderEditor editor(section, nothing(section), 2);
  EXPECT_TRUE(editor.replace("Subject", "new"));
  EXPECT_TRUE(editor.insert("X", "1", 1));
  EXPECT_EQ(editor.bytes(), "Subject: new\r\nReceived: 3\r\nX: 1\r\nB: 5\r\n");
}

TEST(Headers, AReplacementIsFolded) {
  const HeaderSection section = parse_headers("");
  HeaderEditor editor(section, {}, 0);
  EXPECT_TRUE(editor.replace("Subject", std::string(60, 'a') + " " + std::string(20, 'b')));
  EXPECT_EQ(editor.bytes(), "Subject: " + std::string(60, 'a') + "\r\n " + std::string(20, 'b') + "\r\n");
}

TEST(Headers, AnArcSetIsOrderedHoweverItComes) {
  std::string permutation = "AMS";
  do {
    const auto with = [&](int first, int second, int third) {
      return arc_order("a:\r\nb:\r\nc:\r\n", {{permutation.substr(0, 1), "i=1; x", first},
                                              {permutation.substr(1, 1), "i=1; x", second},
                                              {permutation.substr(2, 1), "i=1; x", third}});
    };
    EXPECT_EQ(with(1, 1, 1), "aS1M1A1bc") << permutation;
    EXPECT_EQ(with(0, 0, 0), "S1M1A1abc") << permutation;
    EXPECT_EQ(with(-1, -1, -1), "abcS1M1A1") << permutation;
    EXPECT_EQ(with(1, 2, 3), "aS1M1A1bc") << permutation;
    EXPECT_EQ(with(3, 2, 1), "aS1bM1cA1") << permutation;
    EXPECT_EQ(with(0, 1, -1), "S1aM1bcA1") << permutation;
  } while (std::next_permutation(permutation.begin(), permutation.end()));
}

TEST(Headers, ArcSetsAndWhatStandsBetween) {
  struct Row {
    std::string name;
    std::vector<Insertion> insertions;
    std::string expected;
    std::string section = "a:\r\nb:\r\n";
  };
  const Row rows[] = {
      {"other fields keep their places",
       {{"A", "i=1", 1}, {"x", "", 1}, {"S", "i=1", 1}, {"y", "", 1}, {"M", "i=1", 1}},
       "aS1yM1xA1b"},
      {"two sets",
       {{"S", "i=2", 1}, {"A", "i=1", 1}, {"M", "i=2", 1}, {"S", "i=1", 1}, {"M", "i=1", 1}, {"A", "i=2", 1}},
       "aS2S1M1M2A1A2b"},
      {"no message signature", {{"S", "i=1", 1}, {"A", "i=1", 1}}, "aS1A1b"},
      {"no seal", {{"M", "i=1", 1}, {"A", "i=1", 1}}, "aM1A1b"},
      {"no results", {{"S", "i=1", 1}, {"M", "i=1", 1}}, "aS1M1b"},
      {"one alone", {{"A", "i=1", 1}}, "aA1b"},
      {"the same twice", {{"S", "i=1; 8", 1}, {"A", "i=1", 1}, {"S", "i=1; 9", 1}}, "aS1S1A1b"},
      {"what was there stays",
       {{"S", "i=1", 1}, {"A", "i=1", 1}},
       "A1S1A1M1b",
       "ARC-Authentication-Results: i=1\r\nARC-Message-Signature: i=1\r\nb:\r\n"},
      {"the tag anywhere, with blanks and folds", {{"S", "a=rsa;\n\ti =\n\t1; b=xi=3", 1}, {"A", " i=1;mx", 1}}, "aS1A1b"},
      {"no tag", {{"S", "a=1; ii=1", 1}, {"A", "mx1", 1}}, "aA1S1b"},
      {"an empty tag", {{"S", "i=", 1}, {"A", "i= ;", 1}}, "aASb"},
      {"whatever the case", {{"arc-seal", "i=1", 1}, {"A", "i=1", 1}}, "aarc-seal1A1b"},
  };
  for (const Row& row : rows) EXPECT_EQ(arc_order(row.section, row.insertions), row.expected) << row.name;
}

TEST(Headers, Removals) {
  struct Row {
    std::string name;
    std::vector<Removal> removals;
    std::string expected;  // the values that stay, of X 1, Y 2, x 3 (folded), X 4
  };
  const Row rows[] = {
      {"nothing", {}, "1234"},
      {"all of a name", {{"X", 0}}, "2"},
      {"all, whatever the case", {{"x", 0}, {"y", 0}}, ""},
      {"the first", {{"X", 1}}, "234"},
      {"the second, folds and all", {{"X", 2}}, "124"},
      {"the third", {{"X", 3}}, "123"},
      {"beyond the last", {{"X", 4}}, "1234"},
      {"the last", {{"X", -1}}, "123"},
      {"the last but one", {{"X", -2}}, "124"},
      {"the first from the end", {{"X", -3}}, "234"},
      {"beyond the first", {{"X", -4}}, "1234"},
      {"a list is counted on what was there", {{"X", 1}, {"X", 2}}, "24"},
      {"first and last", {{"X", 1}, {"X", -1}}, "23"},
      {"the same one twice", {{"X", 3}, {"X", -1}}, "123"},
      {"all, and some of them", {{"X", 0}, {"X", 1}, {"X", -1}, {"X", 0}}, "2"},
      {"an unknown name", {{"Z", 0}, {"Z", 1}, {"Z", -1}}, "1234"},
      {"the largest and the smallest", {{"X", std::numeric_limits<int>::max()}, {"X", std::numeric_limits<int>::min()}}, "1234"},
  };
  const HeaderSection section = parse_headers("X: 1\r\nY: 2\r\nx:\r\n\t3\r\nX : 4\r\n\r\nX: body\r\n");
  for (const Row& row : rows) {
    std::vector<bool> removed = nothing(section);
    mark_removed(section, row.removals, removed);
    std::string values;
    for (const char c : HeaderEditor(section, removed, 0).bytes()) {
      if (c >= '0' && c <= '9') values += c;
    }
    EXPECT_EQ(values, row.expected) << row.name;
  }
}

TEST(Headers, WhatIsNoFieldHasNoNameToRemove) {
  const HeaderSection section = parse_headers(" a: 1\r\nhello\r\n: 2\r\n");
  std::vector<bool> removed = nothing(section);
  mark_removed(section, {{" a", 0}, {"a", 0}, {"hello", 0}}, removed);
  EXPECT_THAT(removed, ElementsAre(false, false, false));
}

TEST(MakeField, EveryNewlineStyle) {
  for (const std::string newline : {"\n", "\r\n", "\r", "\n\n", "\r\n\r\n", "\n\r", "\n \n"}) {
    EXPECT_EQ(make_field("X", bytes_as("one;~two;~\tthree", '~', newline)), "X: one;\r\n\ttwo;\r\n\tthree\r\n") << newline;
  }
}

TEST(MakeField, Values) {
  struct Row {
    std::string name;
    std::string value;
    std::string expected;
  };
  const Row rows[] = {
      {"plain", "Yes", "X: Yes\r\n"},
      {"empty", "", "X:\r\n"},
      {"blanks", " \t ", "X:\r\n"},
      {"newlines", "\r\n\n\r", "X:\r\n"},
      {"leading and trailing blanks", "  Yes\t ", "X: Yes\r\n"},
      {"leading newline", "\r\n\tYes", "X: Yes\r\n"},
      {"trailing newline", "Yes\r\n", "X: Yes\r\n"},
      {"a fold without a blank gets a tab", "one\ntwo", "X: one\r\n\ttwo\r\n"},
      {"a fold with blanks keeps them", "one\n  two\n \tthree", "X: one\r\n  two\r\n \tthree\r\n"},
      {"empty pieces go", "one\n\t\n\n  \ntwo", "X: one\r\n\ttwo\r\n"},
      {"pieces of control bytes go", "one\n\x01\n\t\x02 \x7f\ntwo", "X: one\r\n\ttwo\r\n"},
      {"control bytes alone", "\x01\x02", "X:\r\n"},
      {"control bytes go", std::string("a\0b\x01\x1b[0mc\x7f", 10), "X: ab[0mc\r\n"},
      {"a control byte before a blank", "one\n\x01 two", "X: one\r\n two\r\n"},
      {"trailing blanks of a line go", "one; \n\ttwo", "X: one;\r\n\ttwo\r\n"},
      {"tabs within stay", "a\tb", "X: a\tb\r\n"},
      {"8-bit stays", "j\xc3\xb6rg \xff", "X: j\xc3\xb6rg \xff\r\n"},
      {"what looks like a field", "one\r\nBcc: two", "X: one\r\n\tBcc: two\r\n"},
      {"what looks like the end of the section", "one\r\n\r\nbody", "X: one\r\n\tbody\r\n"},
  };
  for (const Row& row : rows) EXPECT_EQ(make_field("X", row.value), row.expected) << row.name;
}

TEST(MakeField, Names) {
  for (const std::string name : {"X", "x-spam", "!#$%&'*+-.^_`{|}~\"(),/;<=>?@[\\]", "0"})
    EXPECT_EQ(make_field(name, "v"), name + ": v\r\n");
  const std::string bad[] = {"",       " ",   "X Y",  "X:",   ":",        "X\t",
                             "X\r\nY", "X\n", "\x7f", "\x01", "\xc3\xb6", std::string("X\0", 2)};
  for (const std::string& name : bad) EXPECT_EQ(make_field(name, "v"), "") << name;
  EXPECT_EQ(make_field(std::string(256, 'X'), "v"), std::string(256, 'X') + ": v\r\n");
  EXPECT_EQ(make_field(std::string(257, 'X'), "v"), "");
}

std::vector<std::string> lines_of(const std::string& field) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < field.size();) {
    const std::size_t end = field.find("\r\n", at);
    lines.push_back(field.substr(at, end - at));
    at = end + 2;
  }
  return lines;
}

TEST(MakeField, LongLinesAreBroken) {
  const auto a = [](std::size_t n) { return std::string(n, 'a'); };
  struct Row {
    std::string name;
    std::string value;
    std::vector<std::string> expected;
  };
  const Row rows[] = {
      {"997 bytes fit", a(994), {"X: " + a(994)}},
      {"998 do not", a(995), {"X: " + a(994), "\ta"}},
      {"before the last blank that fits", a(600) + " " + a(300) + " " + a(200), {"X: " + a(600) + " " + a(300), " " + a(200)}},
      {"a tab is a blank", a(900) + "\t" + a(200), {"X: " + a(900), "\t" + a(200)}},
      {"before a run of blanks, one of which stays",
       a(900) + "   " + a(2000),
       {"X: " + a(900), " " + a(996), "\t" + a(996), "\t" + a(8)}},
      {"not before a blank that stands too early", a(400) + " " + a(700), {"X: " + a(400) + " " + a(593), "\t" + a(107)}},
      {"a blank rather than a comma", a(700) + " " + a(100) + "," + a(300), {"X: " + a(700), " " + a(100) + "," + a(300)}},
      {"after a comma", a(900) + "," + a(200), {"X: " + a(900) + ",", "\t" + a(200)}},
      {"after a semicolon", a(900) + ";" + a(200), {"X: " + a(900) + ";", "\t" + a(200)}},
      {"at a comma that ends the line", a(993) + "," + a(9), {"X: " + a(993) + ",", "\t" + a(9)}},
      {"a blank right behind the line", a(994) + " b", {"X: " + a(994), " b"}},
      {"a continuation", "b\n" + a(1000), {"X: b", "\t" + a(996), "\t" + a(4)}},
      {"no line of blanks alone: in the middle", "a" + std::string(3000, ' ') + "b", {"X: a" + std::string(993, ' '), " b"}},
      {"no line of blanks alone: in front", "a\n" + std::string(3000, ' ') + "b", {"X: a", " b"}},
      {"no line of blanks alone: at the end", a(994) + std::string(3000, ' '), {"X: " + a(994)}},
      {"UTF-8 is not split", a(993) + "\xc3\xb6" + a(4), {"X: " + a(993), "\t\xc3\xb6" + a(4)}},
      {"UTF-8 that fits", a(992) + "\xc3\xb6" + a(4), {"X: " + a(992) + "\xc3\xb6", "\t" + a(4)}},
      {"UTF-8 of four bytes", a(991) + "\xf0\x9f\x93\xa7" + a(4), {"X: " + a(991), "\t\xf0\x9f\x93\xa7" + a(4)}},
      {"what is no UTF-8", std::string(1000, '\x80'), {"X: " + std::string(994, '\x80'), "\t" + std::string(6, '\x80')}},
  };
  for (const Row& row : rows) EXPECT_THAT(lines_of(make_field("X", row.value)), ElementsAreArray(row.expected)) << row.name;

  const std::string long_name = std::string(256, 'N');
  for (const std::string& line : lines_of(make_field(long_name, repeated("word, ", 2000)))) EXPECT_LE(line.size(), 997u);
}

TEST(MakeField, LinesAreFoldedToAWidth) {
  const auto a = [](std::size_t n) { return std::string(n, 'a'); };
  const std::string word = "=?utf-8?Q?" + a(63) + "?=";  // 75, the longest there may be (RFC 2047 2)
  const std::string half = "=?utf-8?Q?" + a(25) + "?=";  // 37
  struct Row {
    std::string name;
    std::string value;
    std::vector<std::string> expected;
  };
  const Row rows[] = {
      {"76 fit", a(67), {"Subject: " + a(67)}},
      {"77 do not", a(68), {"Subject:", " " + a(68)}},
      {"at the last blank that fits", "b " + a(65) + " c", {"Subject: b " + a(65), " c"}},
      {"a blank behind the last column", a(67) + " c", {"Subject: " + a(67), " c"}},
      {"the longest word", word, {"Subject:", " " + word}},
      {"behind other words", "[SPAM 1.00] " + word, {"Subject: [SPAM 1.00]", " " + word}},
      {"as many as fit", half + " " + half + " " + half, {"Subject: " + half, " " + half + " " + half}},
      {"words without a blank between them", word + word + half, {"Subject:", " " + word, " " + word, " " + half}},
      {"as many of those as fit", half + half + half, {"Subject: " + half, " " + half + half}},
      {"old folds stay", "one\r\n\ttwo\r\n  three", {"Subject: one", "\ttwo", "  three"}},
      {"old folds stay, and others come",
       word + "\n\t" + half + " " + half + "\tx",
       {"Subject:", " " + word, "\t" + half + " " + half, "\tx"}},
      {"before all blanks", a(60) + " \t " + a(20), {"Subject: " + a(60), " \t " + a(20)}},
      {"a word that is longer stays whole", "b " + a(100) + " c", {"Subject: b", " " + a(100), " c"}},
      {"one word of the longest line", a(996), {"Subject:", " " + a(996)}},
      {"one word beyond any line", a(1000), {"Subject:", " " + a(996), "\t" + a(4)}},
      {"no line of blanks alone", a(70) + std::string(2000, ' ') + "b", {"Subject:", " " + a(70), " b"}},
  };
  for (const Row& row : rows) {
    EXPECT_THAT(lines_of(make_field("Subject", row.value, encoded_width)), ElementsAreArray(row.expected)) << row.name;
  }
  std::string value = word;
  std::vector<std::string> lines = {"Subject:", " " + word};
  for (int n = 1; n < 30; ++n) {
    value += " " + word;
    lines.push_back(" " + word);
  }
  EXPECT_EQ(lines_of(make_field("Subject", value, encoded_width)), lines) << "30 encoded words";
}

TEST(MakeField, ValuesEndAt32KiB) {
  const auto size_of_value = [](const std::string& value) {
    const std::string field = make_field("X", value);
    return std::count(field.begin(), field.end(), 'v') + 2 * std::count(field.begin(), field.end(), '\xc3');
  };
  constexpr long cap = 32 * 1024;
  EXPECT_EQ(size_of_value(std::string(cap, 'v')), cap);
  EXPECT_EQ(size_of_value(std::string(cap + 1, 'v')), cap);
  EXPECT_EQ(size_of_value(std::string(cap - 2, 'v') + "\xc3\xb6 v"), cap);
  const std::string split = make_field("X", std::string(cap - 1, 'v') + "\xc3\xb6");
  EXPECT_EQ(split.substr(split.size() - 3), "v\r\n");
}

TEST(Headers, AuthservIds) {
  struct Row {
    std::string name;
    std::string value;
    std::string expected;
  };
  const Row rows[] = {
      {"plain", " mx.example.org; spf=pass", "mx.example.org"},
      {"no results", " mx.example.org; none\r\n", "mx.example.org"},
      {"alone", "mx.example.org", "mx.example.org"},
      {"alone with a line end", " mx.example.org\r\n", "mx.example.org"},
      {"no blank", "mx.example.org;none", "mx.example.org"},
      {"version", " mx.example.org 1; none", "mx.example.org"},
      {"version and comments", " mx.example.org (x) 1 (y); none", "mx.example.org"},
      {"folded", "\r\n\tmx.example.org;\r\n\tnone", "mx.example.org"},
      {"comment in front", " (a comment) mx.example.org; none", "mx.example.org"},
      {"nested comments", " (a (b) (c(d))) mx.example.org; none", "mx.example.org"},
      {"a quoted ')' in a comment", " (a \\) b) mx.example.org; none", "mx.example.org"},
      {"comment right behind", " mx.example.org(c); none", "mx.example.org"},
      {"folded comment", " (a\r\n b)\r\n mx.example.org; none", "mx.example.org"},
      {"an open comment", " (mx.example.org; none", ""},
      {"a backslash at the end", " (\\", ""},
      {"quoted", " \"mx.example.org\"; none", "mx.example.org"},
      {"quoted with a blank", " \"mx example\" 1; none", "mx example"},
      {"quoted pair", " \"mx\\.exam\\\\ple\\\"\"; none", "mx.exam\\ple\""},
      {"an open quote", " \"mx.example.org", "mx.example.org"},
      {"a backslash at the end of an open quote", " \"mx\\", "mx\\"},
      {"none", " ; none", ""},
      {"empty", "", ""},
      {"blanks", " \r\n\t", ""},
  };
  for (const Row& row : rows) EXPECT_EQ(authserv_id(row.value), row.expected) << row.name;
}

}  // namespace
}  // namespace mailbridge::mail
