#include "policy/classes.hpp"

#include <gtest/gtest.h>

namespace mailbridge::policy {
namespace {

std::string names(ClassSet set) {
  std::string text;
  for (const Class which : classes) {
    if (set.contains(which)) text += std::string(text.empty() ? "" : " ") + std::string(to_string(which));
  }
  return text;
}

ClassSettings settings() {
  ClassSettings settings;
  settings.networks = Networks({*parse_network("192.0.2.0/24"), *parse_network("127.0.0.0/8")});
  EXPECT_TRUE(settings.recipients.add("@Example.ORG"));
  EXPECT_TRUE(settings.recipients.add("Abuse@example.net"));
  return settings;
}

mail::Envelope envelope(std::string ip, std::vector<std::string> recipients = {}, std::string user = {}, bool local = false) {
  mail::Envelope envelope;
  envelope.ip = std::move(ip);
  envelope.recipients = std::move(recipients);
  envelope.user = std::move(user);
  envelope.local = local;
  return envelope;
}

TEST(Classes, AreWhatIsKnownOfTheMessage) {
  struct Row {
    std::string story;
    mail::Envelope message;
    std::string classes;
  };
  const Row rows[] = {
      {"nobody knows", envelope(""), ""},
      {"from a network", envelope("192.0.2.7", {"x@example.com"}), "networks"},
      {"from elsewhere", envelope("198.51.100.7"), ""},
      {"authenticated from a network", envelope("192.0.2.7", {}, "alice"), "authenticated networks"},
      {"the local socket has no address, whatever rspamd is told", envelope("127.0.0.1", {}, "", true), "local"},
      {"over the loopback interface", envelope("127.0.0.1"), "networks"},
      {"to a domain", envelope("", {"bob@EXAMPLE.org"}), "recipients"},
      {"to an address", envelope("", {"aBuSe@Example.Net"}), "recipients"},
      {"to another one of its domain", envelope("", {"bob@example.net"}), ""},
      {"to a domain below", envelope("", {"bob@sub.example.org"}), ""},
      {"all of them", envelope("", {"bob@example.org", "abuse@example.net"}), "recipients"},
      {"all but one", envelope("", {"bob@example.org", "abuse@example.net", "x@example.com"}), ""},
      {"an address without a domain", envelope("", {"example.org"}), ""},
      {"all four", envelope("192.0.2.7", {"bob@example.org"}, "alice"), "authenticated networks recipients"},
  };
  for (const Row& row : rows) EXPECT_EQ(names(settings().of(row.message)), row.classes) << row.story;
  EXPECT_EQ(names(ClassSettings().of(envelope("192.0.2.7", {"bob@example.org"}))), "") << "nothing is configured";
}

TEST(Classes, TheFirstOneDecides) {
  ClassSet holds;
  holds.insert(Class::recipients);
  holds.insert(Class::authenticated);
  ClassSettings chosen;
  chosen.settings_id = "inbound";
  EXPECT_EQ(chosen.settings_id_for(holds), "inbound");
  chosen.class_settings_id[static_cast<std::size_t>(Class::networks)] = "inside";
  EXPECT_EQ(chosen.settings_id_for(holds), "inbound");
  chosen.class_settings_id[static_cast<std::size_t>(Class::recipients)] = "abuse-desk";
  EXPECT_EQ(chosen.settings_id_for(holds), "abuse-desk");
  chosen.class_settings_id[static_cast<std::size_t>(Class::authenticated)] = "outbound";
  EXPECT_EQ(chosen.settings_id_for(holds), "outbound");

  EXPECT_FALSE(chosen.skip.first_of(holds));
  chosen.skip.insert(Class::networks);
  EXPECT_FALSE(chosen.skip.first_of(holds));
  chosen.skip.insert(Class::recipients);
  EXPECT_EQ(chosen.skip.first_of(holds), Class::recipients);
  chosen.skip.insert(Class::authenticated);
  EXPECT_EQ(chosen.skip.first_of(holds), Class::authenticated);
}

TEST(Classes, SettingsIds) {
  EXPECT_EQ(*parse_settings_id("inbound"), std::pair(std::optional<Class>(), std::string("inbound")));
  EXPECT_EQ(*parse_settings_id("local=x"), std::pair(std::optional(Class::local), std::string("x")));
  EXPECT_EQ(parse_settings_id("lokal=x").error().what,
            "one of authenticated, local, networks and recipients is wanted, not lokal");
  EXPECT_FALSE(parse_settings_id(""));
  EXPECT_FALSE(parse_settings_id("local="));
}

TEST(Recipient, IsAnAddressOrADomain) {
  for (const std::string entry : {"", "alice", "alice@", "@", "<alice@example.org>", "alice bob@example.org"}) {
    EXPECT_FALSE(Recipients().add(entry)) << entry;
  }
}

TEST(List, HoldsOneEntryALine) {
  std::vector<std::string> entries;
  const auto take = [&](std::string_view entry) -> Result<void> {
    if (entry == "bad") return fail(Errc::malformed, "bad it is");
    entries.emplace_back(entry);
    return {};
  };
  EXPECT_TRUE(parse_list("# ours\n\n 192.0.2.0/24 \t# the office\r\na#b@example.org\n#\nlast", "/x", take));
  EXPECT_EQ(entries, (std::vector<std::string>{"192.0.2.0/24", "a#b@example.org", "last"}));
  EXPECT_EQ(parse_list("good\n\nbad # no\n", "/etc/list", take).error().what, "/etc/list:3: bad it is");
}

}  // namespace
}  // namespace mailbridge::policy
