#include "tests/support/agent_player.hpp"

#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "agent/agent.hpp"
#include "agent/input.hpp"
#include "agent/options.hpp"

namespace mailbridge::test {
namespace {

using transcript::Line;

struct Wrong : std::runtime_error {
  using runtime_error::runtime_error;
};

[[noreturn]] void wrong(const Line& line, const std::string& what) { throw Wrong(std::to_string(line.at) + ": " + what); }

std::string escaped(std::string_view bytes) {
  std::string text;
  transcript::append(text, "", bytes.substr(0, 300));
  return text.empty() ? "nothing" : text;
}

class Run {
 public:
  Run(Cuts cuts, unsigned seed) : cuts_(cuts), random_(seed) {}

  void take(const Line& line) {
    switch (line.lane) {
      case 'O':
        return options(line);
      case 'M':
        return take_mail(line);
      case 'D':
        return server(line);
      case 'T':
        return pass(line);
      case 'N':
      case 'E':
        return expect(line);
      default:
        wrong(line, "not a lane of the agent");
    }
  }

  // The arrival's first half and then nothing but the end.
  void take_half(const Line& line, Ending::Kind kind, bool half) {
    begin(line);
    if (half) arrive(line, std::string_view(line.text).substr(0, line.text.size() / 2));
    const bool read = client_ && client_->settled();
    if (client_) client_->end({kind, "broken"});
    if (!client_) not_connected("broken");
    if (client_ && !std::holds_alternative<Done>(client_->next(now_))) wrong(line, "the agent goes on after the end");
    const int status = report().status;
    if (!read && status != lmtp::exit_temporary) wrong(line, "broken here, the status is " + std::to_string(status));
    if (read && status == 0 && !final_reply_) wrong(line, "delivered without a 2xx after the dot");
  }

  void finish(const Line& last) {
    if (client_ && !std::holds_alternative<Done>(client_->next(now_))) {
      wrong(last, "the transcript ends here and the agent goes on: " + wanted());
    }
  }

 private:
  void options(const Line& line) {
    if (agent_) wrong(line, "options stand before everything else");
    std::istringstream words(line.text);
    for (std::string word; words >> word;) {
      if (word.starts_with("SENDER=")) environment_.sender = word.substr(7);
      else if (word.starts_with("RECIPIENT=")) environment_.recipient = word.substr(10);
      else if (word.starts_with("LOCAL=")) environment_.local = word.substr(6);
      else if (word.starts_with("DOMAIN=")) environment_.domain = word.substr(7);
      else argv_.push_back(word == "''" ? "" : word);
    }
  }

  void start(const Line& line) {
    if (agent_) return;
    auto read = agent::read_settings(argv_, environment_);
    if (!read) wrong(line, "the options are refused: " + read.error().what);
    agent_ = std::make_unique<agent::Agent>(std::get<agent::Settings>(std::move(*read)).request, now_);
  }

  std::shared_ptr<mail::Message> mail() const {
    agent::Input input;
    input.feed(mail_);
    return input.finish();
  }

  void take_mail(const Line& line) {
    start(line);
    if (client_ || line.direction == '<') wrong(line, "the mail stands before the conversation");
    if (line.direction == '>') mail_ += line.text;
    else agent_->no_mail("standard input cannot be read", now_);
  }

  // Reads standard input to its end and connects.
  void begin(const Line& line) {
    start(line);
    if (client_) return;
    agent_->take_mail(mail(), now_);
    client_.emplace(agent_->transaction("client.example"), agent_->patience());
  }

  void not_connected(const std::string& why) {
    agent_->finished({lmtp::Stage::connect, std::nullopt, why}, to_string(agent_->request().lmtp.front()), {});
  }

  const agent::Report& report() {
    if (!report_) {
      if (client_) agent_->finished(client_->outcome(0), to_string(agent_->request().lmtp.front()), client_->spent());
      report_ = agent_->report();
    }
    return *report_;
  }

  void server(const Line& line) {
    if (line.direction == '!' && line.text == "refused") {
      start(line);
      agent_->take_mail(mail(), now_);
      return not_connected("nobody listens there");
    }
    begin(line);
    switch (line.direction) {
      case '>':
        return arrive(line, line.text);
      case '<':
        return leave(line);
      default:
        break;
    }
    if (line.text == "unwanted") unwanted_ = true;
    else if (line.text == "closed") client_->end({Ending::Kind::closed});
    else if (line.text == "timed_out") client_->end({Ending::Kind::timed_out});
    else if (line.text == "failed") client_->end({Ending::Kind::failed, "Connection reset by peer"});
    else wrong(line, "no such ending");
  }

  Step step() {
    Step step = client_->next(now_);
    if (client_->before_dot()) {
      client_->permit_dot(unwanted_ ? "smtpd has given up on this delivery" : "");
      step = client_->next(now_);
    }
    return step;
  }

  std::string wanted() {
    const Step now = step();
    if (const auto* send = std::get_if<Send>(&now)) return "it says " + escaped(send->bytes);
    return std::holds_alternative<Done>(now) ? "it is done" : "it waits";
  }

