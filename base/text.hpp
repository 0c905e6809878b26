// Text from a peer becomes a single, bounded, printable line here, and nowhere else: answers to smtpd, request headers,
// added mail headers and logs all pass one of these functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mailbridge {

// ASCII only, case-insensitive: header names, authserv-ids, host names.
bool iequals(std::string_view a, std::string_view b);
bool istarts_with(std::string_view text, std::string_view prefix);
std::string lower(std::string_view text);

// A name of HTTP: one or more letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 5.6.2).
bool is_token(std::string_view text);

// Without leading and trailing SP, HTAB, CR and LF.
std::string_view trim(std::string_view text);

// Printable ASCII of at most `max` bytes: each run of blanks, line ends and control bytes becomes one space, '"' becomes '\''
// (smtpd logs our answers between double quotes without escaping them), each other byte outside 0x21..0x7e becomes '?'.
// No leading or trailing space.
std::string printable(std::string_view text, std::size_t max);

// As printable(), but bytes from 0x80 stay and so do double quotes: for the value of an unstructured mail header.
std::string header_line(std::string_view text, std::size_t max);

// Length of a leading enhanced status code (RFC 3463 2) of the class '2', '4' or '5', as "5.7.1", that ends at a blank or with
// the text; 0 when there is none.
std::size_t enhanced_code_size(std::string_view text, char status_class);

// Appends " key=value" (no space first when the line is empty). The value passes printable(value, 256) and stands between double
// quotes when it is empty or holds a space or '='.
void append_field(std::string& line, std::string_view key, std::string_view value);

}  // namespace mailbridge
