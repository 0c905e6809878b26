// What smtpd does to the header section of a message after its filters, done before the scan: a signature made at the scan is
// then one of the message that leaves. smtpd's side: smtp_session.c, smtp_tx_dataline() and header_domain_append_callback().
//
//   Bcc fields are dropped.
//   In From, To and Cc each address without a domain gets "@host".
//   A missing Date and a missing Message-ID are added at the end, in this order.
//
// All other fields stay as they are, byte for byte.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace mailbridge::mail {

struct Submission {
  std::string_view host;        // smtpd's name, see append_domain()
  std::string_view date;        // of a Date that is missing; empty: none is added
  std::string_view message_id;  // "<unique@host>", of a Message-ID that is missing; empty: none is added
  bool escapes_in_quotes;       // smtpd heeds a backslash between double quotes when it looks for commas (since 7.5)
  std::size_t max_line;         // a field that would get a longer line stays as it is
};

// `head` as smtpd will have it, or nothing when that is no other. `head` is a header section, its lines ended by CRLF. One with a
// line that is no part of a field is left alone: smtpd refuses such mail.
std::optional<std::string> as_submitted(std::string_view head, const Submission& submission);

// The value of an address field (what follows the colon, lines ended by LF) with `host` after each address that has no domain:
// smtpd's reading of commas, quotes, comments and groups, its surprises included (a member of a group that ends in ';' gets the
// domain after it).
std::string append_domain(std::string_view value, std::string_view host, bool escapes_in_quotes);

// The time at which smtpd began to take the message, in the words it would use for Date: it ends smtpd's own Received field, the
// first one, which holds `msgid`. Empty when that field is not there.
std::string_view received_date(std::string_view head, std::string_view msgid);

}  // namespace mailbridge::mail
