// The LMTP client, transaction after transaction on connections that are kept, against a small server that keeps its books.
//
// Input: choices, a byte each and 0 when there are no more: what the transactions are, what the server lists and how it answers,
// how bytes are cut, when connections end. 0 is always the ordinary thing, so short inputs are ordinary talks.
//
// The server aborts on what must not be said: what it did not list, a transaction within another, a command behind one whose
// reply has to be waited for, BDAT for nobody, anything after it took its leave, mail of one client in the name of another. And
// its books are compared with the outcomes:
//   delivered   only what the server has stored and said so; nothing is stored twice, and in a probe nothing at all
//   otherwise   nothing was stored, unless the outcome is unknown
//   reusable    nobody waits for anything; stale: nothing was stored
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/input.hpp"
#include "lmtp/client.hpp"

namespace {

using namespace mailbridge;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  unsigned operator()(unsigned below) {
    if (left_ == 0) return 0;
    --left_;
    return *data_++ % below;
  }
  bool rarely() { return (*this)(16) == 15; }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

std::string unescaped(std::string_view xtext) {
  std::string text;
  for (std::size_t i = 0; i < xtext.size(); ++i) {
    if (xtext[i] != '+') {
      text += xtext[i];
      continue;
    }
    require(i + 2 < xtext.size(), "xtext is whole");
    text += static_cast<char>(std::stoi(std::string(xtext.substr(i + 1, 2)), nullptr, 16));
    i += 2;
  }
  return text;
}

std::vector<std::string> words(std::string_view line) {
  std::vector<std::string> all;
  while (!line.empty()) {
    all.emplace_back(line.substr(0, line.find(' ')));
    line.remove_prefix(std::min(line.size(), all.back().size() + 1));
  }
  return all;
}

// What a transaction came to, by recipient.
struct Books {
  std::string mail;  // as it must arrive
  bool probe = false;
  std::optional<lmtp::ClientInfo> client;
  std::map<std::string, int> rcpt;    // the code of the last reply to RCPT
  std::map<std::string, int> final;   // and to the dot
  std::map<std::string, int> stored;  // how often
};

class Server {
 public:
  explicit Server(Choices& choose) : choose_(choose) { reply(220, "x"); }

  void serve(Books& books) { books_ = &books; }

  std::string output;  // what has not reached the client
  bool closed = false;

  void hear(std::string_view bytes) {
    if (closed || left_) return;  // they are lost
    require(!refused_ || !output.empty(), "a mail ends where its refusal was heard");
    input_ += bytes;
    while (!closed && !left_ && take()) {
    }
  }

  void handshake() {
    require(tls_asked_ && output.empty() && input_.empty(), "a handshake after the reply to STARTTLS");
    tls_asked_ = false;
    tls_ = true;
    greeted_ = false;
    listed_.clear();
  }
  // In the clear, before the handshake.
  bool spoke_too_early() const { return !output.empty(); }

  // Nobody waits for anything, and nobody is held.
  bool idle() const { return output.empty() && input_.empty() && !awaits_data_ && !chunk_ && accepted_.empty() && !tls_asked_; }

  // Idle for too long, or shut down.
  void take_leave(bool politely) {
    if (politely) output += "421 4.3.2 x Shutting down\r\n";
    closed = true;
  }

 private:
  // A reply of this class, or what the choices make of it. False when it was another one.
  bool answer(int code, bool may_be_missing = true) {
    switch (choose_(24)) {
      case 15:
        reply(450 + static_cast<int>(choose_(3)), "later");
        return false;
      case 16:
        reply(550 + static_cast<int>(choose_(6)), "no");
        return false;
      case 17:
        farewell();
        return false;
      case 18:
        closed = true;
        return false;
      case 19:
        output += "what?\r\n";
        left_ = true;
        return false;
      case 20:
        if (may_be_missing) left_ = true;  // and is silent for ever
        else closed = true;
        return false;
      case 21:
        output += std::to_string(code) + "-several\r\n";
        break;
      default:
        break;
    }
    reply(code, "ok");
    return true;
  }
  void reply(int code, std::string_view text) {
    output += std::to_string(code) + " " + std::string(text) + "\r\n";
    last_code_ = code;
  }
  void farewell() {
    reply(421, "gone");
    left_ = true;
  }

