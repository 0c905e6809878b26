// HTTPCrypt, rspamd's own encryption of one HTTP request and its reply (rspamc --key; rspamd's src/libcryptobox).
//
//   key        HChaCha20 of X25519 of the server's public key and a secret key of ours
//   MAC key    the first 32 bytes of XChaCha20's block 0; the rest of that block is thrown away
//   body       nonce (24) | MAC (16) | the inner request or reply, head and body, under XChaCha20 from block 1 on
//   MAC        Poly1305 of the encrypted bytes alone
//
// libsodium's box and secretbox use the rest of block 0 as well, so they make other bytes: this is built from what they are made
// of. A nonce must never be used twice with one key.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <sodium/crypto_onetimeauth_poly1305.h>

#include "base/result.hpp"

namespace mailbridge::rspamd::httpcrypt {

using Key = std::array<unsigned char, 32>;
using Nonce = std::array<unsigned char, 24>;
using Mac = std::array<unsigned char, 16>;

inline constexpr std::size_t overhead = std::tuple_size_v<Nonce> + std::tuple_size_v<Mac>;

// rspamd's z-base-32: five bits a letter, from the low end on, without padding.
std::string base32(std::string_view bytes);

// A public key as `rspamadm keypair` prints it: 52 letters. One that agree() takes.
Result<Key> parse_key(std::string_view text);

// What both sides know.
struct Secret {
  Key shared;
  std::string header;  // the value of the request header Key: which of the server's keys is meant, and our public key
};

// `ours` is a secret key: 32 random bytes. Fails for a public key that would make the secret no secret.
Result<Secret> agree(const Key& servers, const Key& ours);

// Encrypts or decrypts, which is the same, a stream of bytes in any pieces.
class Cipher {
 public:
  Cipher(const Key& shared, const Nonce& nonce) : shared_(shared), nonce_(nonce) {}

  // As many bytes as `in` has are written to `out`, which may be where `in` lies.
  void apply(std::string_view in, char* out);

 private:
  Key shared_;
  Nonce nonce_;
  std::uint64_t next_block_ = 1;
  std::array<unsigned char, 64> block_{};
  std::size_t used_ = 64;  // of block_
};

// The MAC of a stream of encrypted bytes in any pieces.
class Authenticator {
 public:
  Authenticator(const Key& shared, const Nonce& nonce);

  void update(std::string_view encrypted);
  Mac finish();  // once

 private:
  crypto_onetimeauth_poly1305_state state_;
};

// In a time that does not depend on the bytes.
bool equal(const Mac& a, const Mac& b);

}  // namespace mailbridge::rspamd::httpcrypt
