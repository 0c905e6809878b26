// The client's side of one LMTP transaction (RFC 2033), on a fresh connection or on one that has served before.
//
//   stage    we send                        the server answers
//   banner                                  220
//   lhlo     LHLO name                      250, one line per capability
//            STARTTLS, when asked for       220; then the driver makes the handshake, and LHLO again
//            XCLIENT …, when listed         220, and LHLO again; a refusal is no failure
//   mail     RSET, when reused              250            }
//            MAIL FROM:<sender>             250            } these leave together when PIPELINING was listed, otherwise one at a
//   rcpt     RCPT TO:<recipient>, for each  250 each       } time; parameters only when listed, but for ORCPT
//   data     DATA, or RSET of a probe       354, or 250    }
//   body     the mail; or BDAT n LAST and   nothing; what does come ends the transaction
//            all but the mail's end
//   dot      . or the mail's end            one reply for each accepted recipient, in their order
//            QUIT, unless it is to be kept  is not waited for: after the last reply the result is final
//
// Three borders matter. Before the dot every failure is a safe retry: a server that has not seen the dot delivers nothing. From
// the dot's first byte to its reply the outcome is unknown (RFC 1047). After the reply nothing can change it.
//
// So the dot is a step of its own: when the whole mail has left, the machine waits at before_dot() until permit_dot() says
// whether the delivery is still wanted, and it gives up by itself when `dot_by` has passed. A 2xx counts only when all of the dot
// had left. With BDAT (RFC 3030) the last chunk is what delivers, so its last bytes are held back, and all that is said here of
// the dot is true of them.
//
// 421 is about the connection, never about a recipient. After the dot it leaves what is unanswered unknown: Dovecot, when it is
// stopped, ends a delivery and says 421 instead of what became of it. A DATA that is accepted although no recipient was gets a
// lone dot, which RFC 2033 4.2 says is answered by nothing. BDAT waits for all replies to RCPT, for such a BDAT must not be said
// at all.
//
// What a server says before it was asked can be no answer. On a connection that was kept it is usually its farewell: the client
// is stale() then, and the transaction may be tried on a fresh connection, once.
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

enum class Stage { input, scan, connect, banner, lhlo, mail, rcpt, data, body, dot };
constexpr std::size_t stages = 10;
std::string_view name(Stage stage);  // "dot"

// What became of one recipient: the server's reply, or our own words when there is none.
struct Outcome {
  Stage stage;                 // where it was decided
  std::optional<Reply> reply;  // of that stage
  std::string failure;         // one sentence; empty when there is a reply
  bool unknown = false;        // the dot has left and no reply for this recipient came: the mail may be in the mailbox
  bool ours = false;           // there is no reply for the lack of something of ours, which says nothing about the server

  bool delivered() const { return stage == Stage::dot && reply && reply->is(2); }
  bool accepted() const { return stage == Stage::rcpt && reply && reply->is(2); }  // of a probe
  // Nothing was said about recipient or mail, and no dot has left: another server may be tried.
  bool may_try_elsewhere() const;
};

struct Recipient {
  std::string address;
  std::string original = {};  // for ORCPT=rfc822;…; empty: none
};

// Whom we speak for, as XCLIENT tells it. Empty fields are left out.
struct ClientInfo {
  std::string address;   // ADDR, as 192.0.2.1 or 2001:db8::1
  std::string helo;      // HELO; what is no host name and no literal is left out, too
  std::string protocol;  // PROTO, SMTP or ESMTP
  std::string session;   // SESSION, what Dovecot's log lines are to be found by
  bool operator==(const ClientInfo&) const = default;
};

struct Transaction {
  bool probe = false;                 // would these be accepted? MAIL, RCPT and RSET, no mail; the results are of Stage::rcpt
  std::string helo;                   // our host name
  std::string sender;                 // empty for the null sender
  std::vector<Recipient> recipients;  // at least one; see address_fault() for what an address may hold
  Mail mail = {};
  std::optional<ClientInfo> client = {};  // none: whomever the connection spoke for last
  bool starttls = false;                  // a server that does not do it is of no use
  bool keep = false;                      // no QUIT, see reusable()
};

// A connection after LHLO.
struct LhloState {
  bool pipelining = false;
  bool eightbitmime = false;
  bool size = false;
  bool chunking = false;
  bool dsn = false;
  bool smtputf8 = false;
  bool starttls = false;                  // is listed
  std::vector<std::string> xclient = {};  // the fields that are listed
  bool orcpt_refused = false;             // where it was not listed, either
  bool tls = false;                       // since STARTTLS
  std::optional<ClientInfo> client = {};  // what XCLIENT told
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
  // `reused`: what reusable() of the connection's last client said.
  Client(Transaction transaction, Patience patience, std::optional<LhloState> reused = {});
  Client(const Client&) = delete;  // the encoder and what Send points to live here
  Client& operator=(const Client&) = delete;

