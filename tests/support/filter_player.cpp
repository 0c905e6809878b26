#include "tests/support/filter_player.hpp"

#include <algorithm>
#include <charconv>
#include <memory>
#include <random>
#include <set>

#include "filter/options.hpp"
#include "recipients/mailbox_text.hpp"
#include "rspamd/exchange.hpp"
#include "rspamd/scan_request.hpp"
#include "rspamd/upstreams.hpp"
#include "session/engine.hpp"
#include "tests/support/smtpd_host.hpp"

namespace mailbridge::testing {
namespace {

using transcript::Line;

constexpr std::string_view endings[] = {"closed", "timed_out", "failed"};

std::optional<Ending> parse_ending(std::string_view text) {
  for (std::size_t i = 0; i < std::size(endings); ++i) {
    if (!text.starts_with(endings[i])) continue;
    text.remove_prefix(endings[i].size());
    if (!text.empty() && text[0] != ' ') return std::nullopt;
    return Ending{static_cast<Ending::Kind>(i), std::string(text.empty() ? text : text.substr(1))};
  }
  return std::nullopt;
}

class Player {
 public:
  Player(const std::vector<Line>& lines, const Manner& manner)
      : lines_(lines), manner_(manner), random_(manner.seed), settings_(settings()), engine_(settings_.engine) {
    for (const Line& line : lines) {
      if (line.lane == 'R') foresee(line);
    }
  }

  Played play() {
    bool expects = false;
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      const Line& line = lines_[i];
      if (line.direction == '>') {
        std::string bytes = line.text;
        while (i + 1 < lines_.size() && same_arrival(lines_[i + 1], line)) bytes += lines_[++i].text;
        arrival(line, bytes);
      } else if (line.direction == '<') {
        expects = true;
        expect(line);
      } else {
        expects = expects || line.lane == 'N';
        other(line);
      }
    }
    if (!expects) differ("the transcript expects nothing");
    const auto to_smtpd = expected_.find({'S', 1});
    if (!broken() && to_smtpd != expected_.end() && played_.to_smtpd != to_smtpd->second)
      differ("more was written to smtpd than expected");
    pass(std::chrono::hours(1));
    pass(std::chrono::hours(1));  // a scan that is given up may lead to a delivery, which has its own time
    if (!gone_) host_.settled();
    if (engine_.next_deadline()) violate("a scan outlives its deadline");
    smtpd_is_gone();
    const bool discarded = std::any_of(played_.notes.begin(), played_.notes.end(),
                                       [](const Note& note) { return note.text.find(" discarded=") != std::string::npos; });
    for (const std::string& head : host_.marked()) {
      const auto place = lmtp::find_mark(head);
      const auto mark = place ? lmtp::Mark::open(head, *place, settings_.mark_keys) : std::nullopt;
      if (!mark) violate("a mark that is none: " + head);
      for (const std::string& recipient : recipients_) {
        if (mark && mark->names(recipient) && !discarded && !have_it_.contains(recipient))
          violate("a mark for somebody who has not got it: " + recipient);
      }
    }
    played_.violations.insert(played_.violations.end(), host_.violations().begin(), host_.violations().end());
    return std::move(played_);
  }

 private:
  // What the transcript says of a scan: each attempt ends with a '!' line, save the last.
  struct Foreseen {
    struct Attempt {
      std::optional<std::string> server;
      std::size_t taken = 0;  // of the request: rspamd may stop reading
      bool refused = false;
      bool ended = false;
    };
    std::vector<Attempt> attempts;
    bool has_requests = false;
  };
  struct Scan {
    session::StartScan command = {};
    rspamd::Attempts attempts = {};
    std::size_t attempt = 0;  // from 1
    std::size_t server = 0;
    std::optional<rspamd::Exchange> exchange = {};
    std::size_t sent = 0;
    std::string_view reached = {};
    bool open = true;
  };

  void foresee(const Line& line) {
    Foreseen& scan = foreseen_[line.number];
    if (scan.attempts.empty() || scan.attempts.back().ended) scan.attempts.emplace_back();
    Foreseen::Attempt& attempt = scan.attempts.back();
    if (line.direction == '@') attempt.server = line.text;
    if (line.direction == '<') {
      attempt.taken += line.text.size();
      scan.has_requests = true;
    }
    if (line.direction != '!') return;
    attempt.ended = true;
    attempt.refused = after("refused", line.text) || after("lacking", line.text);
  }

  // Why there was no connection: "refused Connection refused", "lacking Too many open files".
  static std::optional<std::string_view> after(std::string_view word, std::string_view text) {
    if (!text.starts_with(word)) return std::nullopt;
    text.remove_prefix(word.size());
    if (text.empty()) return text;
    return text[0] == ' ' ? std::optional(text.substr(1)) : std::nullopt;
  }

