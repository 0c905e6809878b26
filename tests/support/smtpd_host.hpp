// What smtpd would make of a filter's lines: the invariants of the filter protocol, asserted by transcripts and fuzzers alike.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/line_buffer.hpp"

namespace mailbridge::testing {

class SmtpdHost {
 public:
  explicit SmtpdHost(bool bodies_may_change = false) : bodies_may_change_(bodies_may_change) {}

  // What smtpd says, whole lines or not, before the filter hears it.
  void said(std::string_view bytes);
  // What the filter wrote.
  void heard(std::string_view bytes);
  // All deadlines have passed: nothing may be left unanswered.
  void settled();

  const std::vector<std::string>& violations() const { return violations_; }

  // The header sections, lines ended by LF, of messages with a mark on top.
  const std::vector<std::string>& marked() const { return marked_; }

 private:
  struct Stream {
    std::vector<std::string> in;  // data-lines of smtpd without stuffed dots, the last "." excluded
    std::vector<std::string> out;
    bool ended = false;              // smtpd sent its "."
    bool dotted = false;             // we sent ours
    bool commit_came_early = false;  // smtpd does not do that; nothing is expected of such a stream
  };
  struct Request {
    enum class Phase { commit, rcpt_to, other } phase;
    std::string token;
  };
  struct Session {
    bool known = false;
    Stream stream;
    std::deque<Request> requests;  // without an answer
    std::set<std::string> tokens;
    std::set<bool> token_first;  // of the versions seen; real smtpd has one
  };

  void line_said(std::string_view line);
  void line_heard(std::string_view line, bool cut);
  void data_line(Session& session, std::string_view line);
  void header(const Stream& stream);
  void result(Session& session, std::string_view token, std::string_view verdict);
  void broken(std::string what, std::string_view line = {});

  LineBuffer in_{1 << 20};
  LineBuffer out_{1 << 20};
  std::map<std::uint64_t, Session> sessions_;
  const bool bodies_may_change_;
  bool ready_ = false;
  std::vector<std::string> violations_;
  std::vector<std::string> marked_;
  std::set<std::string> names_;  // of smtpd, with an '@' in front
};

}  // namespace mailbridge::testing
