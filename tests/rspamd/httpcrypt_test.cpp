// What is expected was computed in Python from RFC 7748, RFC 8439 and draft-irtf-cfrg-xchacha, for a key pair made by
// `rspamadm keypair`; that program printed the key's id as well.
#include "rspamd/httpcrypt.hpp"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

namespace mailbridge::rspamd::httpcrypt {
namespace {

const std::string servers_key = "un4jzyxw8g3ue9okbz89q8a34azud8jk6n6j5tonzbw78z79tcpy";
const std::string servers_secret = "ybh5rshqe3nxq3fqgqmud69ib7mkrbei9qhm9puirmxpzrsa8d3y";

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
    text += two;
  }
  return text;
}

template <class Array>
std::string bytes_of(const Array& array) {
  return {array.begin(), array.end()};
}

template <std::size_t size>
std::array<unsigned char, size> counting(unsigned char from) {
  std::array<unsigned char, size> bytes;
  for (unsigned char& byte : bytes) byte = from++;
  return bytes;
}

const Key our_secret = counting<32>(1);
const Nonce nonce = counting<24>(100);

Key shared_key() { return agree(parse_key(servers_key).value(), our_secret).value().shared; }

// nonce | MAC | encrypted, made in pieces of at most `most` bytes.
std::string sealed(std::string_view plain, std::size_t most = std::string::npos) {
  Cipher cipher(shared_key(), nonce);
  Authenticator authenticator(shared_key(), nonce);
  std::string encrypted;
  for (; !plain.empty(); plain.remove_prefix(std::min(most, plain.size()))) {
    const std::string_view piece = plain.substr(0, most);
    const std::size_t at = encrypted.size();
    encrypted.resize(at + piece.size());
    cipher.apply(piece, encrypted.data() + at);
    authenticator.update(std::string_view(encrypted).substr(at));
  }
  return bytes_of(nonce) + bytes_of(authenticator.finish()) + encrypted;
}

TEST(HttpCrypt, Base32) {
  EXPECT_EQ(base32(""), "");
  EXPECT_EQ(base32(std::string(1, '\0')), "yy");
  EXPECT_EQ(base32("\xff"), "98");
  EXPECT_EQ(base32(std::string(5, '\xff')), "99999999");
  EXPECT_EQ(base32(bytes_of(parse_key(servers_key).value())), servers_key);
}

TEST(HttpCrypt, Keys) {
  EXPECT_TRUE(parse_key(servers_key));
  EXPECT_TRUE(parse_key(servers_key.substr(0, 51) + "b"));
  struct Row {
    std::string what;
    std::string text;
  };
  const Row rows[] = {
      {"empty", ""},
      {"one short", servers_key.substr(1)},
      {"one long", servers_key + "y"},
      {"very long", servers_key + servers_key},
      {"no letter of rspamd's", "l" + servers_key.substr(1)},
      {"upper case", "U" + servers_key.substr(1)},
      {"a blank", servers_key.substr(1) + " "},
      {"one that protects nothing", std::string(52, 'y')},
      {"more bits than a key has", servers_key.substr(0, 51) + "n"},
  };
  for (const Row& row : rows) EXPECT_FALSE(parse_key(row.text)) << row.what;
}

TEST(HttpCrypt, BothSidesAgree) {
  const auto ours = agree(parse_key(servers_key).value(), our_secret);
  ASSERT_TRUE(ours);
  EXPECT_EQ(ours->header, "kz78sqck=8ae3861ny3rth5skh6gybwupwijqdff4kdk8isxb9gofmhsphy9y");
  EXPECT_EQ(hex(bytes_of(ours->shared)), "b8defedafd585e34c46b54f38dada8d454b40bc12522e05af4724bf38539ad35");
  const std::string our_public = ours->header.substr(ours->header.find('=') + 1);
  const auto theirs = agree(parse_key(our_public).value(), parse_key(servers_secret).value());
  ASSERT_TRUE(theirs);
  EXPECT_EQ(theirs->shared, ours->shared);
}

TEST(HttpCrypt, APublicKeyOfSmallOrderIsRefused) {
  EXPECT_FALSE(agree(Key{}, our_secret));
  EXPECT_FALSE(agree(Key{1}, our_secret));
}

TEST(HttpCrypt, KnownAnswers) {
  EXPECT_EQ(
      hex(sealed("GET /ping HTTP/1.1\r\n\r\n")),
      "6465666768696a6b6c6d6e6f707172737475767778797a7bb115164e8d17369ec885128fa767a76b56be275a871da703668c2e9c8aaf40acf396fc1a"
      "e38f");
  std::string mail;
  for (int i = 0; i < 10; ++i) mail += "line " + std::to_string(i) + " of a message\r\n";
  const std::string bytes = hex(sealed(mail));
  ASSERT_EQ(bytes.size(), 2 * (overhead + mail.size()));
  EXPECT_EQ(bytes.substr(48, 32), "d11ab345f9070edbaee051285f3f8b77");
  EXPECT_EQ(bytes.substr(80, 64), "7d921d1f885dee02678c07e8b39a1ceebcc0941de4e9aff59d7bdc720d4e88c8");
  EXPECT_TRUE(bytes.ends_with("3ef597bec0b90cee18cc95d24225754e"));

  struct Row {
    std::size_t size;
    std::string mac;
  };
  const Row rows[] = {
      {0, "19a35ae6b1051a4dc7dd546ce999f0ac"},   {1, "4086bca0e0178663daa07643ac581c8e"},
      {63, "ec30331ee9e3d0537a6e58b2085fd425"},  {64, "8625992d22c6d2ad28e4b570e1f066aa"},
      {65, "b37bc41afa23cc831f369223b19078c5"},  {128, "a41927c2e7ebbdd239ea38770a8b8687"},
      {200, "63757cc68792eaa016a9fb22cede7dfc"},
  };
  for (const Row& row : rows) {
    std::string plain;
    for (std::size_t i = 0; i < row.size; ++i) plain += static_cast<char>(i % 251);
    EXPECT_EQ(hex(sealed(plain)).substr(48, 32), row.mac) << row.size;
  }
}

TEST(HttpCrypt, PiecesMakeNoDifference) {
  std::string plain(100'000, 'x');
  std::mt19937 random(1);
  for (char& c : plain) c = static_cast<char>(random());
  const std::string whole = sealed(plain);
  for (const std::size_t most : std::initializer_list<std::size_t>{1, 3, 63, 64, 65, 127, 4099})
    EXPECT_EQ(sealed(plain, most), whole) << most;
}

TEST(HttpCrypt, DecryptsInPlace) {
  std::string bytes = "what was encrypted";
  Cipher(shared_key(), nonce).apply(bytes, bytes.data());
  EXPECT_NE(bytes, "what was encrypted");
  Cipher(shared_key(), nonce).apply(bytes, bytes.data());
  EXPECT_EQ(bytes, "what was encrypted");
}

TEST(HttpCrypt, MacsAreComparedWhole) {
  const Mac mac = counting<16>(1);
  EXPECT_TRUE(equal(mac, counting<16>(1)));
  for (std::size_t i = 0; i < mac.size(); ++i) {
    Mac other = mac;
    other[i] ^= 0x80;
    EXPECT_FALSE(equal(mac, other));
  }
}

}  // namespace
}  // namespace mailbridge::rspamd::httpcrypt
