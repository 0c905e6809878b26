#include "filter/check.hpp"

#include <grp.h>
#include <pwd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include "base/text.hpp"
#include "mail/message.hpp"
#include "options/check_keys.hpp"
#include "rspamd/scan_request.hpp"
#include "wires/mailboxes.hpp"
#include "wires/rspamd.hpp"

namespace mailbridge::filter {
namespace {

// In two parts, so that this program is not taken for spam itself.
constexpr const char* gtube[] = {"XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"};
constexpr std::size_t max_shown = 300;
constexpr std::size_t larger_than_any_quota = std::size_t{1} << 40;

std::shared_ptr<mail::Message> test_spam() {
  const auto message = std::make_shared<mail::Message>();
  for (const char* line : {"Subject: test of filter-mailbridge", "From: postmaster@localhost", "To: postmaster@localhost", ""}) {
    message->append_line(line);
  }
  message->append_line(std::string(gtube[0]) + gtube[1]);
  return message;
}

struct Scan {
  std::string fault;  // the server cannot be used at all; then there is no result
  std::optional<rspamd::ScanResult> result;
};

asio::awaitable<Scan> scan(wires::RspamdClient& client, const Settings& settings) {
  std::string fault = co_await client.fault_of(0);
  if (!fault.empty()) co_return Scan{std::move(fault), std::nullopt};
  mail::Envelope envelope;
  envelope.ip = "127.0.0.1";
  envelope.recipients = {"postmaster@localhost"};
  rspamd::ScanRequest request =
      rspamd::scan_request(envelope, {settings.engine.classes.settings_id, "check", settings.engine.request_headers});
  rspamd::StartScan job{1, std::move(request.headers), test_spam(), Clock::now() + settings.engine.scan_timeout};
  const auto scanned = co_await client.scan(std::move(job));
  co_return Scan{{}, scanned->result};  // nobody cancels it
}

Scan scan(const rspamd::Upstream& server, const Settings& settings) {
  asio::io_context io;
  wires::RspamdClient client(io.get_executor(), {server}, rspamd_settings(settings), {});
  Scan result;
  asio::co_spawn(io, scan(client, settings), [&](const std::exception_ptr& thrown, Scan ended) {
    if (thrown) std::rethrow_exception(thrown);
    result = std::move(ended);
    io.stop();  // a look-up of a name may still be under way
  });
  io.run();
  return result;
}

// Asks Dovecot about a recipient, and about room for a message of `size` bytes; 0: the size is not known.
recipients::Found look_up(wires::Mailboxes::Settings settings, const std::string& recipient, std::size_t size,
                          Duration patience) {
  asio::io_context io;
  std::optional<recipients::Found> result;
  const auto found = [&](recipients::LookupId, const recipients::Found& answer, TimePoint) {
    result = answer;
    io.stop();
  };
  wires::Mailboxes mailboxes(io, std::move(settings), {Clock::now, found, {}});
  mailboxes.start(recipients::StartLookup{1, recipient, size, Clock::now() + patience});
  if (!result) io.run();
  return result.value_or(recipients::Found{recipients::Mailbox::unsure, "the look-up did not end"});
}

bool check_mailboxes(const std::string& name, wires::Mailboxes::Settings mailboxes, const Settings& settings) {
  const auto& domains = settings.engine.verify.domains;
  const bool named = !settings.check_recipient.empty();
  const std::string recipient =
      named ? settings.check_recipient : "no-such-user@" + (domains.empty() ? "localhost" : *domains.begin());
  const TimePoint begun = Clock::now();
  const recipients::Found found = look_up(mailboxes, recipient, 0, settings.engine.verify.timeout);
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun).count();
  std::string line = name + ": ";
  if (found.mailbox == recipients::Mailbox::unsure) line += found.why;
  else line += "OK, answers about recipients (" + std::to_string(took) + " ms)";
  if (found.mailbox == recipients::Mailbox::known) line += ", and takes mail for " + recipient;
  else if (named && found.mailbox != recipients::Mailbox::unsure)
    line += ", but " + recipient + " is " + std::string(to_string(found.mailbox));
  if (named && found.mailbox == recipients::Mailbox::known && mailboxes.quota_status) {
    const recipients::Found room =
        look_up(std::move(mailboxes), recipient, larger_than_any_quota, settings.engine.verify.timeout);
    line += room.mailbox == recipients::Mailbox::known    ? ", of any size: no quota counts there"
            : room.mailbox == recipients::Mailbox::unsure ? ", but not for one of 1 TiB: " + room.why
                                                          : ", within its quota";
  }
  std::printf("%s\n", header_line(line, max_shown).c_str());
  return named ? found.mailbox == recipients::Mailbox::known : found.mailbox != recipients::Mailbox::unsure;
}

}  // namespace

bool check_servers(const Settings& settings) {
  bool all = true;
  if (!settings.mark_key_file.empty()) {
    const auto owner = [](unsigned uid) {
      const passwd* user = getpwuid(uid);
      return user ? std::string("owner ") + user->pw_name : "owner " + std::to_string(uid);
    };
    const auto group = [](unsigned gid) {
      const struct group* entry = getgrgid(gid);
      return entry ? std::string("group ") + entry->gr_name : "group " + std::to_string(gid);
    };
    const options::CheckedKeys keys = options::check_keys(settings.mark_key_file, settings.mark_keys, owner, group);
    std::fputs(keys.text.c_str(), stdout);
    all = keys.good;
  }
  for (const rspamd::Upstream& server : settings.upstreams) {
    const TimePoint begun = Clock::now();
    const auto [fault, result] = scan(server, settings);
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun).count();
    const bool refused = result && *result && (*result)->action == "reject";
    std::string line = to_string(server.endpoint) + ": ";
    if (!result) line += fault;
    else if (!*result) line += std::string(to_string(result->error().kind)) + ": " + result->error().what;
    else if (refused) line += "OK, refuses the test spam (" + std::to_string(took) + " ms)";
    else line += "answers, but with \"" + (*result)->action + "\" to the test spam GTUBE";
    std::printf("%s\n", header_line(line, max_shown).c_str());
    all = all && refused;
  }
  for (const Endpoint& server : settings.lmtp.servers) {
    wires::Mailboxes::Settings mailboxes = mailbox_settings(settings);
    mailboxes.lmtp = {server};
    mailboxes.quota_status.reset();
    all = check_mailboxes(to_string(server), std::move(mailboxes), settings) && all;
  }
  if (settings.quota_status) {
    all = check_mailboxes("quota-status " + to_string(*settings.quota_status), mailbox_settings(settings), settings) && all;
  }
  if (settings.engine.delivery)
    std::puts("    Whether Dovecot can write to a mailbox shows when a mail is delivered, and not before: send one.");
  return all;
}

}  // namespace mailbridge::filter
