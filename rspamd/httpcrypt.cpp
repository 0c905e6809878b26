#include "rspamd/httpcrypt.hpp"

#include <algorithm>

#include <sodium.h>

namespace mailbridge::rspamd::httpcrypt {
namespace {

constexpr std::string_view letters = "ybndrfg8ejkmcpqxot1uwisza345h769";
constexpr std::size_t block_size = 64;
constexpr std::size_t key_id_size = 5;  // RSPAMD_KEYPAIR_SHORT_ID_LEN

const unsigned char* unsigned_bytes(std::string_view bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

template <class Array>
std::string_view text_of(const Array& bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes.data()), size};
}

}  // namespace

std::string base32(std::string_view bytes) {
  std::string text;
  unsigned bits = 0;
  unsigned count = 0;
  for (const char c : bytes) {
    bits |= static_cast<unsigned>(static_cast<unsigned char>(c)) << count;
    for (count += 8; count >= 5; count -= 5, bits >>= 5) text += letters[bits & 31];
  }
  if (count > 0) text += letters[bits];
  return text;
}

Result<Key> parse_key(std::string_view text) {
  Key key{};
  std::size_t size = 0;
  unsigned bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    const std::size_t value = letters.find(c);
    if (value == std::string_view::npos)
      return fail(Errc::malformed, "a key of rspamd is written in the letters " + std::string(letters));
    bits |= static_cast<unsigned>(value) << count;
    count += 5;
    if (count < 8) continue;
    if (size == key.size()) return fail(Errc::malformed, "a public key of rspamd has 52 letters, not more");
    key[size++] = static_cast<unsigned char>(bits);
    bits >>= 8;
    count -= 8;
  }
  // 52 letters hold four bits more than the key.
  if (size < key.size()) return fail(Errc::malformed, "a public key of rspamd has 52 letters, not less");
  if (count > 4 || bits != 0) return fail(Errc::malformed, "a public key of rspamd has 52 letters, and ends in 'y' or 'b'");
  if (auto any = agree(key, Key{1}); !any) return tl::unexpected(std::move(any.error()));
  return key;
}

Result<Secret> agree(const Key& servers, const Key& ours) {
  // Until then libsodium works without the processor's vector instructions.
  if (sodium_init() < 0) return fail(Errc::unsupported, "libsodium cannot be used on this machine");
  Secret secret;
  if (crypto_box_curve25519xchacha20poly1305_beforenm(secret.shared.data(), servers.data(), ours.data()) != 0) {
    return fail(Errc::malformed, "this public key protects nothing");
  }
  std::array<unsigned char, crypto_generichash_BYTES_MAX> id;
  crypto_generichash(id.data(), id.size(), servers.data(), servers.size(), nullptr, 0);
  Key our_public;
  crypto_scalarmult_base(our_public.data(), ours.data());
  secret.header = base32(text_of(id, key_id_size)) + "=" + base32(text_of(our_public, our_public.size()));
  return secret;
}

void Cipher::apply(std::string_view in, char* out) {
  const auto from_block = [&](std::size_t n) {
    for (const char c : in.substr(0, n)) *out++ = static_cast<char>(static_cast<unsigned char>(c) ^ block_[used_++]);
    in.remove_prefix(n);
  };
  from_block(std::min(in.size(), block_size - used_));
  const std::size_t whole = in.size() / block_size * block_size;
  crypto_stream_xchacha20_xor_ic(reinterpret_cast<unsigned char*>(out), unsigned_bytes(in), whole, nonce_.data(), next_block_,
                                 shared_.data());
  next_block_ += whole / block_size;
  out += whole;
  in.remove_prefix(whole);
  if (in.empty()) return;
  block_.fill(0);
  crypto_stream_xchacha20_xor_ic(block_.data(), block_.data(), block_size, nonce_.data(), next_block_++, shared_.data());
  used_ = 0;
  from_block(in.size());
}

Authenticator::Authenticator(const Key& shared, const Nonce& nonce) {
  Key once;
  crypto_stream_xchacha20(once.data(), once.size(), nonce.data(), shared.data());
  crypto_onetimeauth_poly1305_init(&state_, once.data());
  sodium_memzero(once.data(), once.size());
}

void Authenticator::update(std::string_view encrypted) {
  crypto_onetimeauth_poly1305_update(&state_, unsigned_bytes(encrypted), encrypted.size());
}

Mac Authenticator::finish() {
  Mac mac;
  crypto_onetimeauth_poly1305_final(&state_, mac.data());
  return mac;
}

bool equal(const Mac& a, const Mac& b) { return sodium_memcmp(a.data(), b.data(), a.size()) == 0; }

}  // namespace mailbridge::rspamd::httpcrypt