  filter::Settings settings() {
    std::string out_of_order;
    std::vector<filter::GivenOption> given;
    for (const Line& line : lines_) {
      if (line.lane != 'O') continue;
      const std::size_t blank = line.text.find(' ');
      const std::string name = line.text.substr(0, blank);
      if (name == "--out-of-order") out_of_order = "a transcript says so";
      else if (name == "--mark-key") given.push_back({name, MB_MARK_KEY});
      else given.push_back({name, blank == std::string::npos ? "" : line.text.substr(blank + 1)});
    }
    auto settings = filter::read_settings(given);
    if (!settings) {
      differ("O lines: " + settings.error().what);
      settings = filter::read_settings(std::vector<filter::GivenOption>{});
    }
    settings->engine.out_of_order = out_of_order;
    return std::move(settings).value();
  }

  static std::vector<std::string> names(const std::vector<rspamd::Upstream>& upstreams) {
    std::vector<std::string> names;
    for (const rspamd::Upstream& upstream : upstreams) names.push_back(to_string(upstream.endpoint));
    return names;
  }

  static bool same_arrival(const Line& a, const Line& b) {
    return a.lane == b.lane && a.direction == b.direction && a.number == b.number;
  }
  bool judged() const { return manner_.cuts != Manner::Cuts::whole; }
  bool broken() const { return manner_.broken_arrival.has_value(); }
  void differ(std::string what) { played_.differences.push_back(std::move(what)); }
  void violate(std::string what) { played_.violations.push_back(std::move(what)); }

  std::string_view cut(std::string_view bytes) {
    const std::string_view line =
        bytes.substr(0, bytes.find('\n') == std::string_view::npos ? bytes.size() : bytes.find('\n') + 1);
    switch (manner_.cuts) {
      case Manner::Cuts::whole:
        return bytes;
      case Manner::Cuts::lines:
        return line;
      case Manner::Cuts::bytes:
        return bytes.substr(0, 1);
      case Manner::Cuts::random:
        break;
    }
    return line.substr(0, std::uniform_int_distribution<std::size_t>(1, std::min<std::size_t>(bytes.size(), 200))(random_));
  }

  void arrival(const Line& line, std::string_view bytes) {
    if (manner_.broken_arrival == played_.arrivals++) return break_off(line);
    while (!bytes.empty()) {
      const std::string_view part = line.lane == 'L' || line.lane == 'D' ? bytes : cut(bytes);
      bytes.remove_prefix(part.size());
      if (line.lane == 'S') {
        if (gone_) return;
        if (judged()) host_.said(part);
        engine_.receive(part, now_);
      } else if (line.lane == 'L') {
        looked_up(line, part);
      } else if (line.lane == 'D') {
        delivered(line, part);
      } else if (Scan* scan = find(line)) {
        if (!scan->open) break;  // as a socket that we have closed
        scan->exchange->receive(part);
      }
      pump();
    }
  }

  void break_off(const Line& line) {
    if (line.lane == 'S') {
      if (manner_.broken_with == Ending::Kind::timed_out) pass(std::chrono::hours(1));
      else smtpd_is_gone();
    } else if (line.lane == 'L') {
      looked_up(line, "unsure broken\n");
    } else if (line.lane == 'D') {
      const bool before_dot = manner_.broken_with == Ending::Kind::closed;
      delivered(line, before_dot ? "connect ! broken\n" : "dot ? ! broken\n");
    } else if (Scan* scan = find(line); scan && scan->open) {
      scan->exchange->end({manner_.broken_with, "broken"});
      pump();
    }
  }

  void looked_up(const Line& line, std::string_view what) {
    const auto found = recipients::parse_found(what);
    if (!found) return differ("line " + std::to_string(line.at) + ": no answer to a look-up");
    if (lookups_.erase(line.number) == 0 && !broken()) differ("line " + std::to_string(line.at) + ": no such look-up");
    engine_.lookup_finished(line.number, found->mailbox, found->why, now_, found->ours);
    pump();
  }

  void delivered(const Line& line, std::string_view what) {
    const auto delivery = deliveries_.extract(line.number);
    if (delivery.empty()) {
      if (!broken()) differ("line " + std::to_string(line.at) + ": no such delivery");
      return;
    }
    const auto outcomes = recipients::parse_outcomes(what);
    if (!outcomes) return differ("line " + std::to_string(line.at) + ": no outcome of a delivery");
    const auto& recipients = delivery.mapped().transaction.recipients;
    for (std::size_t i = 0; i < recipients.size() && i < outcomes->size(); ++i) {
      recipients_.insert(recipients[i].address);
      if (outcomes->at(i).delivered()) have_it_.insert(recipients[i].address);
    }
    engine_.delivery_finished(line.number, *outcomes, servers_[line.number], now_);
    pump();
  }

