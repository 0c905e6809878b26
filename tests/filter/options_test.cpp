#include "filter/options.hpp"

#include <gtest/gtest.h>

namespace mailbridge::filter {
namespace {

// "--name=value" for each row with a default, one a line.
std::string defaults(std::string_view, const std::vector<options::OptionText>& rows) {
  std::string text;
  for (const options::OptionText& row : rows) {
    if (!row.default_value.empty()) text.append("--").append(row.name).append("=").append(row.default_value).append("\n");
  }
  return text;
}

// read_table() takes a default unseen: one that its own row refuses would leave the setting empty.
TEST(Options, EachDefaultIsOneThatItsRowTakes) {
  const std::string lines = describe_options(defaults);
  std::size_t count = 0;
  for (std::size_t from = 0, end = 0; (end = lines.find('\n', from)) != std::string::npos; from = end + 1, ++count) {
    const auto read = read_settings({"filter-mailbridge", lines.substr(from, end - from)});
    EXPECT_TRUE(read) << (read ? "" : read.error().what);
  }
  EXPECT_GT(count, 15U);
}

TEST(Options, WithoutAnyTheDefaultsAreRead) {
  const auto read = read_settings(std::vector<GivenOption>{});
  ASSERT_TRUE(read);
  EXPECT_EQ(read->upstreams.size(), 1U);
  EXPECT_EQ(read->engine.scan_timeout, std::chrono::seconds(30));
  EXPECT_EQ(read->engine.max_size, std::size_t{40} << 20);
  const policy::OnFailure& on_failure = read->engine.policy.on_failure;
  for (const policy::OnError policy :
       {on_failure.unreachable, on_failure.timeout, on_failure.http_error, on_failure.unreadable, on_failure.overload}) {
    EXPECT_EQ(policy, policy::OnError::tempfail);
  }
  EXPECT_EQ(on_failure.too_large, policy::OnError::accept);
  EXPECT_TRUE(read->engine.recipients.refuse_unknown);
  EXPECT_EQ(read->log_target, net::LogTarget::syslog);
  EXPECT_EQ(read->log_level, Level::info);
  EXPECT_TRUE(read->given.empty());
}

}  // namespace
}  // namespace mailbridge::filter
