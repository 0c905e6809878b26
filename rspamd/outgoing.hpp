// What is written to rspamd for one request: its head and the mail, as they are, compressed, or encrypted (HTTPCrypt).
//
// The mail is sent from where it lies. An encrypted one is passed over twice, in pieces, because its MAC goes first. A compressed
// one is made whole before, for its length goes first.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/endpoint.hpp"
#include "mail/message.hpp"
#include "rspamd/compression.hpp"
#include "rspamd/httpcrypt.hpp"

namespace mailbridge::rspamd {

struct Sealing {
  std::shared_ptr<const httpcrypt::Secret> secret;
  httpcrypt::Nonce nonce;  // random, for this request alone
};

// How a request reaches its endpoint.
struct Wire {
  std::string host = "localhost";                 // for the Host header
  std::optional<Sealing> sealing = std::nullopt;  // none: in the clear
  bool compress = false;
};

// As the Host header wants it.
std::string host_of(const Endpoint& endpoint);

class Outgoing {
 public:
  // `command` as "POST /checkv2"; `headers` with the empty line that ends them, without Host, Connection and Content-Length.
  // Without a message there is no Content-Length. The message must not change any more.
  Outgoing(std::string_view command, std::string_view headers, std::shared_ptr<const mail::Message> message, const Wire& wire);

  // What must be computed before the first byte can leave, about a MiB of mail at a time: true when nothing is left. What was
  // not prepared when it is first asked for is prepared then, all at once.
  bool prepare();

  // What is to be written next, or a first part of it; empty when all has left, and when the message cannot be read any further.
  // Valid until the next call of any other member.
  std::string_view unsent();
  void sent(std::size_t n);

  bool complete();  // all has left
  std::string failure() const { return message_ ? message_->failure().message() : std::string(); }

  // What the reply will be encrypted with; null: it will not.
  std::shared_ptr<const httpcrypt::Secret> secret() const { return sealing_ ? sealing_->secret : nullptr; }

 private:
  void refill();
  void append(std::string_view bytes);

  std::string head_;     // until it is in buffer_
  std::string headers_;  // until they are in head_
  std::shared_ptr<const mail::Message> message_;
  std::optional<Compressor> compressor_;  // while preparing
  std::size_t size_ = 0;                  // of the message as it leaves
  std::string host_;
  std::optional<Sealing> sealing_;
  std::optional<httpcrypt::Authenticator> authenticator_;  // while preparing
  std::optional<httpcrypt::Cipher> cipher_;
  bool ready_ = false;
  std::string buffer_;
  std::size_t buffer_sent_ = 0;
  std::size_t message_at_ = 0;  // of the message, this much has been read
};

}  // namespace mailbridge::rspamd