  bool take() {
    if (awaits_data_ && !chunk_) return take_dots();
    if (chunk_) return take_chunk();
    const std::size_t end = input_.find("\r\n");
    if (end == std::string::npos) return false;
    const std::string line = input_.substr(0, end);
    input_.erase(0, end + 2);
    require(line.find_first_of("\r\n") == std::string::npos, "commands are lines");
    command(line);
    return true;
  }

  void command(const std::string& line) {
    const std::vector<std::string> said = words(line);
    require(!said.empty(), "no empty commands");
    const std::string& verb = said.front();
    if (verb == "LHLO") return lhlo();
    if (verb == "QUIT") {
      // Nobody waits for what it is answered.
      closed = true;
      return;
    }
    require(greeted_, "LHLO first");
    require(listed_.contains("PIPELINING") || output.empty(), "one at a time where PIPELINING is not listed");
    if (verb == "STARTTLS") return starttls();
    if (verb == "XCLIENT") return xclient(said);
    if (verb == "RSET") {
      reset();
      answer(250);
      return;
    }
    if (verb == "MAIL") return mail(said);
    if (verb == "RCPT") return rcpt(said);
    if (verb == "DATA") return data();
    if (verb == "BDAT") return bdat(said);
    require(false, "a command of LMTP");
  }

  void lhlo() {
    require(output.empty() && input_.empty(), "LHLO is waited for");
    listed_.clear();
    xclient_.clear();
    std::string lines;
    const auto list = [&](const std::string& word, bool yes) {
      if (!yes) return;
      listed_.insert(word.substr(0, word.find(' ')));
      lines += "250-" + word + "\r\n";
    };
    const unsigned some = choose_(64);
    list("PIPELINING", (some & 1) == 0);
    list("CHUNKING", (some & 2) == 0);
    list("8BITMIME", (some & 4) != 0);
    list("SIZE 1000", (some & 8) != 0);
    list("DSN", (some & 16) != 0);
    list("SMTPUTF8", (some & 32) != 0);
    list("STARTTLS", !tls_ && choose_(4) != 3);
    std::string fields;
    const unsigned known = choose_(16);
    const std::array<std::string, 4> names = {"ADDR", "HELO", "PROTO", "SESSION"};
    for (std::size_t i = 0; i < names.size(); ++i) {
      if ((known & (1U << i)) == 0) continue;
      xclient_.insert(names[i]);
      fields += " " + names[i];
    }
    list("XCLIENT" + fields, known != 0);
    std::string all = "250-x\r\n" + lines;
    if (choose_.rarely()) {
      listed_.clear();
      answer(550);
      return;
    }
    output += all + "250 ENHANCEDSTATUSCODES\r\n";
    greeted_ = true;
  }

  void starttls() {
    require(listed_.contains("STARTTLS") && !tls_ && !in_mail_ && input_.empty(), "STARTTLS where it is listed, and waited for");
    if (!answer(220)) return;
    tls_asked_ = true;
    if (choose_.rarely()) output += choose_(2) == 0 ? "250 injected\r\n" : "25";
  }

  void xclient(const std::vector<std::string>& said) {
    require(!in_mail_ && input_.empty() && said.size() > 1, "XCLIENT between transactions, with a field, and waited for");
    std::map<std::string, std::string> fields;
    for (std::size_t i = 1; i < said.size(); ++i) {
      const std::string field = said[i].substr(0, said[i].find('='));
      require(xclient_.contains(field), "a field that is listed");
      fields[field] = unescaped(std::string_view(said[i]).substr(field.size() + 1));
      require(!fields[field].empty(), "with a value");
    }
    if (!answer(220)) return;
    for (const auto& [field, value] : fields) label_[field] = value;
    greeted_ = false;
    listed_.clear();
  }

