// Is there an rspamd that serves requests? GET /ping, which every worker answers with "pong".
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

Outgoing ping_request(const Wire& wire);

class Ping {
 public:
  // Of ping_request(); the deadline is that of the whole conversation.
  Ping(Outgoing request, TimePoint deadline);

  Step next(TimePoint now);
  void sent(std::size_t n);
  void receive(std::string_view bytes);
  void end(const Ending& ending);

  // Nothing, or what came instead of "pong", in one printable line.
  const Result<void>& result() const { return result_; }

 private:
  void judge();
  void fail(Errc code, std::string_view what);

  Outgoing request_;
  TimePoint deadline_;
  Incoming reader_;
  bool done_ = false;
  Result<void> result_;
};

static_assert(Conversation<Ping>);

}  // namespace mailbridge::rspamd
