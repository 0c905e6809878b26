// The trace header lines that smtpd puts in front of a mail it hands to an agent.
#pragma once

#include <cstddef>
#include <string_view>

namespace mailbridge::agent {

// The length of exactly the lines smtpd prepended (mda.c): "Return-Path: <sender>", which a mail from the null sender has not,
// and "Delivered-To: …" right behind it. Dovecot adds both again. 0 when the header section does not begin so: these lines are
// then not smtpd's.
std::size_t smtpd_trace_size(std::string_view header_section, std::string_view sender);

}  // namespace mailbridge::agent
