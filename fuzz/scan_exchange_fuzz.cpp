// The scan exchange, driven by a transcript (base/transcript.hpp); what is no line of a lane is a comment.
//
//   M> bytes   more of the message, before anything else happens
//   R< bytes   as many bytes leave, if we have them
//   R> bytes   rspamd says this
//   R! kind    the connection ends: closed, timed_out; anything else is an error of that name
//
// Where the transcript stops short of an end, all that is left to send leaves and the deadline passes.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/text.hpp"
#include "base/transcript.hpp"
#include "mail/message.hpp"
#include "rspamd/exchange.hpp"
#include "rspamd/outgoing.hpp"
#include "rspamd/scan_request.hpp"
#include "tests/support/sealed_peer.hpp"

namespace {

using namespace mailbridge;
using rspamd::Exchange;

constexpr TimePoint start{};
constexpr TimePoint deadline = start + std::chrono::seconds(30);
constexpr std::string_view headers = "User-Agent: fuzz\r\n\r\n";
constexpr std::size_t cap = 8192;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

// next(), asked twice.
Step step_of(Exchange& exchange) {
  const Step step = exchange.next(start);
  const Step again = exchange.next(start);
  require(step.index() == again.index(), "next() is idempotent");
  if (const auto* send = std::get_if<Send>(&step)) {
    require(!send->bytes.empty() && send->until == deadline, "a Send has bytes and the deadline");
    require(send->bytes.data() == std::get<Send>(again).bytes.data(), "next() is idempotent");
  }
  if (const auto* await = std::get_if<Await>(&step)) require(await->until == deadline, "an Await has the deadline");
  return step;
}

bool is_done(Exchange& exchange) { return std::holds_alternative<Done>(step_of(exchange)); }

std::string send(Exchange& exchange, std::size_t most) {
  std::string bytes;
  for (Step step = step_of(exchange); most > 0 && std::holds_alternative<Send>(step); step = step_of(exchange)) {
    const std::string_view part = std::get<Send>(step).bytes.substr(0, most);
    bytes += part;
    most -= part.size();
    exchange.sent(part.size());
  }
  return bytes;
}

// Everything the result holds, in one string; its size is what the result occupies, more or less.
std::string show(const rspamd::ScanResult& result) {
  if (!result) return std::string(to_string(result.error().kind)) + ": " + result.error().what;
  const rspamd::Verdict& v = *result;
  std::string all = v.action + '\n' + v.subject + '\n' + v.smtp_message + '\n' + v.instead_of_reject + '\n' +
                    std::to_string(v.score) + ' ' + std::to_string(v.required_score) + ' ' + std::to_string(v.no_action) +
                    std::to_string(v.has_rewritten_body);
  for (const auto& symbol : v.symbols) all += '\n' + symbol.name + ' ' + std::to_string(symbol.score);
  for (const auto& value : v.dkim_signatures) all += '\n' + value;
  for (const auto* list : {&v.add_headers, &v.spam_headers}) {
    for (const auto& h : *list) all += '\n' + h.name + ' ' + h.value + ' ' + std::to_string(h.order);
  }
  for (const auto& h : v.remove_headers) all += '\n' + h.name + ' ' + std::to_string(h.index);
  for (const auto& name : v.unsupported) all += '\n' + name;
  return all;
}

Ending ending_of(std::string_view kind) {
  if (kind == "closed") return {Ending::Kind::closed};
  if (kind == "timed_out") return {Ending::Kind::timed_out};
  return {Ending::Kind::failed, std::string(kind)};
}

class World {
 public:
  explicit World(const std::vector<transcript::Line>& lines) {
    for (const auto& line : lines) {
      if (line.lane == 'M' && line.direction == '>') message_->append_line(line.text.substr(0, line.text.find('\n')));
    }
    request_.append(std::to_string(message_->size())).append("\r\n").append(headers);
    const std::size_t head_size = request_.size();
    while (request_.size() < head_size + message_->size()) request_ += message_->from(request_.size() - head_size);
  }

