#include "agent/check.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>
#include <variant>
#include <vector>

#include <asio/this_coro.hpp>

#include "agent/agent.hpp"
#include "base/text.hpp"
#include "options/check_keys.hpp"
#include "platform/platform.hpp"

namespace mailbridge::agent {
namespace {

constexpr std::size_t max_shown = 400;
constexpr Duration patience = std::chrono::seconds(20);  // for each server

// Tells as whom the check runs. smtpd's agents have one group only, so a check that succeeds by means of another group proves
// nothing.
std::string who_we_are() {
  std::string text = "as uid=" + std::to_string(geteuid()) + " gid=" + std::to_string(getegid());
  std::vector<gid_t> groups(static_cast<std::size_t>(std::max(getgroups(0, nullptr), 0)));
  groups.resize(static_cast<std::size_t>(std::max(getgroups(static_cast<int>(groups.size()), groups.data()), 0)));
  std::string others;
  for (const gid_t group : groups) {
    if (group != getegid()) others += " " + std::to_string(group);
  }
  if (!others.empty()) text += ", and in the groups" + others + ", in which smtpd's agents are not";
  text += "\n";
  if (geteuid() != 0 && others.empty()) return text;
  text += "    smtpd runs an agent as the recipient, or as `user` of its action, with the primary group alone.";
  if (const std::string_view as_user = platform::run_as_user(); !as_user.empty())
    text.append(" So does\n    ").append(as_user).append(" lda2lmtp --check ...");
  return text + "\n";
}

// A line that names the first directory on the path that does not exist; empty if all exist.
std::string missing_directory(const std::string& path) {
  std::filesystem::path up = std::filesystem::path(path).parent_path();
  struct stat status {};
  std::string missing;
  for (; up.has_relative_path() && stat(up.c_str(), &status) != 0 && errno == ENOENT; up = up.parent_path()) missing = up;
  return missing.empty() ? "" : "    there is no directory " + missing + "\n";
}

std::string line(const std::string& name, const std::string& what) { return printable(name + ": " + what, max_shown) + "\n"; }

std::string explained(const Endpoint& endpoint, const std::string& recipient, const lmtp::Outcome& outcome) {
  const std::string server = to_string(endpoint);
  if (outcome.reply) {
    const lmtp::Reply& reply = *outcome.reply;
    const std::string words =
        std::to_string(reply.code) + " " + reply.enhanced + (reply.enhanced.empty() ? "" : " ") + reply.last();
    if (outcome.accepted())
      return line(server, "OK, takes mail for <" + recipient + "> (" + words + ")") +
             "    Whether it can write to that mailbox shows when a mail is delivered, and not before: send one.\n";
    if (outcome.stage == lmtp::Stage::rcpt) return line(server, "refuses <" + recipient + ">: " + words);
    return line(server, "refuses everybody (stage=" + std::string(name(outcome.stage)) + "): " + words);
  }
  std::string text = line(server, outcome.failure + " (stage=" + std::string(name(outcome.stage)) + ")");
  if (const auto* local = std::get_if<UnixEndpoint>(&endpoint)) text += missing_directory(local->path);
  return text;
}

}  // namespace

asio::awaitable<Checked> check(const Settings& settings, wires::LmtpClient::Settings client_settings, std::string host_name) {
  const auto executor = co_await asio::this_coro::executor;
  const Agent agent(settings.request, Clock::now());
  Checked checked{true, who_we_are()};
  if (settings.request.heeds_marks) {
    const std::string& fault = settings.request.mark_key_fault;
    const Result<lmtp::MarkKeys> keys =
        fault.empty() ? Result<lmtp::MarkKeys>(settings.request.mark_keys) : fail(Errc::malformed, fault);
    // Ids are printed as numbers. Their names come from modules that a statically linked program should not load
    // (look_names_up_without_modules()).
    options::CheckedKeys about = options::check_keys(
        settings.mark_key_file, keys, [](unsigned uid) { return "uid=" + std::to_string(uid); },
        [](unsigned gid) { return "gid=" + std::to_string(gid); });
    checked.text += about.text;
    checked.good = about.good;
  }
  for (const Endpoint& endpoint : settings.request.lmtp) {
    wires::LmtpClient client(executor, {endpoint}, client_settings);
    lmtp::Transaction transaction = agent.transaction(host_name);
    transaction.probe = true;
    const TimePoint until = Clock::now() + patience;
    const wires::LmtpClient::Hooks hooks;
    const auto probed = co_await client.transact(std::move(transaction), {.dot_by = until, .reply_by = until}, hooks);
    checked.text += explained(endpoint, settings.request.recipient, probed.outcomes.front());
    checked.good = checked.good && probed.outcomes.front().accepted();
  }
  if (!settings.scan) co_return checked;
  for (const rspamd::Upstream& server : settings.scan->upstreams) {
    const std::string fault = co_await ping(*settings.scan, server);
    checked.text += line(to_string(server.endpoint), fault.empty() ? "OK, rspamd answers" : fault);
    checked.good = checked.good && fault.empty();
  }
  co_return checked;
}

}  // namespace mailbridge::agent
