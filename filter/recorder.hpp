// Records everything that is said to and by the filter, as a transcript that the tests can play (base/transcript.hpp).
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/conversation.hpp"
#include "base/note.hpp"
#include "base/result.hpp"
#include "filter/settings.hpp"
#include "session/engine.hpp"

namespace mailbridge::filter {

class Recorder {
 public:
  // Creates DIRECTORY/filter-mailbridge-PID-N.session. It holds mail, so its mode is 0600. The fault names the file.
  static Result<Recorder> open(const std::string& directory, const std::vector<GivenOption>& given, TimePoint now);

  void smtpd(char direction, std::string_view bytes, TimePoint now);
  // Direction '!': `bytes` are the name of the ending and the system's words. Direction '@': the server that is tried.
  void rspamd(session::ScanId scan, char direction, std::string_view bytes, TimePoint now);
  // The commands to the mail store and its answers, in the words of recipients/mailbox_text.hpp: lane L for look-ups, D for
  // deliveries.
  void mailboxes(char lane, std::uint64_t id, char direction, std::string_view text, TimePoint now);
  void note(const Note& note, TimePoint now);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  Recorder(std::FILE* file, TimePoint now) : file_(file), last_(now) {}
  void write(std::string_view lane, std::string_view bytes, TimePoint now);
  void write_raw(const std::string& text, TimePoint now);

  std::unique_ptr<std::FILE, Close> file_;
  TimePoint last_;
};

}  // namespace mailbridge::filter
