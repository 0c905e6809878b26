// Plays a transcript (base/transcript.hpp; lanes O S R D L T N) to an Engine and its scans, as filter/app does with real sockets.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/conversation.hpp"
#include "base/note.hpp"
#include "base/transcript.hpp"

namespace mailbridge::testing {

// Look-ups and deliveries are in the words of recipients/mailbox_text.hpp. The key of marks is the player's own.

// How arrivals are cut, and which one is replaced by an ending. Only cut at least into lines can smtpd's rules be judged, for
// what we wrote must be seen before smtpd's next line.
struct Manner {
  enum class Cuts { whole, lines, bytes, random };
  Cuts cuts = Cuts::lines;
  unsigned seed = 0;
  std::optional<std::size_t> broken_arrival = {};  // counted over the transcript's '>' arrivals
  Ending::Kind broken_with = Ending::Kind::closed;
};

struct Played {
  std::string to_smtpd;
  std::map<unsigned, std::string> to_rspamd;
  std::map<unsigned, std::string> looked_up;
  std::map<unsigned, std::string> to_dovecot;
  std::vector<Note> notes;
  std::size_t arrivals = 0;              // '>' arrivals in the transcript
  std::vector<std::string> differences;  // from what the transcript expects; not looked for when an arrival is broken
  std::vector<std::string> violations;   // of the filter protocol
};

Played play_filter(const std::vector<transcript::Line>& lines, const Manner& manner);

}  // namespace mailbridge::testing
