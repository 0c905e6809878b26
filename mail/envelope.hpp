// The envelope of a message and what is known of its client, as smtpd reports it of a session and its transaction.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mailbridge::mail {

struct Envelope {
  std::string ip;                       // "192.0.2.1", "2001:db8::1"; 127.0.0.1 for the local socket; empty when unknown
  bool local = false;                   // by smtpd's local socket
  std::string hostname;                 // the client's name, only when forward-confirmed; otherwise empty
  std::string helo;                     // as given in HELO or EHLO
  std::string sender;                   // without angle brackets; empty for the null sender
  std::vector<std::string> recipients;  // accepted ones, in order, without angle brackets
  std::string user;                     // after successful AUTH
  std::string queue_id;                 // smtpd's message id, 8 hex digits
  std::string mta_name;                 // what smtpd greets with
  std::string tls_version;              // "TLSv1.3"; empty without TLS
  std::string tls_cipher;               // "TLS_AES_256_GCM_SHA384"
};

// An address as smtpd reads it (smtp_session.c, smtp_mailaddr). The domain follows the last '@'. In the local part everything up
// to the first ':' (a source route) is dropped. An address without a domain gets `default_domain`. The result holds printable
// ASCII without blanks and angle brackets. `text` is what stands between '<' and '>' of the client's command. Empty text is the
// null sender, and gives an empty result.
std::string normalised_address(std::string_view text, std::string_view default_domain);

}  // namespace mailbridge::mail
