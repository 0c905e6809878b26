#include "rspamd/ping.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"

namespace mailbridge::rspamd {
namespace {

constexpr std::size_t reply_cap = 1024;  // "pong\r\n"; a proxy's page of HTML is not worth more
constexpr std::size_t max_reason = 200;
constexpr std::string_view controller =
    "this is rspamd's controller, which scans with a single process; a worker is wanted, as on port 11333";
constexpr std::string_view milter =
    "this is rspamd's proxy in milter mode, which does not scan over HTTP; a worker is wanted, as on port 11333";

}  // namespace

Ping::Ping(const Wire& wire, TimePoint deadline, Question question)
    : question_(question),
      request_(question == Question::is_up ? "GET /ping" : "GET /auth", "\r\n", nullptr, wire),
      deadline_(deadline),
      reader_(reply_cap, request_.secret()),
      result_(mailbridge::fail(Errc::refused, "the ping has not ended")) {}

Step Ping::next(TimePoint) {
  if (done_) return Done{};
  const std::string_view bytes = request_.unsent();
  if (bytes.empty()) return Await{deadline_};
  return Send{bytes, deadline_};
}

void Ping::sent(std::size_t n) { request_.sent(n); }

void Ping::receive(std::string_view bytes) {
  if (done_) return;
  reader_.receive(bytes);
  if (reader_.complete() || reader_.fault()) judge();
}

void Ping::end(const Ending& ending) {
  if (done_) return;
  if (ending.kind == Ending::Kind::closed) reader_.close();
  if (reader_.complete() || reader_.fault()) return judge();
  const std::string asked = question_ == Question::is_up ? "/ping" : "/auth";
  switch (ending.kind) {
    case Ending::Kind::timed_out:
      return fail(Errc::refused, asked + " is not answered");
    case Ending::Kind::failed:
      return fail(Errc::refused, asked + ": " + ending.error);
    case Ending::Kind::closed:
      return fail(Errc::refused, asked + ": the connection was closed without a whole reply");
  }
}

void Ping::judge() {
  const HttpReply& reply = reader_.reply();
  if (question_ == Question::is_no_controller) {
    if (reply.status == 200 || reply.status == 401 || reply.status == 403) return fail(Errc::refused, controller);
    done_ = true;
    result_ = {};
    return;
  }
  if (reader_.fault()) return fail(Errc::malformed, "/ping: " + reader_.fault()->what);
  if (reply.status != 200) return fail(Errc::refused, "/ping: " + std::to_string(reply.status) + " " + reply.reason);
  if (reply.server.find("milter") != std::string::npos) return fail(Errc::refused, milter);
  if (trim(reply.body) != "pong") return fail(Errc::malformed, "/ping is answered with something else: this is no rspamd");
  done_ = true;
  result_ = {};
}

void Ping::fail(Errc code, std::string_view what) {
  done_ = true;
  result_ = mailbridge::fail(code, printable(what, max_reason));
}

}  // namespace mailbridge::rspamd