  void mail(const std::vector<std::string>& said) {
    require(!in_mail_, "no transaction within another");
    for (std::size_t i = 2; i < said.size(); ++i) {
      const std::string parameter = said[i].substr(0, said[i].find('='));
      require(listed_.contains(parameter == "BODY" ? "8BITMIME" : parameter), "a parameter that is listed");
      if (parameter == "SIZE") require(said[i] == "SIZE=" + std::to_string(books_->mail.size()), "the size of the mail");
    }
    if (books_->client && !books_->probe) {
      const std::map<std::string, std::string> now = {
          {"ADDR", (books_->client->address.find(':') == std::string::npos ? "" : "IPV6:") + books_->client->address},
          {"HELO", books_->client->helo},
          {"PROTO", books_->client->protocol},
          {"SESSION", books_->client->session}};
      for (const auto& [field, value] : label_) require(value == now.at(field), "no mail in the name of another");
    }
    in_mail_ = answer(250);
  }

  void rcpt(const std::vector<std::string>& said) {
    const std::string address = said[1].substr(4, said[1].size() - 5);
    last_code_ = 0;
    bool taken = false;
    if (said.size() > 2 && !listed_.contains("DSN") && choose_(2) == 1) reply(choose_(2) == 0 ? 501 : 555, "what is ORCPT");
    else if (!in_mail_ && !choose_.rarely()) reply(503, "MAIL first");
    else taken = answer(250);
    books_->rcpt[address] = last_code_;
    if (taken) accepted_.push_back(address);
  }

  void data() {
    require(!books_->probe, "no DATA in a probe");
    require(input_.empty(), "DATA is waited for");
    if (accepted_.empty() && choose_(4) != 3) return reply(503, "nobody");
    awaits_data_ = answer(354);
  }

  void bdat(const std::vector<std::string>& said) {
    require(!books_->probe, "no BDAT in a probe");
    require(listed_.contains("CHUNKING") && output.empty(), "BDAT where it is listed, and never pipelined");
    require(!accepted_.empty(), "BDAT for somebody");
    require(said.size() == 3 && said[2] == "LAST" && said[1] == std::to_string(books_->mail.size()), "all of the mail");
    awaits_data_ = true;
    chunk_ = books_->mail.size();
  }

  // Takes its leave before it has the whole mail, or refuses it and hears the rest.
  bool interrupted() {
    if (refused_ || accepted_.empty() || !choose_.rarely()) return false;
    switch (choose_(3)) {
      case 0:
        for (const std::string& address : accepted_) {
          reply(552, "too big");
          books_->final[address] = last_code_;
        }
        refused_ = true;
        return false;
      case 1:
        farewell();
        return true;
      default:
        closed = true;
        return true;
    }
  }

  bool take_dots() {
    // Behind the line end of DATA itself.
    const std::string data = "\r\n" + input_;
    const std::size_t end = data.find("\r\n.\r\n");
    if (interrupted() || end == std::string::npos) return false;
    std::string mail;
    std::string_view rest = std::string_view(input_).substr(0, end);
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find("\r\n") + 2);
      mail += line.substr(line.front() == '.' ? 1 : 0);
      rest.remove_prefix(line.size());
    }
    input_.erase(0, end + 3);
    commit(mail);
    return true;
  }

  bool take_chunk() {
    if (interrupted() || input_.size() < *chunk_) return false;
    const std::string mail = input_.substr(0, *chunk_);
    input_.erase(0, *chunk_);
    chunk_.reset();
    commit(mail);
    return true;
  }

  void commit(const std::string& mail) {
    // A lone dot where nobody was accepted is answered by nothing.
    require(accepted_.empty() || mail == books_->mail, "the mail, whole and as it is");
    for (const std::string& address : accepted_) {
      if (refused_) break;
      last_code_ = 0;
      if (answer(250)) ++books_->stored[address];
      books_->final[address] = last_code_;
      if (!closed && !left_) continue;
      books_->stored[address] += static_cast<int>(choose_(2));  // stored or not, nobody was told
      break;
    }
    if (!left_ && !closed && choose_.rarely()) output += "250 one too many\r\n";
    refused_ = false;
    reset();
  }

  void reset() {
    in_mail_ = false;
    awaits_data_ = false;
    accepted_.clear();
  }

  Choices& choose_;
  Books* books_ = nullptr;
  std::string input_;
  std::set<std::string> listed_;
  std::set<std::string> xclient_;
  std::map<std::string, std::string> label_;  // what XCLIENT said so far; as with Dovecot, what is left out stays
  std::vector<std::string> accepted_;
  std::optional<std::size_t> chunk_;
  bool awaits_data_ = false;
  bool greeted_ = false;
  bool in_mail_ = false;
  bool tls_ = false;
  bool tls_asked_ = false;
  bool refused_ = false;
  bool left_ = false;  // says nothing more, and hears nothing
  int last_code_ = 0;
};

