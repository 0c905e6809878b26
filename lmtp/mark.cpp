#include "lmtp/mark.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <bitset>
#include <span>
#include <utility>

#include <sodium.h>

#include "base/text.hpp"
#include "mail/headers.hpp"

namespace mailbridge::lmtp {
namespace {

constexpr std::size_t min_key = 32;
constexpr std::size_t max_key = 1024;
constexpr std::size_t max_keys = 8;
constexpr std::size_t fewest_characters = 8;  // of a key: random hex digits have more, but for once in many millions
constexpr std::string_view before_id = "id=";
constexpr std::string_view before_digests = ";to=";
constexpr std::string_view before_seal = ";seal=";
constexpr std::size_t digest_bytes = 16;
constexpr std::size_t digest_size = 22;  // in base64 without padding
constexpr std::size_t fewest_digests = 4;
// Of a mark with all the digests there can be.
constexpr std::size_t max_mark = (digest_size + 5) * max_marked + 256;

using Mac = std::array<unsigned char, crypto_auth_hmacsha256_BYTES>;

Mac mac_of(std::string_view key, std::string_view text) {
  crypto_auth_hmacsha256_state state;
  Mac mac{};
  crypto_auth_hmacsha256_init(&state, reinterpret_cast<const unsigned char*>(key.data()), key.size());
  crypto_auth_hmacsha256_update(&state, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  crypto_auth_hmacsha256_final(&state, mac.data());
  return mac;
}

std::string base64(std::span<const unsigned char> bytes) {
  std::string text(sodium_base64_encoded_len(bytes.size(), sodium_base64_VARIANT_ORIGINAL_NO_PADDING), '\0');
  sodium_bin2base64(text.data(), text.size(), bytes.data(), bytes.size(), sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
  text.pop_back();  // the NUL
  return text;
}

std::string beginning_of(const Mac& mac) { return base64(std::span(mac).first(digest_bytes)); }

// The uses of a key begin with different words, so that none can stand for another.
std::string seal_of(std::string_view key, std::string_view text) { return base64(mac_of(key, text)); }

std::string digest_of(std::string_view key, std::string_view id, std::string_view mailbox) {
  const std::size_t domain = mailbox.rfind('@') == std::string_view::npos ? mailbox.size() : mailbox.rfind('@');
  std::string text("mailbox ");
  text.append(id).append(" ").append(mailbox.substr(0, domain)).append(lower(mailbox.substr(domain)));
  return beginning_of(mac_of(key, text));
}

// Of nobody's mailbox.
std::string filling(std::string_view key, std::string_view id, std::size_t number) {
  return beginning_of(mac_of(key, "nobody " + std::string(id) + " " + std::to_string(number)));
}

std::string without_blanks(std::string_view text) {
  std::string out(text);
  std::erase_if(out, [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; });
  return out;
}

// Received: from HELO (…)\n\tby HOST (OpenSMTPD) with ESMTP id 2ac23942[ (TLS…)][\n\tfor <…>];\n\tDATE
// The client has chosen the first line, and no line end in it.
bool is_of_message(const mail::Field& received, std::string_view msgid) {
  if (msgid.empty()) return false;
  const std::size_t by = received.raw.find("\n\tby ");
  if (by == std::string_view::npos) return false;
  const std::string_view line = received.raw.substr(by + 1, received.raw.find('\n', by + 1) - by);
  const std::size_t id = line.find(" id ");
  if (id == std::string_view::npos) return false;
  const std::string_view rest = line.substr(id + 4);
  return rest.starts_with(msgid) &&
         (rest.size() == msgid.size() || std::string_view(" ;\r\n").find(rest[msgid.size()]) != std::string_view::npos);
}

auto topmost_received(const mail::HeaderSection& section) {
  return std::find_if(section.fields.begin(), section.fields.end(),
                      [](const mail::Field& field) { return iequals(field.name, "Received"); });
}

// Of a mark that is sealed, hence written by us.
std::vector<std::string> digests_in(std::string_view list) {
  std::vector<std::string> digests;
  for (; list.size() >= digest_size; list.remove_prefix(std::min(list.size(), digest_size + 1)))
    digests.emplace_back(list.substr(0, digest_size));
  return digests;
}

bool same(std::string_view a, std::string_view b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

Result<MarkKeys> MarkKeys::parse(std::string_view text) {
  MarkKeys parsed;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t lf = text.find('\n');
    const std::string_view key = trim(text.substr(0, lf));
    text.remove_prefix(lf == std::string_view::npos ? text.size() : lf + 1);
    if (key.empty() || key.starts_with('#')) continue;
    const std::string where = "line " + std::to_string(number) + ": ";
    if (key.size() < min_key) return fail(Errc::malformed, where + "a key of at least 32 bytes is wanted");
    if (key.size() > max_key) return fail(Errc::too_large, where + "a key of at most 1024 bytes is wanted");
    if (parsed.keys_.size() == max_keys) return fail(Errc::too_large, where + "more than 8 keys");
    parsed.keys_.emplace_back(key);
  }
  if (parsed.keys_.empty()) return fail(Errc::malformed, "a key of at least 32 bytes is wanted");
  return parsed;
}

std::string MarkKeys::fingerprint(std::string_view key) {
  const Mac mac = mac_of(key, "fingerprint");
  std::array<char, 17> hex{};
  sodium_bin2hex(hex.data(), hex.size(), mac.data(), hex.size() / 2);
  return hex.data();
}

std::string MarkKeys::weakness(std::string_view key) {
  std::bitset<256> seen;
  for (const char c : key) seen.set(static_cast<unsigned char>(c));
  if (seen.count() < fewest_characters) return "is made of " + std::to_string(seen.count()) + " different characters";
  for (std::size_t period = 1; period <= key.size() / 2; ++period) {
    if (key.substr(period) == key.substr(0, key.size() - period))
      return "is the same " + std::to_string(period) + " characters again and again";
  }
  return {};
}

bool can_be_marked(std::string_view head, std::string_view msgid) {
  const mail::HeaderSection section = mail::parse_headers(head);
  const auto received = topmost_received(section);
  return received != section.fields.end() && is_of_message(*received, msgid);
}

std::string seal(const MarkKeys& keys, std::string_view msgid, const std::vector<std::string>& mailboxes) {
  const std::string& key = keys.keys().front();
  std::string text(before_id);
  text += msgid;
  std::string field = std::string(mark_name) + ": " + text + ";\r\n\tto=";
  text += before_digests;
  const std::size_t digests = std::max(std::bit_ceil(mailboxes.size()), fewest_digests);
  for (std::size_t i = 0; i < digests; ++i) {
    const std::string digest = i < mailboxes.size() ? digest_of(key, msgid, mailboxes[i]) : filling(key, msgid, i);
    text.append(i == 0 ? "" : ",").append(digest);
    field.append(i == 0 ? "" : ",\r\n\t").append(digest);
  }
  return field + ";\r\n\tseal=" + seal_of(key, text) + "\r\n";
}

std::optional<MarkPlace> find_mark(std::string_view mail) {
  const mail::HeaderSection section = mail::parse_headers(mail);
  const auto received = topmost_received(section);
  const auto field =
      std::find_if(section.fields.begin(), received, [](const mail::Field& one) { return iequals(one.name, mark_name); });
  if (field == received) return std::nullopt;
  return MarkPlace{static_cast<std::size_t>(field->raw.data() - mail.data()), field->raw.size()};
}

std::optional<Mark> Mark::open(std::string_view mail, const MarkPlace& place, const MarkKeys& keys) {
  const mail::HeaderSection section = mail::parse_headers(mail);
  const auto received = topmost_received(section);
  if (received == section.fields.end() || place.size > max_mark) return std::nullopt;
  const std::string_view field = mail.substr(place.at, place.size);
  const std::string value = without_blanks(field.substr(field.find(':') + 1));
  const std::size_t sealed = value.rfind(before_seal);
  if (sealed == std::string::npos) return std::nullopt;
  const std::string_view text = std::string_view(value).substr(0, sealed);
  const std::string_view seal = std::string_view(value).substr(sealed + before_seal.size());
  const auto key = std::find_if(keys.keys().begin(), keys.keys().end(),
                                [&](const std::string& one) { return same(seal, seal_of(one, text)); });
  const std::size_t list = text.find(before_digests);
  if (key == keys.keys().end() || !text.starts_with(before_id) || list == std::string_view::npos) return std::nullopt;
  const std::string_view id = text.substr(before_id.size(), list - before_id.size());
  if (!is_of_message(*received, id)) return std::nullopt;
  return Mark(*key, std::string(id), digests_in(text.substr(list + before_digests.size())));
}

bool Mark::names(std::string_view mailbox) const {
  return std::find(digests_.begin(), digests_.end(), digest_of(key_, id_, mailbox)) != digests_.end();
}

}  // namespace mailbridge::lmtp
