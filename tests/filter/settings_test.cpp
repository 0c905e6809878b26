#include "filter/settings.hpp"

#include <gtest/gtest.h>

#include "filter/log_pause.hpp"
#include "filter/options.hpp"

namespace mailbridge::filter {
namespace {

using namespace std::chrono_literals;

TEST(LogPause, DoublesUpToASecondAndBeginsAnewWhenTheLogTakesSomething) {
  std::vector<Duration> pauses{first_log_pause};
  for (int n = 0; n < 9; ++n) pauses.push_back(next_log_pause(pauses.back(), false));
  EXPECT_EQ(pauses, (std::vector<Duration>{10ms, 20ms, 40ms, 80ms, 160ms, 320ms, 640ms, 1s, 1s, 1s}));
  EXPECT_EQ(next_log_pause(1s, true), 10ms);
}

TEST(Settings, NeedsOfDescriptors) {
  struct Row {
    std::string name;
    std::vector<GivenOption> options;
    std::size_t probes, connections, names;
  };
  const Row rows[] = {
      {"the defaults", {}, 0, 0, 0},
      {"a name", {{"--rspamd", "http://scan.example.org"}}, 0, 0, 1},
      {"several servers",
       {{"--rspamd", "http://scan.example.org"}, {"--rspamd", "unix:/x"}, {"--rspamd", "http://[::1]"}},
       3,
       0,
       1},
      {"Dovecot", {{"--lmtp", "/x"}, {"--lmtp", "mail.example.org:24"}, {"--lmtp-connections", "5"}}, 0, 5, 1},
      {"quota-status alone", {{"--quota-status", "mail.example.org:12340"}}, 0, 4, 1},
      {"both", {{"--lmtp", "/x"}, {"--quota-status", "unix:/y"}}, 0, 8, 0},
  };
  for (const Row& row : rows) {
    const auto settings = read_settings(row.options);
    ASSERT_TRUE(settings) << row.name << ": " << settings.error().what;
    const DescriptorNeeds needs = descriptor_needs(*settings, 3);
    EXPECT_EQ(needs.open, 3U) << row.name;
    EXPECT_EQ(needs.rspamd_probes, row.probes) << row.name;
    EXPECT_EQ(needs.connections, row.connections) << row.name;
    EXPECT_EQ(needs.names, row.names) << row.name;
  }
}

TEST(Settings, WhichServersWantTls) {
  const auto read = [](std::vector<GivenOption> options) { return read_settings(options).value(); };
  EXPECT_FALSE(read({}).rspamd_wants_tls());
  EXPECT_FALSE(read({{"--rspamd", "unix:/x"}}).rspamd_wants_tls());
  EXPECT_TRUE(read({{"--rspamd", "unix:/x"}, {"--rspamd", "https://h:1"}}).rspamd_wants_tls());
  EXPECT_FALSE(read({{"--lmtp", "h:24"}}).lmtp.wants_tls());
  EXPECT_TRUE(read({{"--lmtp", "h:24"}, {"--lmtp-starttls", ""}}).lmtp.wants_tls());
  EXPECT_TRUE(read({{"--lmtp", "/x"}, {"--lmtp", "lmtps://h:24"}}).lmtp.wants_tls());
  EXPECT_FALSE(read({{"--lmtp-starttls", ""}}).lmtp.wants_tls()) << "there is no server";
}

}  // namespace
}  // namespace mailbridge::filter
