#include "rspamd/scan_request.hpp"

#include <algorithm>
#include <string_view>
#include <variant>

#include "base/text.hpp"

namespace mailbridge::rspamd {
namespace {

// RFC 5321 4.5.3.1.3 allows a path 256 bytes and a name 255; a SASL user name may be longer (RFC 4616: up to 1,024).
constexpr std::size_t max_value = 1024;

void add(std::string& head, std::string_view name, std::string_view value) {
  const std::string line = printable(value, max_value);
  if (!line.empty()) head.append(name).append(": ").append(line).append("\r\n");
}

// What rspamd reads as this one address. It splits the header at commas, and an address that it cannot parse, one without a
// domain for instance, it counts as a broken header of the mail: 8 points. Envelopes hold no such address but in odd cases.
bool is_one_address(std::string_view address) {
  return address.find('@') != std::string_view::npos && address.size() <= max_value &&
         std::all_of(address.begin(), address.end(),
                     [](char c) { return c > 0x20 && c < 0x7f && c != ',' && c != '"' && c != '<' && c != '>'; });
}

}  // namespace

ScanRequest scan_request(const mail::Envelope& envelope, const ScanSettings& settings, std::size_t message_size) {
  ScanRequest request;
  std::string& head = request.head;
  head = "POST /checkv2 HTTP/1.1\r\n";
  add(head, "Host", std::holds_alternative<UnixEndpoint>(settings.endpoint) ? "localhost" : to_string(settings.endpoint));
  add(head, "Connection", "close");
  add(head, "Content-Length", std::to_string(message_size));
  // Not "rspamc": to that name rspamd answers without greylisting, rate limits and training. No version: a recording stays
  // comparable.
  add(head, "User-Agent", "filter-mailbridge");
  // Folds are LF then, whatever the mail's line ends, and a rewritten body follows the JSON instead of being lost without a word.
  add(head, "Flags", "milter,body_block");
  add(head, "Settings-ID", settings.settings_id);
  add(head, "Log-Tag", settings.log_tag);
  add(head, "Queue-Id", envelope.queue_id);
  add(head, "MTA-Name", envelope.mta_name);
  // Without IP rspamd takes it from the topmost Received, which is smtpd's own.
  add(head, "IP", envelope.ip);
  add(head, "Hostname", envelope.hostname);
  add(head, "Helo", envelope.helo);
  add(head, "User", envelope.user);
  add(head, "TLS-Cipher", envelope.tls_cipher);
  add(head, "TLS-Version", envelope.tls_version);
  // The null sender has to be told: without From, rspamd sees no sender at all, which is something else.
  if (envelope.sender.empty()) add(head, "From", "<>");
  else if (is_one_address(envelope.sender)) add(head, "From", "<" + envelope.sender + ">");
  constexpr std::string_view end = "\r\n";
  for (const std::string& recipient : envelope.recipients) {
    std::string line;
    if (is_one_address(recipient)) add(line, "Rcpt", "<" + recipient + ">");
    if (line.empty() || head.size() + line.size() + end.size() > max_request_head) ++request.recipients_left_out;
    else head += line;
  }
  head += end;
  return request;
}

}  // namespace mailbridge::rspamd
