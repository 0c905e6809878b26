// The trace header lines that smtpd puts in front of a mail it hands to an agent.
#pragma once

#include <string_view>

namespace mailbridge::lmtp {

// The mail without exactly the lines smtpd prepended (mda.c): "Return-Path: <sender>", which a mail from the null sender has not,
// and "Delivered-To: …" right behind it. Dovecot adds both again. The mail is untouched when its beginning is not of this shape:
// these lines are then not smtpd's.
std::string_view without_smtpd_trace(std::string_view mail, std::string_view sender);

}  // namespace mailbridge::lmtp
