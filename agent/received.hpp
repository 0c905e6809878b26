// Reads from smtpd's own Received field what smtpd knew of the client.
#pragma once

#include <string>
#include <string_view>

#include "mail/envelope.hpp"

namespace mailbridge::agent {

// The envelope of a mail. `header_section` is as smtpd hands it to an agent. Its topmost Received field is smtpd's, because smtpd
// writes it above everything that a client sends (smtp_session.c, smtp_message_begin):
//
//   Received: from HELO (NAME [ADDRESS])
//   	by HOST (OpenSMTPD) with ESMTPSA id 2ac23942 (TLSv1.3:CIPHER:256:NO) auth=yes user=NAME
//   	for <…>;
//   	DATE
//
// A field of another form tells nothing. The client's address may or may not confirm NAME. With `mask-src` the first line is
// missing.
mail::Envelope envelope_of(std::string_view header_section, std::string sender, std::string recipient);

}  // namespace mailbridge::agent
