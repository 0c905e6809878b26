#include "rspamd/incoming.hpp"

#include <algorithm>
#include <utility>

namespace mailbridge::rspamd {

Incoming::Incoming(std::size_t max_body, std::shared_ptr<const httpcrypt::Secret> secret,
                   const std::optional<BodyBounds>& rewritten_bounds)
    // A sealed body is taken as it comes, and a rewritten mail in it may be of any size.
    : secret_(std::move(secret)), outer_(secret_ ? std::string::npos : max_body, secret_ ? std::nullopt : rewritten_bounds) {
  if (secret_) opening_ = std::make_unique<Opening>(Opening{HttpReplyReader(max_body, rewritten_bounds), {}, {}, {}});
}

void Incoming::receive(std::string_view bytes) {
  outer_.receive(bytes);
  look();
}

void Incoming::close() {
  outer_.close();
  look();
}

const HttpReply& Incoming::reply() const { return verified_ ? opening_->inner.reply() : outer_.reply(); }

void Incoming::look() {
  if (complete_ || fault_) return;
  fault_ = outer_.fault();
  if (fault_) return;
  if (!opening_) {
    complete_ = outer_.complete();
    return;
  }
  std::string body = outer_.take_body();
  if (is_sealed()) {
    open(std::move(body));
    if (outer_.complete()) verify();
  } else {
    complete_ = outer_.complete();
  }
}

void Incoming::open(std::string bytes) {
  const std::size_t missing = std::min(httpcrypt::overhead - opening_->start.size(), bytes.size());
  opening_->start.append(bytes, 0, missing);
  if (opening_->start.size() < httpcrypt::overhead) return;
  if (!opening_->cipher) {
    httpcrypt::Nonce nonce;
    std::copy_n(opening_->start.begin(), nonce.size(), nonce.begin());
    opening_->cipher.emplace(secret_->shared, nonce);
    opening_->authenticator.emplace(secret_->shared, nonce);
  }
  bytes.erase(0, missing);
  opening_->authenticator->update(bytes);
  opening_->cipher->apply(bytes, bytes.data());
  opening_->inner.receive(bytes);
}

void Incoming::verify() {
  if (!opening_->authenticator) {
    fault_ = Fault{Errc::malformed, "the reply is not encrypted"};
    return;
  }
  httpcrypt::Mac mac;
  std::copy_n(opening_->start.begin() + std::tuple_size_v<httpcrypt::Nonce>, mac.size(), mac.begin());
  if (!httpcrypt::equal(mac, opening_->authenticator->finish())) {
    fault_ = Fault{Errc::malformed, "the reply is not encrypted for us, or was changed on its way"};
    return;
  }
  verified_ = true;
  opening_->inner.close();
  fault_ = opening_->inner.fault();
  complete_ = opening_->inner.complete();
  if (!complete_ && !fault_) fault_ = Fault{Errc::malformed, "the encrypted reply ends too early"};
}

}  // namespace mailbridge::rspamd
