// What the engine wants done outside: the driver carries it out and comes back with the result.
#pragma once

#include <string>
#include <variant>

#include "base/note.hpp"
#include "recipients/mailbox.hpp"
#include "rspamd/scan.hpp"
#include "session/scan_queue.hpp"

namespace mailbridge::session {

using rspamd::StartScan;
struct CancelScan {
  ScanId id;
};
// The driver connects to smtpd and says EHLO, because only the reply tells the largest message it takes
// (smtpd/size_question.hpp).
struct AskForSize {
  std::string listener;  // as link-connect names it
};
using Command = std::variant<StartScan, CancelScan, AskForSize, recipients::StartLookup, recipients::StartDelivery,
                             recipients::CancelDelivery, Note>;

}  // namespace mailbridge::session
