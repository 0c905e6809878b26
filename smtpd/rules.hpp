// Messages that smtpd refuses after its filters have answered, or bounces from its queue before an agent sees them. We must not
// deliver such a message in the session, because its client is told that it was not delivered. smtpd sends the refusal; the
// functions here only recognise the message.
//
//   not RFC 5322   rfc5322.c: a line of the header section without a colon; a field name of 1,023 bytes, counted together with
//                  the name before it; From, To or Cc of 64 KiB
//   loop           smtp_session.c, MAX_HOPS_COUNT: 100 Received fields
//   delivered      mda.c, mda_check_loop(): a line "Delivered-To: " and the recipient. This one concerns that recipient alone.
//
// When in doubt, a message counts as one of these: smtpd then queues it, and an agent delivers it if it gets that far.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

namespace mailbridge::smtpd {

// Why smtpd refuses a message with this header section: one word for the log. Empty if smtpd does not refuse it.
std::string_view smtpds_objection(std::string_view head);

// The recipients to whom smtpd will not have the message delivered, because it takes it for a mail loop. In
// lower case. smtpd compares the text of one line: another blank behind the colon, angle brackets or a comment make it another
// address.
std::unordered_set<std::string> already_delivered_to(std::string_view head);

}  // namespace mailbridge::smtpd
