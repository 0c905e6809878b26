#include "lmtp/mark.hpp"

#include <algorithm>
#include <array>

#include <sodium.h>

#include "base/text.hpp"
#include "mail/headers.hpp"

namespace mailbridge::lmtp {
namespace {

constexpr std::size_t min_key = 32;
constexpr std::size_t max_key = 4096;
constexpr std::string_view before_id = "id=";
constexpr std::string_view before_recipients = ";to=";
constexpr std::string_view before_seal = ";seal=";

std::string seal_of(const MarkKey& key, std::string_view text) {
  crypto_auth_hmacsha256_state state;
  std::array<unsigned char, crypto_auth_hmacsha256_BYTES> mac{};
  crypto_auth_hmacsha256_init(&state, reinterpret_cast<const unsigned char*>(key.bytes().data()), key.bytes().size());
  crypto_auth_hmacsha256_update(&state, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  crypto_auth_hmacsha256_final(&state, mac.data());
  std::array<char, sodium_base64_ENCODED_LEN(crypto_auth_hmacsha256_BYTES, sodium_base64_VARIANT_ORIGINAL)> encoded{};
  return sodium_bin2base64(encoded.data(), encoded.size(), mac.data(), mac.size(), sodium_base64_VARIANT_ORIGINAL);
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
std::vector<std::string> recipients_in(std::string_view list) {
  std::vector<std::string> recipients;
  while (list.starts_with('<')) {
    const std::size_t end = list.find('>');
    recipients.emplace_back(list.substr(1, end - 1));
    list.remove_prefix(std::min(list.size(), end + 2));
  }
  return recipients;
}

}  // namespace

Result<MarkKey> MarkKey::parse(std::string_view text) {
  const std::string_view bytes = trim(text);
  if (bytes.size() < min_key) return fail(Errc::malformed, "a key of at least 32 bytes is wanted");
  if (bytes.size() > max_key) return fail(Errc::too_large, "a key of at most 4096 bytes is wanted");
  return MarkKey(bytes);
}

bool can_be_marked(std::string_view head, std::string_view msgid) {
  const mail::HeaderSection section = mail::parse_headers(head);
  const auto received = topmost_received(section);
  return received != section.fields.end() && is_of_message(*received, msgid);
}

std::string seal(const MarkKey& key, std::string_view msgid, const std::vector<std::string>& recipients) {
  std::string text(before_id);
  text += msgid;
  std::string field = std::string(mark_name) + ": " + text + ";\r\n\tto=";
  text += before_recipients;
  for (const std::string& recipient : recipients) {
    const bool first = &recipient == &recipients.front();
    text.append(first ? "<" : ",<").append(recipient) += '>';
    field.append(first ? "<" : ",\r\n\t<").append(recipient) += '>';
  }
  return field + ";\r\n\tseal=" + seal_of(key, text) + "\r\n";
}

bool Mark::names(std::string_view recipient) const {
  return std::find(recipients.begin(), recipients.end(), recipient) != recipients.end();
}

std::optional<Mark> find_mark(std::string_view mail, const MarkKey& key) {
  const mail::HeaderSection section = mail::parse_headers(mail);
  const auto received = topmost_received(section);
  const auto field =
      std::find_if(section.fields.begin(), received, [](const mail::Field& one) { return iequals(one.name, mark_name); });
  if (field == received) return std::nullopt;
  Mark mark{static_cast<std::size_t>(field->raw.data() - mail.data()), field->raw.size(), {}};
  if (received == section.fields.end() || field->raw.size() > max_mark) return mark;
  const std::string value = without_blanks(mail::raw_value(*field));
  const std::size_t sealed = value.rfind(before_seal);
  if (sealed == std::string::npos) return mark;
  const std::string_view text = std::string_view(value).substr(0, sealed);
  const std::string_view given = std::string_view(value).substr(sealed + before_seal.size());
  const std::string wanted = seal_of(key, text);
  if (given.size() != wanted.size() || sodium_memcmp(given.data(), wanted.data(), wanted.size()) != 0) return mark;
  const std::size_t list = text.find(before_recipients);
  if (!text.starts_with(before_id) || list == std::string_view::npos) return mark;
  if (is_of_message(*received, text.substr(before_id.size(), list - before_id.size())))
    mark.recipients = recipients_in(text.substr(list + before_recipients.size()));
  return mark;
}

}  // namespace mailbridge::lmtp