  Step next(TimePoint now);
  void sent(std::size_t n);
  void receive(std::string_view bytes);
  void end(const Ending& ending);

  // next() is Done for now: the handshake is to be made, and then the talk goes on. When it fails: end().
  bool wants_tls() const { return phase_ == Phase::tls; }
  void tls_started();

  // The whole mail has left, nothing spoke against it, and permit_dot() is waited for.
  bool before_dot() const { return phase_ == Phase::before_dot; }
  // `refusal` empty: the dot may leave. Otherwise why it must not. Only while before_dot().
  void permit_dot(std::string_view refusal);

  bool settled() const;                                                                  // every recipient has its outcome
  const Outcome& outcome(std::size_t recipient) const { return *outcomes_[recipient]; }  // when settled; Done implies it
  std::vector<Outcome> outcomes() const;                                                 // by recipient, when settled

  // When Done: every reply that was asked for has been read and nothing else, and Transaction::keep was set. The connection may
  // serve again, for a Client that is given this.
  std::optional<LhloState> reusable() const;
  // When Done: the connection was reused and could not serve any more. No dot has left, and the outcomes are not worth anything:
  // the transaction is for a fresh connection.
  bool stale() const { return stale_; }

  Stage stage() const { return stage_; }
  // Time spent in each stage so far, as seen by next().
  const std::array<Duration, stages>& spent() const { return spent_; }

 private:
  // talk: command and reply. dot: leaving, then waited for. leave: only what is in out_ is left to do.
  enum class Phase { talk, tls, body, before_dot, dot, leave, done };
  enum class Asked { banner, lhlo, starttls, xclient, opening_rset, mail, rcpt, data, closing_rset };
  struct Expected {
    Asked asked;
    std::size_t recipient = 0;
    bool orcpt = false;
    std::size_t end = 0;  // of the command, in all that is said by commands
  };
  static Stage stage_of(Asked asked);

  void on_reply(const Reply& reply);
  void on_expected(const Expected& expected, const Reply& reply);
  void on_banner(const Reply& reply);
  void on_lhlo(const Reply& reply);
  void on_starttls(const Reply& reply);
  void on_xclient(const Reply& reply);
  void on_rcpt(const Expected& expected, const Reply& reply);
  void on_data(const Reply& reply);
  void on_early(const Reply& reply);
  void on_final(const Reply& reply);
  void go_on();
  void say_transaction();
  void say_mail();
  void say_rcpt(std::size_t recipient, bool with_orcpt);
  void say(std::string_view line, Expected expected);
  void send_mail(Framing framing);
  bool chunked() const;
  bool wants_orcpt(const Recipient& recipient) const;
  bool data_waits() const;
  void enter(Phase phase, Stage stage);
  void finish();
  void leave(std::string_view last_words);
  void stop();
  void decide(std::size_t recipient, Stage stage, const Reply& reply);
  void decide_rest(Stage stage, const Reply& reply);
  void fail_rest(std::string_view failure);
  void lose(std::string_view why);
  TimePoint until() const;
  Duration patience() const;

  Transaction transaction_;
  Patience patience_;
  bool reused_;
  LhloState lhlo_;
  ReplyReader reader_;
  std::optional<DataEncoder> encoder_;
  Phase phase_ = Phase::talk;
  Stage stage_ = Stage::banner;
  std::string out_;           // commands, or the dot
  std::size_t out_sent_ = 0;  // bytes of out_ that have left
  std::size_t dot_sent_ = 0;  // bytes of the dot that have left
  std::size_t commands_said_ = 0;
  std::size_t commands_sent_ = 0;
  std::deque<Expected> expected_;
  std::size_t said_ = 0;  // MAIL, each RCPT, DATA or RSET: how many of these are said
  std::vector<std::optional<Outcome>> outcomes_;
  std::vector<std::size_t> accepted_;  // recipients that await a final reply, in order
  std::size_t answered_ = 0;           // of accepted_
  bool introduced_ = false;            // XCLIENT was accepted
  bool in_sync_ = false;               // all replies are read
  bool stale_ = false;
  bool fresh_ = true;              // patience starts anew at the next step
  TimePoint since_{};              // when it last did
  std::optional<TimePoint> seen_;  // the last step
  Stage seen_stage_ = Stage::banner;
  std::array<Duration, stages> spent_{};
};

static_assert(Conversation<Client>);

}  // namespace mailbridge::lmtp
