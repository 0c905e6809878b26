#include "filter/recorder.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/transcript.hpp"

namespace mailbridge::filter {

Result<Recorder> Recorder::open(const std::string& directory, const std::vector<GivenOption>& given, TimePoint now) {
  for (int n = 1; n < 1000; ++n) {
    const std::string path = directory + "/filter-mailbridge-" + std::to_string(getpid()) + "-" + std::to_string(n) + ".session";
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) continue;
    std::FILE* file = fd < 0 ? nullptr : fdopen(fd, "w");
    if (!file) return fail(Errc::refused, "--record: " + path + ": " + std::strerror(errno));
    Recorder recorder(file, now);
    std::string text;
    for (const auto& [name, value] : given) {
      if (name != "--record") text += "O " + name + " " + value + "\n";
    }
    recorder.write_raw(text, now);
    return recorder;
  }
  return fail(Errc::refused, "--record: " + directory + ": no free file name");
}

void Recorder::smtpd(char direction, std::string_view bytes, TimePoint now) { write(std::string("S") + direction, bytes, now); }

void Recorder::rspamd(session::ScanId scan, char direction, std::string_view bytes, TimePoint now) {
  const std::string lane = "R" + std::to_string(scan) + direction;
  write(lane, direction == '!' || direction == '@' ? std::string(bytes) + "\n" : std::string(bytes), now);
}

void Recorder::mailboxes(char lane, std::uint64_t id, char direction, std::string_view text, TimePoint now) {
  write(lane + std::to_string(id) + direction, text, now);
}

void Recorder::note(const Note& note, TimePoint now) {
  if (note.level != Level::debug) write("N", note.text + "\n", now);
}

void Recorder::write(std::string_view lane, std::string_view bytes, TimePoint now) {
  std::string text;
  transcript::append(text, lane, bytes);
  write_raw(text, now);
}

void Recorder::write_raw(const std::string& text, TimePoint now) {
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - last_);
  if (passed.count() > 0) {
    std::fprintf(file_.get(), "T %lld\n", static_cast<long long>(passed.count()));
    last_ += passed;
  }
  std::fwrite(text.data(), 1, text.size(), file_.get());
  std::fflush(file_.get());
}

}  // namespace mailbridge::filter
