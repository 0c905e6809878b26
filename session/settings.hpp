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
  bool refuse_unknown = false;     // false: smtpd decides, which knows aliases
  bool refuse_full = false;        // with 5xx; false: with 4xx
  bool refuse_unverified = false;  // with 4xx, when nobody can tell; false: smtpd decides
  // A session with as many unknown recipients is answered with a growing delay, and with twice as many it is disconnected with
  // 421. A client with more than twice as many in all its sessions is slowed in each of them. 0: no limit.
  std::size_t max_unknown = 0;
};

struct Settings {
  policy::ClassSettings classes;
  std::string request_headers;  // rspamd::ScanSettings::more
  Duration scan_timeout{};      // of the whole scan: waiting for its turn and connecting are included
  policy::Policy policy;
  std::size_t max_size = 0;                 // of a message that is scanned, in bytes
  bool monitor = false;                     // nothing is refused because of a verdict or a failed scan
  std::size_t memory = 0;                   // in bytes, for the bodies of all messages
  std::string spool;                        // the directory for what of them does not fit
  std::size_t max_files = std::size_t(-1);  // spool files open at once: each is a descriptor
  std::size_t max_scans = 0;                // under way at once
  std::size_t max_queue = 0;                // waiting for their turn
  bool allow_rewritten_body = false;
  bool submission = false;  // do what smtpd would do to a submitted header section before the scan (mail/submission.hpp)
  recipients::VerifierSettings verify;
  RecipientPolicy recipients;
  std::optional<recipients::DeliverySettings> delivery;  // while the client waits; none: it is left to smtpd's queue
  std::string out_of_order;  // what is wrong with the configuration: register, and answer every message with a temporary failure
};

}  // namespace mailbridge::session
