// The decisions of lda2lmtp, without system calls: from a request (agent/options.hpp) and a mail to one LMTP transaction, and
// from its outcome to an exit status. main.cpp adds standard input, the socket, /proc and signals; the transcript player adds a
// script.
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

// smtpd gives up and tries again at 300 s, without ending the agent (agent/mda_guard.hpp). So the agent ends before that
// (--timeout), and well before its end it stops sending anything that could deliver.
constexpr std::chrono::seconds max_time_to_dot{240};

// How much of a mail is kept in memory, in bytes. The whole process may have 16 MiB.
constexpr std::size_t max_memory = std::size_t{8} * 1024 * 1024;

struct Request {
  std::string sender;          // empty for the null sender
  std::string recipient;       // as RCPT TO gets it
  std::string original;        // as the client gave it; empty when not known
  std::vector<Endpoint> lmtp;  // servers, at least one; tried in this order
  Duration timeout{};          // for the whole delivery, from the agent's start
  bool keep_trace = false;     // deliver smtpd's Return-Path and Delivered-To, too
  std::string spool;           // the directory for the part of a mail beyond max_memory
  bool blank_bare_cr = false;  // deliver a blank in place of a bare CR
  lmtp::Policies policies = {};
  bool heeds_marks = false;               // obey the filter's marks; otherwise a mark is a field like any other
  lmtp::MarkKeys mark_keys = {};          // the keys that marks are read with
  std::string mark_key_fault = {};        // why the keys cannot be read; empty: they can
  std::vector<std::string> mailbox = {};  // see names_of_mailbox()
};

// The result of a scan at delivery time (agent/scan.hpp).
struct Scanned {
  std::string server;        // the rspamd server that was asked last
  std::string refusal = {};  // "451 4.7.1 text" if the mail is not to be delivered, or not now
  std::string failure = {};  // one sentence, if the mail is not to be delivered because the scan failed
  std::string head = {};     // the header section that is delivered
  std::size_t from = 0;      // offset in the message of what follows the header section
  std::string log = {};      // "action=… score=…"
};

struct Report {
  int status;             // the exit status
  std::string last_line;  // for standard error; empty after delivery
  Note note;              // for the log
};

class Agent {
 public:
  // `start` is the time at which the process began.
  Agent(Request request, TimePoint start) : request_(std::move(request)), start_(start) {}

  const Request& request() const { return request_; }
  TimePoint end_by() const { return start_ + request_.timeout; }
  TimePoint dot_by() const;  // the final dot leaves by then: five sixths of the time, at most max_time_to_dot

  // Takes the mail, once standard input was read to its end.
  void take_mail(std::shared_ptr<mail::Message> mail, TimePoint now);
  // True if the filter has delivered the mail to this recipient, as its mark says.
  bool is_served() const;
  // True if there is nothing left to do: the mail has been delivered, by the filter or by us, or is not to be delivered, or not
  // now.
  bool is_settled() const { return outcome_ || is_served(); }
  // The mail cannot be read; `why` is one sentence.
  void no_mail(std::string why, TimePoint now);

  // The mail without smtpd's own lines and without the filter's mark: this is what rspamd sees.
  const std::shared_ptr<mail::Message>& mail() const { return mail_; }
  void take_scan(Scanned scanned, Duration spent);

  // The transaction that delivers the mail to the recipient. `helo` is the name of this host.
  lmtp::Transaction transaction(std::string_view helo) const;
  lmtp::Patience patience() const { return {.dot_by = dot_by(), .reply_by = end_by()}; }
  // The outcome of the transaction at `server`, and the time that each stage took.
  void finished(lmtp::Outcome outcome, std::string server, const std::array<Duration, lmtp::stages>& spent);

  // To be called when is_settled().
  Report report() const;

 private:
  Request request_;
  TimePoint start_;
  std::shared_ptr<mail::Message> mail_;
  std::size_t bytes_ = 0;  // size of the mail as it came
  std::string msgid_;      // smtpd's message id, from its Received field; empty if that is not there
  bool marked_ = false;
  std::optional<lmtp::Mark> mark_;  // a mark that was sealed with one of our keys
  std::optional<Scanned> scanned_;
  std::optional<lmtp::Outcome> outcome_;
  std::string server_;  // the server that gave the outcome
  std::array<Duration, lmtp::stages> spent_{};
};

}  // namespace mailbridge::agent
