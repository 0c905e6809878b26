// What smtpd refuses after its filters have spoken, or bounces in the queue before any agent sees it. Such a message must not be
// delivered by us, for its client would be told that it was not. It is smtpd's part to say so: here it is only recognised.
//
//   not RFC 5322   rfc5322.c: a line of the header section without a colon; a field name of 1,023 bytes, counted together with
//                  the name before it; From, To or Cc of 64 KiB
//   loop           smtp_session.c, MAX_HOPS_COUNT: 100 Received fields
//   delivered      mda.c, mda_check_loop(): a line "Delivered-To: " and the recipient. This one is the recipient's alone.
//
// When in doubt a message is one of them: then the queue has it, and an agent delivers it if it gets there.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

namespace mailbridge::smtpd {

// Why smtpd refuses a message with this header section, as one word for the log; empty: it does not.
std::string_view smtpds_objection(std::string_view head);

// Recipients to whom smtpd will not have it delivered, for it takes it for their own mail that comes back; in lower case. smtpd
// compares the text of one line: another blank behind the colon, angle brackets or a comment make it another address.
std::unordered_set<std::string> already_delivered_to(std::string_view head);

}  // namespace mailbridge::smtpd
