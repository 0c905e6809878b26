#include "tests/support/sealed_peer.hpp"

#include <algorithm>

namespace mailbridge::testing {

using namespace rspamd;

namespace {

std::shared_ptr<const httpcrypt::Secret> secret() {
  static const auto shared = std::make_shared<const httpcrypt::Secret>([] {
    httpcrypt::Key ours;
    ours.fill(7);
    return httpcrypt::agree(httpcrypt::parse_key("un4jzyxw8g3ue9okbz89q8a34azud8jk6n6j5tonzbw78z79tcpy").value(), ours).value();
  }());
  return shared;
}

httpcrypt::Nonce nonce_of(unsigned char byte) {
  httpcrypt::Nonce nonce;
  nonce.fill(byte);
  return nonce;
}

}  // namespace

Sealing sealing() { return {secret(), nonce_of(1)}; }

std::string seal(std::string_view plain) {
  const httpcrypt::Nonce nonce = nonce_of(2);
  std::string encrypted(plain);
  httpcrypt::Cipher(secret()->shared, nonce).apply(encrypted, encrypted.data());
  httpcrypt::Authenticator authenticator(secret()->shared, nonce);
  authenticator.update(encrypted);
  const httpcrypt::Mac mac = authenticator.finish();
  return std::string(nonce.begin(), nonce.end()).append(mac.begin(), mac.end()).append(encrypted);
}

std::string sealed_reply(std::string_view inner) {
  const std::string body = seal(inner);
  return "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

std::string opened_request(std::string_view bytes) {
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos || bytes.size() < end + 4 + httpcrypt::overhead) return {};
  const std::string head(bytes.substr(0, end + 2));
  bytes.remove_prefix(end + 4);
  if (!head.starts_with("POST /post HTTP/1.1\r\n") || head.find("\r\nKey: " + secret()->header + "\r\n") == std::string::npos ||
      head.find("\r\nContent-Length: " + std::to_string(bytes.size()) + "\r\n") == std::string::npos) {
    return {};
  }
  httpcrypt::Nonce nonce;
  httpcrypt::Mac mac;
  std::copy_n(bytes.begin(), nonce.size(), nonce.begin());
  std::copy_n(bytes.begin() + nonce.size(), mac.size(), mac.begin());
  std::string encrypted(bytes.substr(httpcrypt::overhead));
  httpcrypt::Authenticator authenticator(secret()->shared, nonce);
  authenticator.update(encrypted);
  if (!httpcrypt::equal(mac, authenticator.finish())) return {};
  httpcrypt::Cipher(secret()->shared, nonce).apply(encrypted, encrypted.data());
  return encrypted;
}

}  // namespace mailbridge::testing
