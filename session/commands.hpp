// What the engine wants done outside: the driver carries it out and comes back with the result.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "base/conversation.hpp"
#include "base/note.hpp"
#include "mail/message.hpp"
#include "recipients/mailbox.hpp"
#include "rspamd/rewritten_body.hpp"
#include "session/scan_queue.hpp"

namespace mailbridge::session {

struct StartScan {
  ScanId id;
  std::string headers;  // rspamd::ScanRequest's
  std::shared_ptr<const mail::Message> message;
  TimePoint until;
  std::optional<rspamd::BodyBounds> rewritten_bounds;  // a rewritten body is wanted
};
struct CancelScan {
  ScanId id;
};
// Somebody is to say EHLO to smtpd, for its answer alone tells the largest message it takes (smtpd/size_question.hpp).
struct AskForSize {
  std::string listener;  // as link-connect names it
};
using Command = std::variant<StartScan, CancelScan, AskForSize, recipients::StartLookup, recipients::StartDelivery,
                             recipients::CancelDelivery, Note>;

}  // namespace mailbridge::session
