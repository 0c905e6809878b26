// What the desks share: the sessions, what smtpd has told of itself, and what is said to smtpd, to the driver and to the log.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mail/budget.hpp"
#include "session/commands.hpp"
#include "session/counters.hpp"
#include "session/output.hpp"
#include "session/settings.hpp"
#include "session/transaction.hpp"

namespace mailbridge::session {

// What smtpd's config lines and its replies to clients tell, the same for all sessions.
struct Smtpd {
  std::string version;  // config|smtpd-version
  std::string admd;     // config|admd
  bool escapes_in_quotes = false;
  std::optional<std::size_t> max_size;  // of a message in bytes; none as long as no client has said EHLO
};

struct Shared {
  Settings settings;
  Smtpd smtpd;
  Sessions sessions;
  std::shared_ptr<mail::Budget> budget = std::make_shared<mail::Budget>();  // of all messages
  Output output;
  std::vector<Command> commands;
  Counters counters;
  bool asked_about_recipients = false;  // we are registered for rcpt-to

  // Null when it is gone.
  Session* find(std::uint64_t session_key) {
    const auto session = sessions.find(session_key);
    return session == sessions.end() ? nullptr : &session->second;
  }
  void note(Level level, std::string text) { commands.emplace_back(Note{level, std::move(text)}); }
};

}  // namespace mailbridge::session