  Scan* find(const Line& line) {
    if (line.lane != 'R') {
      differ("line " + std::to_string(line.at) + ": a lane that is not the filter's");
      return nullptr;
    }
    const auto scan = scans_.find(line.number);
    if (scan != scans_.end()) return &scan->second;
    if (!broken()) differ("line " + std::to_string(line.at) + ": no such scan");
    return nullptr;
  }

  void other(const Line& line) {
    if (line.lane == 'O') return;
    if (line.lane == 'T') {
      unsigned long ms = 0;
      const auto [end, error] = std::from_chars(line.text.data(), line.text.data() + line.text.size(), ms);
      if (error != std::errc{} || end != line.text.data() + line.text.size() || ms > 3'600'000)
        differ("line " + std::to_string(line.at) + ": T wants milliseconds, an hour at most");
      else pass(std::chrono::milliseconds(ms));
      return;
    }
    if (line.lane == 'N') return expect_note(line);
    if (line.direction == '@' && line.lane == 'D') {
      servers_[line.number] = line.text;
      return;
    }
    if (line.direction == '@') {
      if (find(line) == nullptr || broken()) return;
      if (std::find(names_.begin(), names_.end(), line.text) != names_.end()) return;
      return differ("line " + std::to_string(line.at) + ": no such server");
    }
    const auto refused = after("refused", line.text);
    const auto lacking = after("lacking", line.text);
    if ((refused || lacking) && line.lane == 'R') {
      if (Scan* scan = find(line); scan && scan->open) {
        if (refused) scan->attempts.not_connected(scan->server, std::string(*refused));
        else scan->attempts.not_tried(scan->server, std::string(*lacking));
        begin_attempt(line.number, *scan);
        pump();
      }
      return;
    }
    const auto ending = parse_ending(line.text);
    if (!ending) return differ("line " + std::to_string(line.at) + ": no ending");
    if (line.lane == 'S') {
      smtpd_is_gone();
    } else if (Scan* scan = find(line); scan && scan->open) {
      scan->exchange->end(*ending);
      pump();
    }
  }

  void smtpd_is_gone() {
    gone_ = true;
    engine_.end_of_input();
    pump();
    if (engine_.sessions() != 0) violate("a session outlives smtpd");
  }

  void pass(Duration duration) {
    now_ += duration;
    pump();
    engine_.tick(now_);
    pump();
  }

  // What the filter said in that lane; null when it has no such lane.
  const std::string* said(const Line& line) {
    switch (line.lane) {
      case 'S':
        return &played_.to_smtpd;
      case 'R':
        return &played_.to_rspamd[line.number];
      case 'L':
        return &played_.looked_up[line.number];
      case 'D':
        return &played_.to_dovecot[line.number];
      default:
        return nullptr;
    }
  }

  void expect(const Line& line) {
    const std::string* actual = said(line);
    if (!actual) return differ("line " + std::to_string(line.at) + ": a lane that is not the filter's");
    std::string& expected = expected_[{line.lane, line.lane == 'S' ? 1 : line.number}];
    expected += line.text;
    if (broken()) return;
    if (differed_ || actual->starts_with(expected)) return;
    differed_ = true;
    const auto at = static_cast<std::size_t>(
        std::mismatch(expected.begin(), expected.end(), actual->begin(), actual->end()).first - expected.begin());
    const std::size_t start = at == 0 ? 0 : expected.rfind('\n', at - 1) + 1;
    differ("line " + std::to_string(line.at) + ": expected " + line.text +
           "  got: " + actual->substr(std::min(start, actual->size()), 300));
  }

  void expect_note(const Line& line) {
    while (next_note_ < played_.notes.size()) {
      if (played_.notes[next_note_++].text.find(line.text) != std::string::npos) return;
    }
    if (!broken()) differ("line " + std::to_string(line.at) + ": no such note: " + line.text);
  }

