#include "filter/descriptors.hpp"

#include <limits>

#include <gtest/gtest.h>

namespace mailbridge::filter {
namespace {

TEST(Descriptors, AreSharedOut) {
  constexpr std::size_t endless = std::numeric_limits<std::size_t>::max();
  const struct {
    const char* what;
    std::size_t limit;
    DescriptorNeeds needs;
    std::size_t max_scans;
    std::size_t scans;
    std::size_t files;
  } rows[] = {
      {"plenty", 524'288, {.open = 4}, 256, 256, 524'288 - 16 - 256},
      {"no limit", endless, {.open = 4}, 256, 256, endless - 16 - 256},
      {"few", 64, {.open = 4}, 256, 24, 24},
      {"few, but so are the scans", 64, {.open = 4}, 10, 10, 38},
      {"one more for an odd number", 65, {.open = 4}, 256, 24, 25},
      {"Dovecot", 64, {.open = 4, .connections = 4}, 256, 22, 22},
      {"two servers by name", 64, {.open = 4, .rspamd_probes = 2, .names = 2}, 256, 19, 19},
      {"the last one", 18, {.open = 4}, 256, 1, 1},
      {"not even that", 17, {.open = 4}, 256, 1, 1},
      {"nothing is left", 16, {.open = 40, .connections = 100}, 256, 1, 1},
  };
  for (const auto& row : rows) {
    const DescriptorShares shares = share_descriptors(row.limit, row.needs, row.max_scans);
    EXPECT_EQ(shares.scans, row.scans) << row.what;
    EXPECT_EQ(shares.files, row.files) << row.what;
  }
}

}  // namespace
}  // namespace mailbridge::filter