class Series {
 public:
  explicit Series(Choices& choose) : choose_(choose) {}

  void run() {
    const bool starttls = choose_(4) == 3;
    for (unsigned i = 0; i < 4; ++i) {
      lmtp::Transaction transaction = some_transaction();
      transaction.starttls = starttls;
      Books books{mail_, transaction.probe, transaction.client, {}, {}, {}};
      if (!server_) connect();
      if (deliver(transaction, books)) {
        connect();
        require(!deliver(transaction, books), "a fresh connection is never stale");
      }
    }
  }

 private:
  void connect() {
    server_ = std::make_unique<Server>(choose_);
    lhlo_.reset();
  }

  lmtp::Transaction some_transaction() {
    static constexpr std::array<std::string_view, 6> mails = {"S: x\n\nhello\n",  "",  "\n",
                                                              ".\n..\r\r\n.a\nb", "x", "\r.\r\n.\r\n\n.\n"};
    lmtp::Transaction transaction{.helo = "client.example", .sender = choose_(2) == 0 ? "s@x" : "", .recipients = {}};
    transaction.keep = choose_(4) != 3;
    transaction.probe = choose_(3) == 2;
    const unsigned count = 1 + choose_(3);
    for (unsigned i = 0; i < count; ++i) {
      transaction.recipients.push_back({"r" + std::to_string(i) + (choose_.rarely() ? "\xc3\xa4@x" : "@x")});
      if (choose_(3) == 2) transaction.recipients.back().original = "A+" + std::to_string(i) + "@x";
    }
    mail_.clear();
    if (!transaction.probe) {
      agent::Input input;
      input.feed(mails[choose_(mails.size())]);
      transaction.mail.message = input.finish();
      if (choose_(3) == 2) transaction.mail.head = "X: .\r\n.\r\n";
      while (mail_.size() < transaction.mail.size()) mail_ += transaction.mail.bytes(mail_.size());
    }
    switch (choose_(6)) {
      case 1:
        transaction.client = lmtp::ClientInfo{"192.0.2.1", "mx.example", "ESMTP", "one"};
        break;
      case 2:
        transaction.client = lmtp::ClientInfo{"2001:db8::1", "[2001:db8::1]", "SMTP", "t+w=o\xff "};
        break;
      case 3:
        transaction.client = lmtp::ClientInfo{"192.0.2.3", "no name", "", "three"};
        break;
      default:
        break;
    }
    return transaction;
  }

  // True when it was stale.
  bool deliver(const lmtp::Transaction& transaction, Books& books) {
    server_->serve(books);
    if (choose_.rarely()) server_->take_leave(choose_(2) == 0);
    const bool was_reused = lhlo_.has_value();
    lmtp::Client client(transaction, {.dot_by = now_ + std::chrono::seconds(240), .reply_by = now_ + std::chrono::seconds(290)},
                        lhlo_);
    talk(client);
    require(client.settled(), "an outcome for each when Done");
    require(!client.stale() || was_reused, "only what was reused is stale");
    for (std::size_t i = 0; i < transaction.recipients.size(); ++i) {
      check(client.outcome(i), transaction.recipients[i].address, books, client.stale());
    }
    lhlo_ = client.reusable();
    require(!lhlo_ || transaction.keep, "kept only when asked to");
    // A pool looks whether a connection that was kept says anything, as here: what comes later is heard as a reply.
    if (lhlo_ && server_->output.empty() && !server_->closed) require(server_->idle(), "nobody waits for anything");
    else if (lhlo_ && !server_->closed) lhlo_.reset();
    if (!lhlo_) server_.reset();
    return client.stale();
  }

