// The notation of a `.session` transcript: recording, test, fuzz seed and crash regression in one (docs/transcripts.md).
//
//   O --on-error accept   options the program was started with; before everything else
//   S> bytes   S< bytes   smtpd to us, us to smtpd
//   R> bytes   R< bytes   rspamd to us, us to rspamd; R2> is the second scan, R> the first
//   D> bytes   D< bytes   the LMTP server to us, us to it
//   L> words   L< words   what a look-up found, and of what; L2> is the second one
//   M> bytes              the mail on standard input
//   S!  R!  R2!  D!  M!   an ending: closed, timed_out, failed or refused and the system's words
//   R@ server             the server that the next attempt of the scan goes to; D@: that was delivered to
//   T 1500                milliseconds pass
//   N text                a log note that holds this text is expected
//   E 75                  the expected exit status
//
// A line of a `>` or `<` lane stands for its bytes and one LF; with a backslash as its very last character there is no LF.
// Escapes: \r \n \t \\ \xHH. Every other line is a comment.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace mailbridge::transcript {

struct Line {
  char lane;         // one of O S R D L M T N E
  char direction;    // '>' towards us, '<' from us, '!' an ending, '@' a server, ' ' for O T N E
  unsigned number;   // which scan, delivery, look-up or connection, from 1
  std::string text;  // '>' and '<': the bytes, LF included; otherwise what follows the blank, unescaped
  std::size_t at;    // line in the file, from 1
};

// Takes any input: a line that belongs to no lane is a comment, and so is a line with a number above 999,999.
std::vector<Line> parse(std::string_view text);

// Appends the bytes as one or more lines of a lane ("R2>"), for a recorder.
void append(std::string& out, std::string_view lane, std::string_view bytes);

}  // namespace mailbridge::transcript
