// Plays a .session transcript (docs/transcripts.md) against lda2lmtp without its system calls.
//
// Lanes: O options, where words SENDER=…, RECIPIENT=…, LOCAL=… and DOMAIN=… are the environment; M the mail; D the LMTP server; T
// time; N text that the log note or the last line holds; E the exit status. `M! failed` is a standard input that cannot be read,
// `D! refused` a connect that fails, `D! unwanted` in front of the dot what mail.mda's parent tells when smtpd has given up.
//
// Everything the agent says must stand in a D< line, in order, and an arrival is given only after what stands before it was said.
#pragma once

#include <string>
#include <vector>

#include "base/transcript.hpp"

namespace mailbridge::test {

enum class Cuts { whole, bytes, random };  // how bytes are cut on their way, in both directions

class AgentPlayer {
 public:
  // Throws std::runtime_error for a transcript that is no test: no such file, unknown lanes, nothing expected.
  explicit AgentPlayer(const std::string& path);

  // What is wrong, "LINE: …"; empty when all is as written.
  std::string play(Cuts cuts, unsigned seed = 0) const;
  // Every arrival of the server replaced by an ending, and every arrival cut in half with the ending behind it: the status is 75
  // unless the verdict had been read.
  std::string play_broken() const;

 private:
  std::vector<transcript::Line> lines_;
};

}  // namespace mailbridge::test
