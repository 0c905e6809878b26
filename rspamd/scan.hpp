// One scan, as the filter's engine and the agent order it, and wires/rspamd.hpp carries it out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/conversation.hpp"
#include "mail/message.hpp"
#include "rspamd/rewritten_body.hpp"

namespace mailbridge::rspamd {

// Names a scan. No id is used twice.
using ScanId = std::uint64_t;

struct StartScan {
  ScanId id;
  std::string headers;  // those of the HTTP request: ScanRequest::headers
  std::shared_ptr<const mail::Message> message;
  TimePoint until;                                            // the whole scan ends by then, connecting and second tries included
  std::optional<BodyBounds> rewritten_bounds = std::nullopt;  // set: a rewritten body is wanted, within these bounds
};

}  // namespace mailbridge::rspamd
