// rspamd's reply to one request as it arrives, in the clear or encrypted (HTTPCrypt).
//
// Encrypted, the outer reply is a 200 whose body is nonce | MAC | the inner reply, and the inner one counts. It is decrypted and
// read as it comes, so that no more of it is held than of a plain one, but nothing of it is shown before the MAC is right.
// Another outer status comes from a peer that has no key, or was not asked with one: it counts as it stands.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "rspamd/http_reply.hpp"
#include "rspamd/httpcrypt.hpp"

namespace mailbridge::rspamd {

class Incoming {
 public:
  // `secret`: what the request was encrypted with; null: it was not.
  Incoming(std::size_t max_body, std::shared_ptr<const httpcrypt::Secret> secret,
           const std::optional<BodyBounds>& rewritten_bounds = std::nullopt);

  void receive(std::string_view bytes);
  void close();  // no more will come: completes a body that lasts until then

  bool complete() const { return complete_; }
  const std::optional<Fault>& fault() const { return fault_; }
  const HttpReply& reply() const;  // as HttpReplyReader's
  Result<std::shared_ptr<mail::Message>> take_rewritten_body() {
    return opening_ ? opening_->inner.take_rewritten_body() : outer_.take_rewritten_body();
  }

 private:
  struct Opening {
    HttpReplyReader inner;
    std::string start;  // nonce and MAC
    std::optional<httpcrypt::Cipher> cipher;
    std::optional<httpcrypt::Authenticator> authenticator;
  };
  bool is_sealed() const { return opening_ && outer_.reply().status == 200; }
  void open(std::string bytes);
  void verify();
  void look();

  std::shared_ptr<const httpcrypt::Secret> secret_;
  HttpReplyReader outer_;
  std::unique_ptr<Opening> opening_;
  bool verified_ = false;
  bool complete_ = false;
  std::optional<Fault> fault_;
};

}  // namespace mailbridge::rspamd
