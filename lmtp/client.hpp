// The client's side of one LMTP transaction (RFC 2033), on a fresh connection or on one that has served before.
//
//   stage    we send                        the server answers
//   banner                                  220
//   lhlo     LHLO name                      250, one line for each extension
//            STARTTLS, when asked for       220; the driver makes the handshake, and LHLO follows again
//            XCLIENT …, when listed         220, and LHLO follows again; a refusal is ignored
//   mail     RSET, when reused              250            } When PIPELINING is listed, these leave together, otherwise one
//            MAIL FROM:<sender>             250            } after the reply to the other. A parameter is sent only when its
//   rcpt     RCPT TO:<recipient>, for each  250 each       } extension is listed; ORCPT is the exception, see wants_orcpt().
//   data     DATA, or RSET of a probe       354, or 250    }
//   body     the mail; or BDAT n LAST and   nothing; a reply here ends the transaction
//            the mail without its last bytes
//   dot      . or the mail's last bytes     one reply for each accepted recipient, in their order
//            QUIT, unless the connection    its reply is not waited for
//            is to be kept
//
// A server that has not received the dot delivers nothing, so after every failure before the dot it is safe to try again. Between
// the first byte of the dot and the reply to it, nobody can know the outcome (RFC 1047). The reply is final.
//
// So the dot is a step of its own. When the whole mail has left, the machine waits at before_dot() until permit_dot() says
// whether the delivery is still wanted. When `dot_by` has passed, the machine gives up. A 2xx counts only if the whole dot had
// left before it came. With BDAT (RFC 3030) the last bytes of the last chunk make the server deliver. So the machine holds these
// bytes back, and treats them as it treats the dot.
//
// 421 is about the connection, never about a recipient. When Dovecot is stopped, it ends a delivery and replies 421, whatever
// became of the mail. So after the dot, 421 leaves the outcome of every recipient without a reply unknown.
//
// A server may accept DATA although it accepted no recipient. Then a lone dot is sent; RFC 2033 4.2 says that no reply follows.
// BDAT must not be sent in that case, so it is sent only after all replies to RCPT.
//
// A reply that comes before a command has left is not the reply to that command. On a connection that was kept it is usually the
// server's farewell. Then the client is stale(), and the transaction may be tried once more, on a fresh connection.
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

// What became of one recipient.
struct Outcome {
  Stage stage;                 // that decided it
  std::optional<Reply> reply;  // the server's, in that stage; none: `failure` says why
  std::string failure;         // one sentence; empty when there is a reply
  bool unknown = false;        // the dot has left and no reply for this recipient came: the mail may be in the mailbox
  bool ours = false;           // this host was short of something (descriptors, ports, memory), so the server was not asked

  bool delivered() const { return stage == Stage::dot && reply && reply->is(2); }
  bool accepted() const { return stage == Stage::rcpt && reply && reply->is(2); }  // of a probe
  // True if no dot has left, and the server said nothing about the recipient or the mail: another server may be tried.
  bool may_try_elsewhere() const;
};

struct Recipient {
  std::string address;
  std::string original = {};  // for ORCPT=rfc822;…; empty: none
};

// The SMTP client that sent the mail, as XCLIENT tells it to Dovecot. Empty fields are not sent.
struct ClientInfo {
  std::string address;   // ADDR: "192.0.2.1" or "2001:db8::1"
  std::string helo;      // HELO: sent only when it is a host name or an address literal
  std::string protocol;  // PROTO: "SMTP" or "ESMTP"
  std::string session;   // SESSION: the id that Dovecot writes into its log lines
  bool operator==(const ClientInfo&) const = default;
};

struct Transaction {
  bool probe = false;                      // no mail is sent: MAIL, RCPT and RSET ask whether the recipients would be accepted
  std::string helo = {};                   // our host name
  std::string sender = {};                 // empty for the null sender
  std::vector<Recipient> recipients = {};  // at least one; each passes address_fault()
  Mail mail = {};
  std::optional<ClientInfo> client = {};  // none: no XCLIENT is sent
  bool starttls = false;                  // true: without STARTTLS the transaction fails
  bool keep = false;                      // true: no QUIT is sent, see reusable()
};

// What is known of a connection once LHLO was answered: the extensions that the server listed, and what we have told it.
struct LhloState {
  bool pipelining = false;
  bool eightbitmime = false;
  bool size = false;
  bool chunking = false;
  bool dsn = false;
  bool smtputf8 = false;
  bool starttls = false;
  std::vector<std::string> xclient = {};  // the XCLIENT fields that the server listed
  bool orcpt_refused = false;             // the server refused ORCPT, which it had not listed
  bool tls = false;                       // TLS began with STARTTLS
  std::optional<ClientInfo> client = {};  // what XCLIENT has told the server
};

