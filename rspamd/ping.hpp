// Is there an rspamd that scans? Two questions, each on a connection of its own:
//
//   GET /ping    every worker answers "pong". So does a proxy in milter mode, which names that mode in Server, and closes
//                the connection on every other request.
//   GET /auth    only a controller knows it: 200, or 401 or 403 without a password. It would scan, but it is a single
//                process, which web page, statistics and learning share.
//
//   asking ──► awaiting ──► done        we speak first; the reply, the deadline or the end of the connection ends it
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/conversation.hpp"
#include "base/result.hpp"
#include "rspamd/incoming.hpp"
#include "rspamd/outgoing.hpp"

namespace mailbridge::rspamd {

class Ping {
 public:
  enum class Question { is_up, is_no_controller };

  // The deadline is that of the whole conversation.
  Ping(const Wire& wire, TimePoint deadline, Question question = Question::is_up);

  Step next(TimePoint now);
  void sent(std::size_t n);
  void receive(std::string_view bytes);
  void end(const Ending& ending);

  // Nothing, or why no mail should be sent there, in one printable line.
  const Result<void>& result() const { return result_; }

 private:
  void judge();
  void fail(Errc code, std::string_view what);

  Question question_;
  Outgoing request_;
  TimePoint deadline_;
  Incoming reader_;
  bool done_ = false;
  Result<void> result_;
};

static_assert(Conversation<Ping>);

}  // namespace mailbridge::rspamd
