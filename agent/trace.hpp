// The trace lines that smtpd puts in front of a mail that it hands to an agent.
#pragma once

#include <cstddef>
#include <string_view>

namespace mailbridge::agent {

// The length in bytes of exactly the lines that smtpd prepended (mda.c): "Return-Path: <sender>", which is missing if the sender
// is null, and "Delivered-To: …" right behind it. Dovecot adds both again. 0 if the header section begins otherwise: then these
// lines are not smtpd's.
std::size_t smtpd_trace_size(std::string_view header_section, std::string_view sender);

}  // namespace mailbridge::agent
