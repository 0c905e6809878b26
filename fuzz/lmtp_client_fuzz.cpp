// The LMTP client against a server that says anything at any time.
//
// Input: the text of a .session transcript (docs/transcripts.md), of which only these lines count: M> the mail, D> what the
// server says, D! an ending, T time, and the length of each D< line, which is how many bytes the client may say before the next
// arrival. Input without any D line is taken as the bytes of the server.
//
// What must hold: 0 only after a 2xx that came when the whole dot had left; what left as the mail is the mail, encoded or as a
// chunk, or a beginning of it, and the dot only after all of it; every talk ends with its last ending; a step asks for something.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "agent/input.hpp"
#include "base/transcript.hpp"
#include "lmtp/client.hpp"
#include "lmtp/outcome.hpp"

namespace {

using namespace mailbridge;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

// The mail on the wire, made in the plainest way, and what ends it there.
struct Wire {
  std::string body, end;
};
Wire wire(std::string_view mail, bool chunk) {
  Wire wire;
  std::size_t size = 0;
  while (!mail.empty()) {
    const std::size_t lf = mail.find('\n');
    std::string_view line = mail.substr(0, lf);
    mail.remove_prefix(lf == std::string_view::npos ? mail.size() : lf + 1);
    if (lf != std::string_view::npos && line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with('.') && !chunk) wire.body += '.';
    wire.body.append(line).append("\r\n");
    size += line.size() + 2;
  }
  wire.end = chunk ? "\r\n" : ".\r\n";
  if (chunk) wire.body = "BDAT " + std::to_string(size) + " LAST\r\n" + wire.body.substr(0, wire.body.size() - 2);
  return wire;
}

std::shared_ptr<const mail::Message> message(std::string_view mail) {
  agent::Input input;
  input.feed(mail);
  return input.finish();
}

class Talk {
 public:
  explicit Talk(std::string mail)
      : mail_(std::move(mail)),
        client_({.helo = "client.example", .sender = "s@x", .recipients = {{"r@y"}}, .mail = {{}, message(mail_), 0}},
                {.dot_by = now_ + std::chrono::seconds(240), .reply_by = now_ + std::chrono::seconds(290)}) {}

  // Lets the client say at most `most` bytes.
  void listen(std::size_t most) {
    while (most > 0) {
      const Step step = next();
      const auto* send = std::get_if<Send>(&step);
      if (!send) return;
      require(!send->bytes.empty(), "a Send has bytes");
      require(send->bytes.size() <= lmtp::DataEncoder::default_window + 4096, "what waits to leave is bounded");
      const std::size_t n = std::min(most, send->bytes.size());
      require(!client_.settled() || send->bytes.ends_with("QUIT\r\n") || std::string_view("QUIT\r\n").ends_with(send->bytes) ||
                  !asked_for_the_mail_,
              "only QUIT follows the outcome");
      asked_for_the_mail_ = asked_for_the_mail_ || client_.stage() == lmtp::Stage::body;
      if (client_.stage() == lmtp::Stage::body) body_.append(send->bytes.substr(0, n));
      else said_.append(send->bytes.substr(0, n));
      data_ = data_ || said_.ends_with("\r\nDATA\r\n");
      if (client_.stage() == lmtp::Stage::dot && !client_.settled()) dot_.append(send->bytes.substr(0, n));
      client_.sent(n);
      most -= n;
    }
  }
  void say(std::string_view bytes) {
    next();
    const bool whole_dot = dot_ == wire(mail_, !data_).end;
    const bool settled = client_.settled();
    client_.receive(bytes);
    if (!settled && client_.settled() && client_.outcome(0).delivered()) {
      require(whole_dot, "delivered only when the dot had left");
      require(bytes.find('\n') != std::string_view::npos, "delivered by a reply");
      said_success_ = true;
    }
  }
  void pass(Duration time) {
    const Step step = next();
    now_ += time;
    const auto* send = std::get_if<Send>(&step);
    const auto* await = std::get_if<Await>(&step);
    if ((send && send->until <= now_) || (await && await->until <= now_)) end(Ending::Kind::timed_out);
  }
  void end(Ending::Kind kind) { client_.end({kind, "broken"}); }

  void finish() {
    listen(1 << 20);
    end(Ending::Kind::closed);
    require(std::holds_alternative<Done>(next()), "Done after the end");
    require(client_.settled(), "an outcome when Done");
    const int status = lmtp::exit_status(client_.outcome(0));
    require(status != 0 || said_success_, "0 only after a 2xx for the recipient");
    const auto [body, end] = wire(mail_, !data_);
    require(body.starts_with(body_), "what left is the mail");
    require(dot_.empty() || body_ == body, "the dot stands behind the whole mail");
    require(end.starts_with(dot_), "the dot is a dot");
    const std::string line = lmtp::last_line(client_.outcome(0), "r@y", "unix:/run/lmtp");
    require(line.size() <= lmtp::max_last_line, "the last line is bounded");
    require(std::all_of(line.begin(), line.end(), [](char c) { return c >= 0x20 && c < 0x7f; }), "the last line is printable");
    require(line.empty() == (status == 0), "a last line for every status but 0");
    lmtp::log_note(client_.outcome(0), {"s@x", "r@y", "2ac23942", "unix:/run/lmtp", mail_.size(), status, client_.spent()});
  }

 private:
  Step next() {
    Step step = client_.next(now_);
    if (client_.before_dot()) {
      client_.permit_dot("");
      step = client_.next(now_);
    }
    return step;
  }

  TimePoint now_{std::chrono::hours(1)};
  std::string mail_;
  lmtp::Client client_;
  std::string said_;   // but for the mail
  bool data_ = false;  // and not BDAT
  std::string body_;
  std::string dot_;
  bool asked_for_the_mail_ = false;
  bool said_success_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto lines = transcript::parse(input);
  std::string mail;
  bool talks = false;
  for (const auto& line : lines) {
    if (line.lane == 'M' && line.direction == '>') mail += line.text;
    talks = talks || line.lane == 'D';
  }
  Talk talk(talks ? mail : ".a mail\n..\r\r\n.");
  if (!talks) {
    for (const char byte : input) {
      talk.listen(1 << 20);
      talk.say(std::string_view(&byte, 1));
    }
  }
  for (const auto& line : lines) {
    if (!talks) break;
    if (line.lane == 'T')
      talk.pass(std::chrono::milliseconds(std::clamp(std::strtol(line.text.c_str(), nullptr, 10), 0L, 1'000'000L)));
    if (line.lane != 'D') continue;
    switch (line.direction) {
      case '<':
        talk.listen(line.text.size());
        break;
      case '>':
        talk.say(line.text);
        break;
      default:
        talk.end(line.text == "closed"      ? Ending::Kind::closed
                 : line.text == "timed_out" ? Ending::Kind::timed_out
                                            : Ending::Kind::failed);
    }
  }
  talk.finish();
  return 0;
}