// Why an address cannot be written between '<' and '>'; empty when it can.
std::string_view address_fault(std::string_view address);

// How long each stage may take. Every stage before the dot also ends at `dot_by`.
struct Patience {
  TimePoint dot_by;    // the dot leaves before this or never
  TimePoint reply_by;  // the replies to the dot are waited for until this
  // Dovecot answers all of these within milliseconds unless it is in trouble. RFC 5321 4.5.3.2 asks for minutes, but smtpd gives
  // an agent 300 seconds for everything.
  Duration banner = std::chrono::seconds(10);
  Duration lhlo = std::chrono::seconds(10);
  Duration mail = std::chrono::seconds(30);
  Duration rcpt = std::chrono::seconds(60);
  Duration data = std::chrono::seconds(30);
  Duration block = std::chrono::seconds(60);  // for the next bytes of the body to leave
  Duration quit = std::chrono::seconds(1);
};

class Client {
 public:
  // `reused`: what reusable() answered after the last transaction on this connection; none: the connection is fresh.
  Client(Transaction transaction, Patience patience, std::optional<LhloState> reused = {});
  Client(const Client&) = delete;  // a Send points into this object
  Client& operator=(const Client&) = delete;

  Step next(TimePoint now);
  void sent(std::size_t n);
  void receive(std::string_view bytes);
  void end(const Ending& ending);

  // True while STARTTLS waits for the handshake, and next() is Done. The driver makes the handshake and calls tls_started(), or
  // end() when the handshake fails; then it converses on.
  bool wants_tls() const { return phase_ == Phase::tls; }
  void tls_started();

  // True while the whole mail has left and the dot waits for permit_dot().
  bool before_dot() const { return phase_ == Phase::before_dot; }
  // `refusal`: why the dot must not leave; empty: it may. To be called only while before_dot().
  void permit_dot(std::string_view refusal);

  bool settled() const;                                                                  // every recipient has its outcome
  const Outcome& outcome(std::size_t recipient) const { return *outcomes_[recipient]; }  // when settled; Done implies it
  std::vector<Outcome> outcomes() const;                                                 // by recipient, when settled

  // When Done: the state for the next Client on this connection. None unless Transaction::keep was set, every command has had its
  // reply, and nothing else came.
  std::optional<LhloState> reusable() const;
  // When Done: true if the connection was reused and turned out to be dead before the dot. Then the outcomes mean nothing, and
  // the caller tries the transaction on a fresh connection.
  bool stale() const { return stale_; }

  Stage stage() const { return stage_; }
  // The time spent in each stage so far, measured from one next() to the other.
  const std::array<Duration, stages>& spent() const { return spent_; }

 private:
  // talk: commands and replies. tls: waiting for the handshake. dot: it leaves, then its replies are read. leave: the
  // outcomes are final, and what is left to say (QUIT) leaves.
  enum class Phase { talk, tls, body, before_dot, dot, leave, done };
  enum class Asked { banner, lhlo, starttls, xclient, opening_rset, mail, rcpt, data, closing_rset };
  struct Expected {
    Asked asked;
    std::size_t recipient = 0;
    bool orcpt = false;
    std::size_t end = 0;  // where the command ends, counted in the bytes of all commands so far
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
  std::string out_;                // what leaves next: commands, or the dot
  std::size_t out_sent_ = 0;       // bytes of out_ that have left
  std::size_t dot_sent_ = 0;       // bytes of the dot that have left
  std::size_t commands_said_ = 0;  // bytes of all commands that were put into out_
  std::size_t commands_sent_ = 0;  // bytes of those that have left
  std::deque<Expected> expected_;  // the commands without a reply, in their order
  std::size_t said_ = 0;           // how many of MAIL, each RCPT, and DATA or RSET were put into out_
  std::vector<std::optional<Outcome>> outcomes_;
  std::vector<std::size_t> accepted_;  // the recipients whose RCPT was accepted, in order: each gets a reply to the dot
  std::size_t answered_ = 0;           // how many of accepted_ have it
  bool introduced_ = false;            // XCLIENT was accepted in this transaction
  bool in_sync_ = false;               // every command has had its reply, and nothing else came
  bool stale_ = false;
  bool fresh_ = true;              // the stage's time starts anew at the next step
  TimePoint since_{};              // when it last started
  std::optional<TimePoint> seen_;  // when next() was last called
  Stage seen_stage_ = Stage::banner;
  std::array<Duration, stages> spent_{};
};

static_assert(Conversation<Client>);

}  // namespace mailbridge::lmtp
