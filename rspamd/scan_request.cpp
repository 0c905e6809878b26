#include "rspamd/scan_request.hpp"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "base/text.hpp"

namespace mailbridge::rspamd {
namespace {

// RFC 5321 4.5.3.1.3 allows a path 256 bytes and a name 255; a SASL user name may be longer (RFC 4616: up to 1,024).
constexpr std::size_t max_value = 1024;
constexpr std::size_t usual_size = 600;

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

// Written here and by Outgoing; and those by which a request names its message otherwise, or says that it is not plain.
constexpr std::string_view reserved[] = {"Host",
                                         "Connection",
                                         "Content-Length",
                                         "Transfer-Encoding",
                                         "Content-Encoding",
                                         "Compression",
                                         "Dictionary",
                                         "Expect",
                                         "Key",
                                         "User-Agent",
                                         "Flags",
                                         "Settings-ID",
                                         "Log-Tag",
                                         "Queue-Id",
                                         "MTA-Name",
                                         "IP",
                                         "Hostname",
                                         "Helo",
                                         "User",
                                         "TLS-Cipher",
                                         "TLS-Version",
                                         "From",
                                         "Rcpt",
                                         "Deliver-To",
                                         "File",
                                         "Path",
                                         "Shm",
                                         "Shm-Offset",
                                         "Shm-Length"};

}  // namespace

Result<std::string> parse_request_header(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  if (colon == std::string_view::npos || !is_token(name)) return fail(Errc::malformed, "a header is written `Name: value`");
  if (std::any_of(std::begin(reserved), std::end(reserved), [&](std::string_view ours) { return iequals(name, ours); })) {
    return fail(Errc::malformed, "the header " + std::string(name) + " is not to be chosen");
  }
  std::string line;
  add(line, name, text.substr(colon + 1));
  if (line.empty()) return fail(Errc::malformed, "the header " + std::string(name) + " has no value");
  return line;
}

ScanRequest scan_request(const mail::Envelope& envelope, const ScanSettings& settings) {
  ScanRequest request;
  std::string& headers = request.headers;
  headers.reserve(usual_size);
  // Not "rspamc": to that name rspamd answers without greylisting, rate limits and training. No version: a recording stays
  // comparable.
  add(headers, "User-Agent", "filter-mailbridge");
  // Folds are LF then, whatever the mail's line ends, and a rewritten body follows the JSON instead of being lost without a word.
  add(headers, "Flags", "milter,body_block");
  headers += settings.more;
  add(headers, "Settings-ID", settings.settings_id);
  add(headers, "Log-Tag", settings.log_tag);
  add(headers, "Queue-Id", envelope.queue_id);
  add(headers, "MTA-Name", envelope.mta_name);
  // Without IP rspamd takes it from the topmost Received, which is smtpd's own.
  add(headers, "IP", envelope.ip);
  add(headers, "Hostname", envelope.hostname);
  add(headers, "Helo", envelope.helo);
  add(headers, "User", envelope.user);
  add(headers, "TLS-Cipher", envelope.tls_cipher);
  add(headers, "TLS-Version", envelope.tls_version);
  // The null sender has to be told: without From, rspamd sees no sender at all, which is something else.
  if (envelope.sender.empty()) add(headers, "From", "<>");
  else if (is_one_address(envelope.sender)) add(headers, "From", "<" + envelope.sender + ">");
  // Whose settings and statistics count. Otherwise a Delivered-To of the mail's own would decide, and with several recipients
  // there is no right answer.
  if (envelope.recipients.size() == 1 && is_one_address(envelope.recipients[0])) {
    add(headers, "Deliver-To", envelope.recipients[0]);
  }
  constexpr std::string_view end = "\r\n";
  for (const std::string& recipient : envelope.recipients) {
    std::string line;
    if (is_one_address(recipient)) add(line, "Rcpt", "<" + recipient + ">");
    if (line.empty() || headers.size() + line.size() + end.size() > max_headers) ++request.recipients_left_out;
    else headers += line;
  }
  headers += end;
  return request;
}

}  // namespace mailbridge::rspamd