  // As the transcript says.
  void play(const std::vector<transcript::Line>& lines) {
    Exchange exchange = exchange_of();
    bool done = false;
    for (const auto& line : lines) {
      if (line.lane != 'R') continue;
      if (line.direction == '<') sent_ += send(exchange, line.text.size());
      if (line.direction == '>') {
        exchange.receive(line.text);
        if (!done) heard_ += line.text;
      }
      if (line.direction == '!') {
        if (!done) ending_ = ending_of(line.text);
        exchange.end(ending_of(line.text));
        ended_ = ended_ || !done;
        require(is_done(exchange), "an ending ends it");
      }
      if (done) require(is_done(exchange), "Done stays Done");
      done = is_done(exchange);
    }
    if (!done) {
      sent_ += send(exchange, std::string::npos);
      exchange.end(ending_);
      ended_ = true;
      require(is_done(exchange), "an ending ends it");
    }
    require(request_.starts_with(sent_), "what is sent is the request");
    result_ = exchange.result();
  }

  void check_result() const {
    if (!result_) {
      const std::string& what = result_.error().what;
      return require(what == printable(what, 256), "a failure is one printable line");
    }
    require(sent_ == request_, "a verdict only for the whole message");
    require(heard_.starts_with("HTTP/1.") && heard_.find(" 200") != std::string::npos, "a verdict only with 200");
    require(!result_->action.empty(), "a verdict only with an action");
    constexpr std::size_t repeated_names = 1'200'000;  // a header's name is kept for each of its values
    require(show(result_).size() <= 16 * cap + repeated_names, "the result is bounded by the cap");
  }

  // The same bytes in other cuts lead to the same result.
  void cut_otherwise() const {
    if (sent_ != request_) return;
    Exchange other = exchange_of();
    send(other, std::string::npos);
    for (const char c : heard_) other.receive({&c, 1});
    if (ended_) other.end(ending_);
    // In how many bytes zstd sees that a frame is broken depends on how many it is given.
    const bool broken_frame = !result_ && !other.result() && heard_.find("zstd") != std::string::npos;
    require(is_done(other) && (broken_frame || show(other.result()) == show(result_)), "cuts do not matter");
  }

  // The same bytes sealed lead to the same result, as far as they are a whole reply.
  void seal() const {
    const auto plain = outcome_of(exchange_of(), heard_, std::string::npos).second;
    const std::string reply = testing::sealed_reply(heard_);
    const auto [sealed_request, sealed] = outcome_of(exchange_of(testing::sealing()), reply, 1 + heard_.size() % 4096);
    require(testing::opened_request(sealed_request) == request_, "what is sent is the request, sealed");
    require(plain.has_value() == sealed.has_value() && (!plain || show(plain) == show(sealed)), "sealed or not does not matter");
    std::string forged = reply;
    forged[forged.size() - 1 - heard_.size() / 2] ^= 1;
    require(!outcome_of(exchange_of(testing::sealing()), forged, std::string::npos).second, "no verdict with a wrong MAC");
  }

 private:
  Exchange exchange_of(std::optional<rspamd::Sealing> sealing = {}) const {
    return Exchange({rspamd::scan_command, headers, message_, {"localhost", std::move(sealing)}}, deadline, cap);
  }

  // What is sent, and the result when the reply comes in pieces of `step` bytes.
  static std::pair<std::string, rspamd::ScanResult> outcome_of(Exchange talk, std::string_view reply, std::size_t step) {
    std::string request_sent = send(talk, std::string::npos);
    for (; !reply.empty(); reply.remove_prefix(std::min(step, reply.size()))) talk.receive(reply.substr(0, step));
    talk.end({Ending::Kind::closed});
    require(is_done(talk), "an ending ends it");
    return {std::move(request_sent), talk.result()};
  }

  const std::shared_ptr<mail::Message> message_ = std::make_shared<mail::Message>();
  std::string request_ = "POST /checkv2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: ";
  std::string sent_, heard_;
  Ending ending_{Ending::Kind::timed_out};
  bool ended_ = false;
  rspamd::ScanResult result_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto lines = transcript::parse({reinterpret_cast<const char*>(data), size});
  World world(lines);
  world.play(lines);
  world.check_result();
  world.cut_otherwise();
  world.seal();
  return 0;
}
