// These functions turn text from a peer into one printable line of bounded length. All answers to smtpd, request headers, added
// mail headers and log lines pass through one of them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mailbridge {

// These three treat ASCII letters of either case as equal: for header names, authserv-ids and host names.
bool iequals(std::string_view a, std::string_view b);
bool istarts_with(std::string_view text, std::string_view prefix);
std::string lower(std::string_view text);

// True if the text is an HTTP token: one or more letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 5.6.2).
bool is_token(std::string_view text);

// The text without leading and trailing SP, HTAB, CR and LF.
std::string_view trim(std::string_view text);

// Printable ASCII of at most `max` bytes: each run of blanks, line ends and control bytes becomes one space, '"' becomes '\''
// (smtpd logs our answers between double quotes without escaping them), each other byte outside 0x21..0x7e becomes '?'.
// No leading or trailing space.
std::string printable(std::string_view text, std::size_t max);

// As printable(), but bytes from 0x80 stay and so do double quotes: for the value of an unstructured mail header.
std::string header_line(std::string_view text, std::size_t max);

// The length of the enhanced status code (RFC 3463 2) at the beginning of the text, as "5.7.1". It has to be of the class '2',
// '4' or '5', and end at a blank or with the text; otherwise 0.
std::size_t enhanced_code_size(std::string_view text, char status_class);

// Appends " key=value"; without the space if the line is empty. The value passes through printable(value, 256), and stands
// between double quotes if it is empty or holds a space or '='.
void append_field(std::string& line, std::string_view key, std::string_view value);

}  // namespace mailbridge
