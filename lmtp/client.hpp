// The client's side of one LMTP transaction (RFC 2033).
//
//   phase    we send                        the server answers
//   banner                                  220
//   lhlo     LHLO name                      250, one line per capability
//   mail     MAIL FROM:<sender>             250            } these three leave together when PIPELINING was listed,
//   rcpt     RCPT TO:<recipient>, for each  250 each       } otherwise one at a time; parameters only when listed
//   data     DATA                           354            }
//   body     the mail                       nothing; what does come ends the transaction
//   dot      .                              one reply for each accepted recipient, in their order
//            QUIT                           is not waited for: after the last reply the result is final
//
// Three borders matter. Before the dot every failure is a safe retry: a server that has not seen the dot delivers nothing. From
// the dot's first byte to its reply the outcome is unknown (RFC 1047). After the reply nothing can change it.
//
// So the dot is a step of its own: when the whole mail has left, the machine waits at before_dot() until permit_dot() says
// whether the delivery is still wanted, and it gives up by itself when `dot_by` has passed. A 2xx counts only when all of the dot
// had left.
//
// 421 is about the connection, never about a recipient. A DATA that is accepted although no recipient was gets a lone dot, which
// RFC 2033 4.2 says is answered by nothing.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/conversation.hpp"
#include "lmtp/data.hpp"
#include "lmtp/mail.hpp"
#include "lmtp/reply.hpp"

namespace mailbridge::lmtp {

enum class Stage { input, connect, banner, lhlo, mail, rcpt, data, body, dot };
constexpr std::size_t stages = 9;
std::string_view name(Stage stage);  // "dot"

// What became of one recipient: the server's reply, or our own words when there is none.
struct Outcome {
  Stage stage;                 // where it was decided
  std::optional<Reply> reply;  // of that stage
  std::string failure;         // one sentence; empty when there is a reply
  bool unknown = false;        // the dot has left and no reply came: the mail may be in the mailbox

  bool delivered() const { return stage == Stage::dot && reply && reply->is(2); }
};

struct Transaction {
  std::string helo;                     // our host name
  std::string sender;                   // empty for the null sender
  std::vector<std::string> recipients;  // at least one; see address_fault() for what an address may hold
  Mail mail;
};

// Why an address cannot be written between '<' and '>'; empty when it can.
std::string_view address_fault(std::string_view address);

// How long each stage may take. Nothing before the dot lasts beyond `dot_by`.
struct Patience {
  TimePoint dot_by;    // the dot leaves before this or never
  TimePoint reply_by;  // the dot's replies are waited for until this
  // Dovecot answers all of these within milliseconds unless it is in trouble: a full process table accepts and stays silent. RFC
  // 5321 4.5.3.2 has minutes, which would not fit into smtpd's 300 seconds for the whole.
  Duration banner = std::chrono::seconds(10);
  Duration lhlo = std::chrono::seconds(10);
  Duration mail = std::chrono::seconds(30);
  Duration rcpt = std::chrono::seconds(60);
  Duration data = std::chrono::seconds(30);
  Duration block = std::chrono::seconds(60);  // without any progress in the body
  Duration quit = std::chrono::seconds(1);
};

class Client {
 public:
  Client(Transaction transaction, Patience patience);
  Client(const Client&) = delete;  // the encoder and what Send points to live here
  Client& operator=(const Client&) = delete;

  Step next(TimePoint now);
  void sent(std::size_t n);
  void receive(std::string_view bytes);
  void end(const Ending& ending);

  // The whole mail has left, nothing spoke against it, and permit_dot() is waited for.
  bool before_dot() const { return phase_ == Phase::before_dot; }
  // `refusal` empty: the dot may leave. Otherwise why it must not. Only while before_dot().
  void permit_dot(std::string_view refusal);

  bool settled() const;                                                                  // every recipient has its outcome
  const Outcome& outcome(std::size_t recipient) const { return *outcomes_[recipient]; }  // when settled; Done implies it

  Stage stage() const { return stage_; }
  // Time spent in each stage so far, as seen by next().
  const std::array<Duration, stages>& spent() const { return spent_; }

 private:
  // talk: command and reply. dot: leaving, then waited for. leave: only what is in out_ is left to do.
  enum class Phase { talk, body, before_dot, dot, leave, done };
  struct Expected {
    Stage stage;
    std::size_t recipient = 0;
  };

  void on_reply(const Reply& reply);
  void on_banner(const Reply& reply);
  void on_lhlo(const Reply& reply);
  void on_data(const Reply& reply);
  void on_early(const Reply& reply);
  void on_final(const Reply& reply);
  void say_next();
  void say(std::string_view line, Expected expected);
  void enter(Phase phase, Stage stage);
  void leave(std::string_view last_words);
  void stop();
  void decide(std::size_t recipient, Stage stage, const Reply& reply);
  void decide_rest(Stage stage, const Reply& reply);
  void fail_rest(std::string_view failure);
  TimePoint until() const;
  Duration patience() const;

  Transaction transaction_;
  Patience patience_;
  ReplyReader reader_;
  DataEncoder encoder_;
  Phase phase_ = Phase::talk;
  Stage stage_ = Stage::banner;
  std::string out_;           // commands, or the dot
  std::size_t out_sent_ = 0;  // bytes of out_ that have left
  std::size_t dot_sent_ = 0;  // bytes of the dot that have left
  std::deque<Expected> expected_{{Stage::banner}};
  bool pipelining_ = false;
  bool eightbitmime_ = false;
  bool size_ = false;
  std::size_t said_ = 0;  // MAIL, each RCPT, DATA: how many of these are said
  std::vector<std::optional<Outcome>> outcomes_;
  std::vector<std::size_t> accepted_;  // recipients that await a final reply, in order
  std::size_t answered_ = 0;           // of accepted_
  bool fresh_ = true;                  // patience starts anew at the next step
  TimePoint since_{};                  // when it last did
  std::optional<TimePoint> seen_;      // the last step
  Stage seen_stage_ = Stage::banner;
  std::array<Duration, stages> spent_{};
};

static_assert(Conversation<Client>);

}  // namespace mailbridge::lmtp