  void check(const lmtp::Outcome& outcome, const std::string& address, Books& books, bool stale) {
    const int stored = books.stored[address];
    require(stored <= 1, "stored once");
    require(!books.probe || stored == 0, "a probe stores nothing");
    require(!stale || stored == 0, "stale stores nothing");
    require(!outcome.delivered() || stored == 1, "delivered is stored");
    require(outcome.delivered() || outcome.unknown || stored == 0, "stored is delivered, or unknown");
    require(!outcome.may_try_elsewhere() || stored == 0, "another server is tried only when this one stored nothing");
    require(!outcome.accepted() || (books.probe && books.rcpt[address] == 250), "accepted was accepted");
    if (!outcome.reply || outcome.reply->code == 421) return;
    if (outcome.stage == lmtp::Stage::rcpt) require(outcome.reply->code == books.rcpt[address], "the reply to this RCPT");
    if (outcome.stage == lmtp::Stage::dot && books.final.contains(address))
      require(outcome.reply->code == books.final[address], "the reply for this recipient");
  }

  void talk(lmtp::Client& client) {
    std::string all_heard;
    bool stopped = false;  // for good: a farewell or a fault was heard
    for (;;) {
      Step step = client.next(now_);
      require(client.next(now_).index() == step.index(), "asked twice, the same answer");
      if (client.before_dot()) {
        client.permit_dot(choose_.rarely() ? "not wanted" : "");
        step = client.next(now_);
      }
      if (std::holds_alternative<Done>(step)) {
        if (!client.wants_tls()) return;
        if (server_->spoke_too_early() || choose_.rarely()) client.end({Ending::Kind::failed, "no handshake"});
        else if (server_->closed) client.end({Ending::Kind::closed});
        else {
          server_->handshake();
          client.tls_started();
        }
        continue;
      }
      const auto* send = std::get_if<Send>(&step);
      require(!send || !send->bytes.empty(), "a Send has bytes");
      require(!send || !stopped, "nothing is said any more");
      if (send && (server_->output.empty() || choose_(3) != 2)) {
        const std::size_t n = piece(send->bytes.size());
        server_->hear(send->bytes.substr(0, n));
        client.sent(n);
      } else if (!server_->output.empty()) {
        const std::string heard = server_->output.substr(0, piece(server_->output.size()));
        server_->output.erase(0, heard.size());
        client.receive(heard);
        all_heard += heard;
        for (const std::string_view last : {"421 ", "what?"}) {
          const std::size_t at = all_heard.find(last);
          stopped = stopped || (at != std::string::npos && all_heard.find('\n', at) != std::string::npos);
        }
      } else if (server_->closed) {
        client.end({choose_(2) == 0 ? Ending::Kind::closed : Ending::Kind::failed, "reset"});
      } else {
        now_ = std::get<Await>(step).until;
        client.end({Ending::Kind::timed_out});
      }
    }
  }

  std::size_t piece(std::size_t all) {
    switch (choose_(4)) {
      case 1:
        return 1;
      case 2:
        return 1 + choose_(static_cast<unsigned>(std::min<std::size_t>(all, 255)));
      default:
        return all;
    }
  }

  Choices& choose_;
  TimePoint now_{std::chrono::hours(1)};
  std::unique_ptr<Server> server_;
  std::optional<lmtp::LhloState> lhlo_;
  std::string mail_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Choices choose(data, size);
  Series(choose).run();
  return 0;
}
