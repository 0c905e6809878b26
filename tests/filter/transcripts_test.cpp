// Every transcript in tests/sessions/filter is played whole, byte by byte and in random cuts, with the same output; and broken at
// each arrival, with smtpd's rules kept. The recordings of real smtpd are played as input.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "base/transcript.hpp"
#include "filter/options.hpp"
#include "policy/client_part.hpp"
#include "smtpd/line.hpp"
#include "tests/support/filter_player.hpp"

namespace mailbridge::testing {
namespace {

using Path = std::string;  // gtest 1.12 tries to print a std::filesystem::path as the container of itself

std::string read(const Path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<Path> sessions(const std::string& directory) {
  std::vector<Path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(MB_SOURCE_DIR + std::string("/tests/") + directory)) {
    if (entry.path().extension() == ".session") paths.push_back(entry.path().native());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string name_of(const ::testing::TestParamInfo<Path>& info) {
  const std::filesystem::path path(info.param);
  std::string name = path.parent_path().filename().string() + "_" + path.stem().string();
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

class Transcript : public ::testing::TestWithParam<Path> {
 protected:
  const std::vector<transcript::Line> lines = transcript::parse(read(GetParam()));
};

const std::vector<std::string> none;

TEST_P(Transcript, IsPlayedTheSameHoweverItIsCut) {
  const Played whole = play_filter(lines, {Manner::Cuts::whole});
  EXPECT_EQ(whole.differences, none);
  EXPECT_EQ(whole.violations, none);
  std::vector<Manner> manners = {{Manner::Cuts::lines}, {Manner::Cuts::bytes}};
  for (unsigned seed = 1; seed <= 20; ++seed) manners.push_back({Manner::Cuts::random, seed});
  for (const Manner& manner : manners) {
    const Played cut = play_filter(lines, manner);
    EXPECT_EQ(cut.differences, none) << "seed " << manner.seed;
    EXPECT_EQ(cut.violations, none) << "seed " << manner.seed;
    EXPECT_EQ(cut.to_smtpd, whole.to_smtpd) << "seed " << manner.seed;
    EXPECT_EQ(cut.to_rspamd, whole.to_rspamd) << "seed " << manner.seed;
    EXPECT_EQ(cut.looked_up, whole.looked_up) << "seed " << manner.seed;
    EXPECT_EQ(cut.to_dovecot, whole.to_dovecot) << "seed " << manner.seed;
  }
}

TEST_P(Transcript, KeepsTheRulesWhenBrokenAtAnyArrival) {
  const std::size_t arrivals = play_filter(lines, {}).arrivals;
  for (std::size_t at = 0; at < arrivals; ++at) {
    for (const Ending::Kind kind : {Ending::Kind::closed, Ending::Kind::timed_out, Ending::Kind::failed}) {
      const Played broken = play_filter(lines, {Manner::Cuts::lines, 0, at, kind});
      EXPECT_EQ(broken.violations, none) << "arrival " << at << " " << to_string(Ending{kind});
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Filter, Transcript, ::testing::ValuesIn(sessions("sessions/filter")), name_of);

class Recording : public ::testing::TestWithParam<Path> {};

// The recordings hold what real smtpd said to a filter that only echoes, so the mail comes back from ours as it came back from
// that one, and only rspamd's part is missing: every scan is answered with `reply`, or not at all.
TEST_P(Recording, IsFollowed) {
  const std::string ok = "R> HTTP/1.1 200 OK\\r\nR> Content-Length: 22\\r\nR> \\r\nR> {\"action\":\"no action\"}\\\n";
  for (const bool answered : {true, false}) {
    std::string text;
    std::string echoed;
    std::string begun;      // of a message that may never end
    std::string unscanned;  // what comes back whether or not rspamd answers
    policy::ClientPart part;
    unsigned scans = 0;
    for (const transcript::Line& line : transcript::parse(read(GetParam()))) {
      if (line.direction == '<') {
        if (line.text.starts_with("filter-dataline|")) begun += line.text;
        if (!line.text.ends_with("|.\n")) continue;
        if (std::exchange(part, {}).empty()) unscanned += begun;
        echoed += std::exchange(begun, {});
        continue;
      }
      // The recording filter also asked for phases that ours does not, and smtpd does not ask about those.
      if (line.text.find("|mail-from|") != std::string::npos || line.text.find("|rcpt-to|") != std::string::npos) continue;
      transcript::append(text, "S>", line.text);
      const auto parsed = smtpd::parse_line(std::string_view(line.text).substr(0, line.text.size() - 1));
      const auto* data = parsed ? std::get_if<smtpd::DataLine>(&parsed->event) : nullptr;
      if (!data) continue;
      if (data->line != ".") {
        part.line(data->line);
        continue;
      }
      if (part.empty()) continue;
      ++scans;
      std::string reply = ok;
      for (std::size_t at = 0; (at = reply.find("R> ", at)) != std::string::npos; at += 3)
        reply.insert(at + 1, std::to_string(scans));
      text += answered ? reply : "T 31000\n";
    }
    ASSERT_GT(text.size(), 0U);
    text += "N registered\n";
    const Played played = play_filter(transcript::parse(text), {Manner::Cuts::random, 7});
    EXPECT_EQ(played.differences, none);
    EXPECT_EQ(played.violations, none);
    std::string mail;
    for (std::size_t at = 0; (at = played.to_smtpd.find("filter-dataline|", at)) != std::string::npos;) {
      const std::size_t end = played.to_smtpd.find('\n', at) + 1;
      mail += played.to_smtpd.substr(at, end - at);
      at = end;
    }
    if (answered) EXPECT_EQ(mail, echoed);
    else
      EXPECT_EQ(std::count(mail.begin(), mail.end(), '\n'), scans + std::count(unscanned.begin(), unscanned.end(), '\n'))
          << "a '.' for each";
  }
}

INSTANTIATE_TEST_SUITE_P(Smtpd68, Recording, ::testing::ValuesIn(sessions("data/smtpd-6.8")), name_of);
INSTANTIATE_TEST_SUITE_P(Smtpd78, Recording, ::testing::ValuesIn(sessions("data/smtpd-7.8")), name_of);

TEST(Options, AreReadAsTheyWereRecorded) {
  using Given = std::vector<filter::GivenOption>;
  const auto read =
      filter::read_settings(Given{{"--rspamd-ca", ""}, {"--submission", ""}, {"--monitor", "true"}, {"--max-scans", "7"}});
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_TRUE(read->engine.submission);
  EXPECT_TRUE(read->engine.monitor);
  EXPECT_EQ(read->engine.max_scans, 7u);
  Given headers(32, {"--request-header", "X-Site: a"});
  EXPECT_TRUE(filter::read_settings(headers));
  headers.push_back(headers.back());
  EXPECT_EQ(filter::read_settings(headers).error().what, "--request-header: 32 headers at most");
}

TEST(Player, IsStrict) {
  struct Row {
    std::string text;
    std::string difference;  // how it begins
  };
  const Row rows[] = {
      {"S> config|ready\n", "the transcript expects nothing"},
      {"S> config|ready\nN registered\nM> x\n", "line 3: a lane that is not the filter's"},
      {"S> config|ready\nN registered\nD> dot 250 x\n", "line 3: no such delivery"},
      {"S> config|ready\nN registered\nL> known\n", "line 3: no such look-up"},
      {"S> config|ready\nN registered\nL< a@example.org 0\n", "line 3: expected a@example.org 0"},
      {"S> config|ready\nN registered\nL> perhaps\n", "line 3: no answer to a look-up"},
      {"S> config|ready\nN registered\nR> x\n", "line 3: no such scan"},
      {"S> config|ready\nN nothing of the kind\n", "line 2: no such note"},
      {"S> config|ready\nS< register|ready\n", "line 2: expected register|ready"},
      {"S> filter|0.7|1.2|smtp-in|noop|0a|70|\nS> filter|0.7|1.2|smtp-in|noop|0a|70|\nS< filter-result|0a|70|proceed\n",
       "more was written to smtpd"},
      {"O --no-such x\nS> config|ready\nN registered\n", "O lines: no such option: --no-such"},
      {"S> config|ready\nN registered\nT soon\n", "line 3: T wants milliseconds"},
      {"S> config|ready\nN registered\nR! asleep\n", "line 3: no ending"},
  };
  for (const Row& row : rows) {
    const Played played = play_filter(transcript::parse(row.text), {});
    ASSERT_FALSE(played.differences.empty()) << row.text;
    EXPECT_TRUE(played.differences[0].starts_with(row.difference)) << played.differences[0];
  }
}

}  // namespace
}  // namespace mailbridge::testing
