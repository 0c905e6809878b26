// lda2lmtp without its system calls: a request (agent/options.hpp) to one LMTP transaction, its outcome to an exit status.
// main.cpp adds standard input, the socket, /proc and signals; the transcript player adds a script.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/endpoint.hpp"
#include "lmtp/client.hpp"
#include "lmtp/mark.hpp"
#include "lmtp/outcome.hpp"

namespace mailbridge::agent {

// smtpd gives up and tries again at 300 s, without ending the agent (agent/mda_guard.hpp). So the agent ends before that (--timeout),
// and well before its end it stops sending anything that could deliver.
constexpr std::chrono::seconds max_time_to_dot{240};

// Of a mail. The process has 16 MiB in all.
constexpr std::size_t max_memory = std::size_t{8} * 1024 * 1024;

struct Request {
  std::string sender;          // empty for the null sender
  std::string recipient;       // as RCPT TO gets it
  std::string original;        // as the client gave it; empty when not known
  std::vector<Endpoint> lmtp;  // at least one; tried in order
  Duration timeout{};          // for everything, from the agent's start
  bool keep_trace = false;     // smtpd's Return-Path and Delivered-To stay
  std::string spool;           // the directory for what of a mail does not fit into max_memory
  bool blank_bare_cr = false;  // a bare CR is delivered as a blank
  lmtp::Policies policies = {};
  bool heeds_marks = false;               // or they are like any other field
  lmtp::MarkKeys mark_keys = {};          // to read them
  std::string mark_key_fault = {};        // why they cannot be read
  std::vector<std::string> mailbox = {};  // see names_of_mailbox()
};

// What a scan at delivery time came to (agent/scan.hpp).
struct Scanned {
  std::string server;        // rspamd's, that was asked last
  std::string refusal = {};  // "451 4.7.1 text", when the mail is not to be delivered, or not now
  std::string failure = {};  // one sentence, when it is not to be delivered for there was no scan
  std::string head = {};     // the header section as it is to be delivered
  std::size_t from = 0;      // where in the message the rest begins
  std::string log = {};      // "action=… score=…"
};

struct Report {
  int status;
  std::string last_line;  // for standard error; empty after delivery
  Note note;              // for the log
};

class Agent {
 public:
  // `start`: when the process began.
  Agent(Request request, TimePoint start) : request_(std::move(request)), start_(start) {}

  const Request& request() const { return request_; }
  TimePoint end_by() const { return start_ + request_.timeout; }
  TimePoint dot_by() const;  // five sixths of the time, and never beyond max_time_to_dot

  // Standard input to its end.
  void take_mail(std::shared_ptr<mail::Message> mail, TimePoint now);
  // The recipient has it already, for the filter says so.
  bool is_served() const;
  // There is nothing left to do: it has been delivered, by the filter or by us, or is not to be delivered, or not now.
  bool is_settled() const { return outcome_ || is_served(); }
  // It cannot be read.
  void no_mail(std::string why, TimePoint now);

  // The mail without smtpd's own lines and the filter's mark: what rspamd is to see.
  const std::shared_ptr<mail::Message>& mail() const { return mail_; }
  void take_scan(Scanned scanned, Duration spent);

  // The mail, for the recipient. `helo` is our host name.
  lmtp::Transaction transaction(std::string_view helo) const;
  lmtp::Patience patience() const { return {.dot_by = dot_by(), .reply_by = end_by()}; }
  // What came of it at `server`, and how long it took.
  void finished(lmtp::Outcome outcome, std::string server, const std::array<Duration, lmtp::stages>& spent);

  // When it is settled.
  Report report() const;

 private:
  Request request_;
  TimePoint start_;
  std::shared_ptr<mail::Message> mail_;
  std::size_t bytes_ = 0;  // of it as it came
  std::string msgid_;      // smtpd's, by its Received field; empty when that is not there
  bool marked_ = false;
  std::optional<lmtp::Mark> mark_;  // that is to be believed
  std::optional<Scanned> scanned_;
  std::optional<lmtp::Outcome> outcome_;
  std::string server_;  // that gave it
  std::array<Duration, lmtp::stages> spent_{};
};

}  // namespace mailbridge::agent
