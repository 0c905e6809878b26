// What the engine is told: the options of filter-mailbridge that decide about mail.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/conversation.hpp"
#include "policy/classes.hpp"
#include "policy/decision.hpp"
#include "recipients/delivery.hpp"
#include "recipients/verifier.hpp"

namespace mailbridge::session {

// What becomes of a recipient that Dovecot does not take.
struct RecipientPolicy {
  bool refuse_unknown = false;     // or it is left to smtpd, which knows aliases
  bool refuse_full = false;        // for good
  bool refuse_unverified = false;  // for now, when nobody can tell
  // Beyond it a session is answered slower, and beyond twice that not at all; a client is slowed beyond twice that. 0: no end.
  std::size_t max_unknown = 0;
};

struct Settings {
  policy::ClassSettings classes;
  std::string request_headers;                       // rspamd::ScanSettings::more
  Duration scan_timeout{};  // the whole scan, connect included
  policy::Policy policy;
  std::size_t max_size = 0;        // what is larger is not scanned
  bool monitor = false;                                // nothing is refused because of a verdict or a failed scan
  std::size_t memory = 0;  // for the bodies of all messages
  std::string spool;                      // the directory they go to beyond it
  std::size_t max_files = std::size_t(-1);             // there, at once: each is a descriptor
  std::size_t max_scans = 0;                         // at once
  std::size_t max_queue = 0;                        // of those that wait for their turn
  bool allow_rewritten_body = false;
  bool submission = false;  // do what smtpd would do to a submitted header section before the scan (mail/submission.hpp)
  recipients::VerifierSettings verify;
  RecipientPolicy recipients;
  std::optional<recipients::DeliverySettings> delivery;  // while the client waits; none: it is left to smtpd's queue
  std::string out_of_order;  // what is wrong with the configuration: register, and answer every message with a temporary failure
};

}  // namespace mailbridge::session
