// Does to a header section before the scan what smtpd does to it after its filters, so that a signature made at the scan fits the
// message that leaves. In smtpd: smtp_session.c, smtp_tx_dataline() and header_domain_append_callback().
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
  std::string_view date;        // the value of a Date field that is missing; empty: none is added
  std::string_view message_id;  // "<unique@host>", the value of a Message-ID that is missing; empty: none is added
  bool escapes_in_quotes;       // smtpd (since 7.5) obeys a backslash between double quotes when it looks for commas
  std::size_t max_line;         // in bytes; a field that would get a longer line stays as it is
};

// The header section that smtpd will make of `head`; nothing if it would change nothing. The lines of `head` end in CRLF. A
// section with a line that belongs to no field is left alone, because smtpd refuses such mail.
std::optional<std::string> as_submitted(std::string_view head, const Submission& submission);

// Appends `host` to each address without a domain in the value of an address field (the text after the colon, lines ended by LF).
// Commas, quotes, comments and groups are read as smtpd reads them, its mistakes included: a member of a group that ends in ';'
// gets the domain after the ';'.
std::string append_domain(std::string_view value, std::string_view host, bool escapes_in_quotes);

// The time at which smtpd began to take the message, in the format of Date. It stands at the end of smtpd's own Received field,
// which is the first one and holds `msgid`. Empty if that field is not there.
std::string_view received_date(std::string_view head, std::string_view msgid);

}  // namespace mailbridge::mail