  void pump() {
    for (bool again = true; again;) {
      again = false;
      for (session::Command& command : engine_.take_commands()) {
        if (auto* start = std::get_if<session::StartScan>(&command)) {
          const auto number = static_cast<unsigned>(start->id);
          Scan& scan = scans_.try_emplace(number).first->second;  // perhaps not for the first time
          scan.command = std::move(*start);
          scan.attempts = {};
          scan.open = true;
          begin_attempt(number, scan);
        } else if (const auto* lookup = std::get_if<recipients::StartLookup>(&command)) {
          const auto number = static_cast<unsigned>(lookup->id);
          if (lookup->until <= now_) violate("no time is left for a look-up");
          lookups_.insert(number);
          recipients_.insert(lookup->recipient);
          played_.looked_up[number] = recipients::text_of(*lookup);
        } else if (auto* delivery = std::get_if<recipients::StartDelivery>(&command)) {
          const auto number = static_cast<unsigned>(delivery->id);
          if (delivery->dot_by >= delivery->reply_by) violate("no time is left for the answer to the dot");
          played_.to_dovecot[number] = recipients::text_of(delivery->transaction);
          deliveries_.emplace(number, std::move(*delivery));
        } else if (auto* note = std::get_if<Note>(&command)) {
          played_.notes.push_back(std::move(*note));
        }  // a cancelled scan goes on here, as with a driver that hears of it late: its result must fall on no one
      }
      for (auto& [number, scan] : scans_) {
        while (scan.open && drive(number, scan)) again = true;
      }
    }
    for (std::string_view bytes = engine_.output(); !bytes.empty(); bytes = engine_.output()) {
      const std::string_view part = cut(bytes);
      played_.to_smtpd += part;
      if (judged()) host_.heard(part);
      engine_.written(part.size());
    }
  }

  const Foreseen::Attempt* foreseen(unsigned number, const Scan& scan) const {
    const auto found = foreseen_.find(number);
    if (found == foreseen_.end() || scan.attempt > found->second.attempts.size()) return nullptr;
    return &found->second.attempts[scan.attempt - 1];
  }

  // As wires/rspamd.cpp does it; but which servers are up is not known here, so a recording names the one that was tried.
  void begin_attempt(unsigned number, Scan& scan) {
    const auto chosen = scan.attempts.next(upstreams_);
    if (!chosen) {
      scan.open = false;
      return engine_.scan_finished(number, scan.attempts.result(), now_, scan.reached);
    }
    ++scan.attempt;
    scan.server = *chosen;
    if (const auto* attempt = foreseen(number, scan); attempt && attempt->server) {
      const auto named = std::find(names_.begin(), names_.end(), *attempt->server);
      if (named != names_.end()) scan.server = static_cast<std::size_t>(named - names_.begin());
    }
    rspamd::Outgoing request(rspamd::scan_command, scan.command.headers, scan.command.message,
                             {rspamd::host_of(settings_.upstreams[scan.server].endpoint)});
    scan.exchange.emplace(std::move(request), scan.command.until, rspamd::default_reply_cap, scan.command.rewritten_bounds);
    scan.sent = 0;
  }

  // One step of a scan, as net::converse does it; whether there was anything to do.
  bool drive(unsigned number, Scan& scan) {
    const Step step = scan.exchange->next(now_);
    if (std::holds_alternative<Done>(step)) {
      if (settings_.upstreams.size() > 1) scan.reached = names_[scan.server];
      scan.attempts.finished(scan.server, scan.exchange->result());
      begin_attempt(number, scan);
      return true;
    }
    const auto* send = std::get_if<Send>(&step);
    if ((send ? send->until : std::get<Await>(step).until) <= now_) {
      scan.exchange->end({Ending::Kind::timed_out});
      return true;
    }
    if (!send) return false;
    if (send->bytes.empty()) violate("an empty Send");
    std::string_view wanted = send->bytes;
    const auto* attempt = foreseen(number, scan);
    if (attempt && attempt->refused) return false;
    if (const auto found = foreseen_.find(number); found != foreseen_.end() && found->second.has_requests) {
      wanted = wanted.substr(0, attempt ? attempt->taken - scan.sent : 0);
      if (wanted.empty()) return false;
    }
    const std::string_view part = cut(wanted);
    played_.to_rspamd[number] += part;
    scan.sent += part.size();
    scan.exchange->sent(part.size());
    return true;
  }

  const std::vector<Line>& lines_;
  const Manner manner_;
  std::minstd_rand random_;
  Played played_;
  const filter::Settings settings_;
  session::Engine engine_;
  rspamd::Upstreams upstreams_{settings_.upstreams};
  const std::vector<std::string> names_ = names(settings_.upstreams);
  SmtpdHost host_{settings_.engine.allow_rewritten_body};
  std::map<unsigned, Scan> scans_;
  std::map<unsigned, Foreseen> foreseen_;
  std::set<unsigned> lookups_;
  std::map<unsigned, recipients::StartDelivery> deliveries_;
  std::map<unsigned, std::string> servers_;  // that deliveries went to
  std::set<std::string> have_it_;            // recipients of those
  std::set<std::string> recipients_;         // about whom the mail store was asked, or who have it
  TimePoint now_ = TimePoint(std::chrono::hours(1));
  std::map<std::pair<char, unsigned>, std::string> expected_;
  std::size_t next_note_ = 0;
  bool differed_ = false;
  bool gone_ = false;
};

}  // namespace

Played play_filter(const std::vector<Line>& lines, const Manner& manner) { return Player(lines, manner).play(); }

}  // namespace mailbridge::testing
