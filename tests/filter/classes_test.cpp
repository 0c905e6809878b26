#include "filter/classes.hpp"

#include <gtest/gtest.h>

namespace mailbridge::filter {
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

TEST(Classes, AreWhatIsKnownOfTheMessage) {
  struct Row {
    std::string story;
    mail::Envelope envelope;
    std::string classes;
  };
  const Row rows[] = {
      {"nobody knows", {}, ""},
      {"from a network", {.ip = "192.0.2.7", .recipients = {"x@example.com"}}, "networks"},
      {"from elsewhere", {.ip = "198.51.100.7"}, ""},
      {"authenticated from a network", {.ip = "192.0.2.7", .user = "alice"}, "authenticated networks"},
      {"the local socket has no address, whatever rspamd is told", {.ip = "127.0.0.1", .local = true}, "local"},
      {"over the loopback interface", {.ip = "127.0.0.1"}, "networks"},
      {"to a domain", {.recipients = {"bob@EXAMPLE.org"}}, "recipients"},
      {"to an address", {.recipients = {"aBuSe@Example.Net"}}, "recipients"},
      {"to another one of its domain", {.recipients = {"bob@example.net"}}, ""},
      {"to a domain below", {.recipients = {"bob@sub.example.org"}}, ""},
      {"all of them", {.recipients = {"bob@example.org", "abuse@example.net"}}, "recipients"},
      {"all but one", {.recipients = {"bob@example.org", "abuse@example.net", "x@example.com"}}, ""},
      {"an address without a domain", {.recipients = {"example.org"}}, ""},
      {"all four", {.ip = "192.0.2.7", .recipients = {"bob@example.org"}, .user = "alice"}, "authenticated networks recipients"},
  };
  for (const Row& row : rows) EXPECT_EQ(names(settings().of(row.envelope)), row.classes) << row.story;
  EXPECT_EQ(names(ClassSettings().of({.ip = "192.0.2.7", .recipients = {"bob@example.org"}})), "") << "nothing is configured";
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
}  // namespace mailbridge::filter
