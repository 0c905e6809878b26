#include "base/networks.hpp"

#include <gtest/gtest.h>

#include <string>

namespace mailbridge {
namespace {

TEST(Network, IsReadAsItIsWritten) {
  struct Row {
    std::string network;
    std::vector<std::string> inside;
    std::vector<std::string> outside;
  };
  const Row rows[] = {
      {"192.0.2.0/24", {"192.0.2.0", "192.0.2.255", "::ffff:192.0.2.7"}, {"192.0.1.255", "192.0.3.0", "::192.0.2.7"}},
      {"192.0.2.77/24", {"192.0.2.1"}, {"192.0.3.1"}},
      {"192.0.2.1", {"192.0.2.1"}, {"192.0.2.0", "192.0.2.2"}},
      {"192.0.2.4/30", {"192.0.2.4", "192.0.2.7"}, {"192.0.2.3", "192.0.2.8"}},
      {"0.0.0.0/0", {"0.0.0.0", "255.255.255.255"}, {"::", "2001:db8::1"}},
      {"2001:db8::/32",
       {"2001:db8::", "2001:DB8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::1%eth0"},
       {"2001:db9::", "2001:db7::"}},
      {"2001:db8::1", {"2001:db8:0:0:0:0:0:1", "2001:0db8::0001"}, {"2001:db8::2"}},
      {"fe80::/10", {"fe80::1%eth0", "febf::1"}, {"fec0::1", "fe7f::1"}},
      {"::/0", {"::", "ffff::", "192.0.2.1"}, {}},
      {"::ffff:192.0.2.0/120", {"192.0.2.9"}, {"192.0.3.9"}},
      {"1:2:3:4:5:6:7::", {"1:2:3:4:5:6:7:0"}, {"1:2:3:4:5:6:7:1"}},
      {"1:2:3:4:5:6:192.0.2.1", {"1:2:3:4:5:6:c000:201"}, {}},
  };
  for (const Row& row : rows) {
    const auto network = parse_network(row.network);
    ASSERT_TRUE(network) << row.network;
    const Networks networks({*network});
    for (const std::string& address : row.inside) EXPECT_TRUE(networks.contain(address)) << row.network << " " << address;
    for (const std::string& address : row.outside) EXPECT_FALSE(networks.contain(address)) << row.network << " " << address;
  }
}

TEST(Network, IsRefusedWhenItIsNone) {
  for (const std::string text : {"",
                                 "/",
                                 "x",
                                 "1.2.3",
                                 "1.2.3.4.5",
                                 "1.2.3.256",
                                 "1.2.3.0004",
                                 "1..2.3",
                                 "1.2.3.4/33",
                                 "1.2.3.4/",
                                 "1.2.3.4/-1",
                                 "1.2.3.4/8/8",
                                 " 1.2.3.4",
                                 "1.2.3.4 ",
                                 ":",
                                 ":::",
                                 "::1::",
                                 "1:2:3:4:5:6:7",
                                 "1:2:3:4:5:6:7:8:9",
                                 "1:2:3:4:5:6:7:8::",
                                 "12345::",
                                 "g::",
                                 "1:",
                                 ":1",
                                 "::/129",
                                 "1:2:3:4:5:6:7:1.2.3.4",
                                 "1.2.3.4:5::",
                                 "fe80::1%eth0",
                                 "example.org",
                                 "[::1]"}) {
    const auto network = parse_network(text);
    EXPECT_FALSE(network) << text;
  }
  EXPECT_EQ(parse_network("10.0.0.0/99").error().what, "an address or ADDRESS/BITS is wanted, not 10.0.0.0/99");
}

TEST(Networks, WhatIsNoAddressIsInNone) {
  const Networks all({*parse_network("::/0")});
  for (const std::string text : {"", "unix:/run/smtpd.sock", "<unknown>", "%", "192.0.2.1:25"})
    EXPECT_FALSE(all.contain(text)) << text;
  EXPECT_FALSE(Networks().contain("192.0.2.1"));
}

TEST(Networks, ManyAreFoundWhereverTheyStand) {
  std::vector<Network> networks;
  for (int i = 0; i < 256; i += 2) networks.push_back(*parse_network("10.0." + std::to_string(i) + ".0/24"));
  networks.push_back(*parse_network("10.0.64.0/20"));  // over some of them
  networks.push_back(*parse_network("10.0.65.0/24"));
  const Networks set(std::move(networks));
  for (int i = 0; i < 256; ++i) {
    const std::string third = "10.0." + std::to_string(i);
    const bool inside = i % 2 == 0 || (i >= 64 && i < 80);
    EXPECT_EQ(set.contain(third + ".0"), inside) << i;
    EXPECT_EQ(set.contain(third + ".255"), inside) << i;
  }
  EXPECT_FALSE(set.contain("9.255.255.255"));
  EXPECT_FALSE(set.contain("10.1.0.0"));
}

}  // namespace
}  // namespace mailbridge
