// What smtpd knew of the client when it took a mail, as far as its own Received field tells.
#pragma once

#include <string>
#include <string_view>

#include "mail/envelope.hpp"

namespace mailbridge::agent {

// `header_section` as smtpd hands it to an agent. The topmost Received field is smtpd's, which writes it above whatever a client
// sends (smtp_session.c, smtp_message_begin):
//
//   Received: from HELO (NAME [ADDRESS])
//   	by HOST (OpenSMTPD) with ESMTPSA id 2ac23942 (TLSv1.3:CIPHER:256:NO) auth=yes user=NAME
//   	for <…>;
//   	DATE
//
// Of another shape it tells nothing. NAME is the client's whether or not its address confirms it; with `mask-src` there is no
// first line.
mail::Envelope envelope_of(std::string_view header_section, std::string sender, std::string recipient);

}  // namespace mailbridge::agent
