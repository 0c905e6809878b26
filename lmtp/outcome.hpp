// What an outcome means to whoever runs the agent: an exit status, one last line, one log line.
//
// smtpd retries on 75 and 71 only; every other status but 0 bounces the mail at once. So a permanent status is given only for the
// server's verdict on the recipient or the mail, and everything else, our own mistakes included, is 75.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/note.hpp"
#include "lmtp/client.hpp"

namespace mailbridge::lmtp {

// sysexits.h
constexpr int exit_delivered = 0;
constexpr int exit_data_error = 65;   // the mail or the address cannot be taken as it is
constexpr int exit_no_user = 67;      // 5.1.1
constexpr int exit_unavailable = 69;  // quota, disabled mailbox, other refusals
constexpr int exit_temporary = 75;
constexpr int exit_no_permission = 77;  // 5.7.x

// What an administrator would rather have than the server's answer.
struct Policies {
  bool unknown_later = false;  // a recipient who is unknown for good may be known later
  bool full_later = false;     // the same of a full mailbox
  enum class Oversize {
    answered,
    permanent,  // whatever class the answer has. Dovecot up to 2.4.2 says 451 4.2.0 to a mail that will never fit
    later,
  } oversize{};
};

int exit_status(const Outcome& outcome, const Policies& policies = {});

// smtpd keeps 255 bytes of the last line, quotes and escapes included.
constexpr std::size_t max_last_line = 239;

// "552 5.2.2 <rcpt> quota exceeded (lmtp=unix:/path, stage=dot)", or rspamd= for a mail that its scan keeps back, without a line
// end; empty after delivery. Printable ASCII, at most max_last_line bytes.
std::string last_line(const Outcome& outcome, std::string_view recipient, std::string_view server);

struct Delivery {
  std::string_view sender;
  std::string_view recipient;
  std::string_view msgid;  // smtpd's; empty when it is not known
  std::string_view lmtp;
  std::size_t bytes;                          // of the mail, its lines ended by CRLF
  int status;                                 // of the process
  const std::array<Duration, stages>& spent;  // per stage
  std::string_view scan = {};                 // fields about the scan; empty: none was made
};

// "from= to= msgid= bytes= lmtp= stage= status= outcome= reply=… connect_ms=… dot_ms=… total_ms=". The server's last line is part
// of it: Dovecot puts its session id there.
Note log_note(const Outcome& outcome, const Delivery& delivery);

}  // namespace mailbridge::lmtp