  std::size_t cut(std::size_t most) {
    switch (cuts_) {
      case Cuts::whole:
        return most;
      case Cuts::bytes:
        return 1;
      case Cuts::random:
        return 1 + random_() % std::min<std::size_t>(most, 40);
    }
    return most;
  }

  void arrive(const Line& line, std::string_view bytes) {
    // All it has to say by now stands in front of this line, unless the server interrupts it.
    if (line.text.starts_with('2') && client_->stage() == lmtp::Stage::dot && dot_left_) final_reply_ = true;
    while (!bytes.empty()) {
      step();
      const std::size_t n = cut(bytes.size());
      client_->receive(bytes.substr(0, n));
      bytes.remove_prefix(n);
    }
  }

  void leave(const Line& line) {
    std::string_view expected = line.text;
    while (!expected.empty()) {
      const Step now = step();
      const auto* send = std::get_if<Send>(&now);
      if (!send) wrong(line, wanted() + " and should say " + escaped(expected));
      if (send->bytes.empty()) wrong(line, "a Send without bytes");
      const std::size_t n = cut(std::min(send->bytes.size(), expected.size()));
      if (send->bytes.substr(0, n) != expected.substr(0, n)) wrong(line, wanted() + " and should say " + escaped(expected));
      if (client_->stage() == lmtp::Stage::dot) dot_left_ = true;
      client_->sent(n);
      expected.remove_prefix(n);
    }
  }

  void pass(const Line& line) {
    begin(line);
    // As the driver does: a step whose time is over ends the talk.
    Step now = step();
    now_ += std::chrono::milliseconds(std::stol(line.text));
    const TimePoint until = std::holds_alternative<Send>(now)    ? std::get<Send>(now).until
                            : std::holds_alternative<Await>(now) ? std::get<Await>(now).until
                                                                 : TimePoint::max();
    if (until <= now_) client_->end({Ending::Kind::timed_out});
  }

  void expect(const Line& line) {
    if (client_ && !std::holds_alternative<Done>(step())) wrong(line, "the agent has not ended: " + wanted());
    const agent::Report& report = this->report();
    if (line.lane == 'N' && report.note.text.find(line.text) == std::string::npos &&
        report.last_line.find(line.text) == std::string::npos) {
      wrong(line, "'" + line.text + "' stands neither in the note nor in the last line:\n  " + report.note.text + "\n  " +
                      report.last_line);
    }
    if (line.lane == 'E' && line.text != std::to_string(report.status)) {
      wrong(line, "the status is " + std::to_string(report.status) + ": " + report.last_line);
    }
    if (report.last_line.empty() != (report.status == 0)) wrong(line, "a last line belongs to every status but 0");
  }

  Cuts cuts_;
  std::mt19937 random_;
  TimePoint now_{std::chrono::hours(1)};
  std::vector<std::string> argv_{"lda2lmtp"};
  agent::Environment environment_;
  std::string mail_;
  std::unique_ptr<agent::Agent> agent_;
  std::optional<lmtp::Client> client_;
  std::optional<agent::Report> report_;
  bool unwanted_ = false;
  bool dot_left_ = false;
  bool final_reply_ = false;
};

bool is_arrival(const Line& line) { return line.lane == 'D' && line.direction != '<'; }

}  // namespace

AgentPlayer::AgentPlayer(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(path + ": no such transcript");
  lines_ = transcript::parse(std::string{std::istreambuf_iterator<char>(in), {}});
  int statuses = 0;
  for (const Line& line : lines_) {
    if (std::string_view("OMDTNE").find(line.lane) == std::string_view::npos || line.number != 1) {
      throw std::runtime_error(path + ":" + std::to_string(line.at) + ": not a lane of the agent");
    }
    statuses += line.lane == 'E' ? 1 : 0;
  }
  if (statuses != 1 || lines_.back().lane != 'E') throw std::runtime_error(path + ": one E line stands at the end");
}

std::string AgentPlayer::play(Cuts cuts, unsigned seed) const {
  try {
    Run run(cuts, seed);
    for (const Line& line : lines_) run.take(line);
    run.finish(lines_.back());
  } catch (const Wrong& error) {
    return error.what();
  }
  return {};
}

std::string AgentPlayer::play_broken() const {
  for (std::size_t broken = 0; broken < lines_.size(); ++broken) {
    if (!is_arrival(lines_[broken])) continue;
    for (const Ending::Kind kind : {Ending::Kind::closed, Ending::Kind::timed_out, Ending::Kind::failed}) {
      for (const bool half : {false, lines_[broken].direction == '>'}) {
        try {
          Run run(Cuts::whole, 0);
          for (std::size_t i = 0; i < broken; ++i) run.take(lines_[i]);
          run.take_half(lines_[broken], kind, half);
        } catch (const Wrong& error) {
          return error.what();
        }
      }
    }
  }
  return {};
}

}  // namespace mailbridge::test
