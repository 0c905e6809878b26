#include "agent/received.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"
#include "mail/headers.hpp"

namespace mailbridge::agent {
namespace {

// The text between two marks; empty if one of them is missing.
std::string_view between(std::string_view text, std::string_view begin, std::string_view end) {
  const std::size_t at = text.find(begin);
  if (at == std::string_view::npos) return {};
  text.remove_prefix(at + begin.size());
  return text.substr(0, std::min(text.find(end), text.size()));
}

// Parses "from HELO (NAME [ADDRESS])". HELO is a name or an address literal (smtp_check_helo); smtpd writes the address.
void read_client(std::string_view line, mail::Envelope& envelope) {
  const std::size_t address = line.rfind(" [");
  const std::size_t name = line.find(" (");
  if (!line.starts_with("from ") || address == std::string_view::npos || name == std::string_view::npos || name > address) return;
  envelope.ip = between(line.substr(address), "[", "]");
  envelope.helo = line.substr(5, name - 5);
  envelope.local = envelope.ip == "local";
  if (envelope.local) envelope.ip = "127.0.0.1";
  else envelope.hostname = line.substr(name + 2, address - name - 2);
  if (envelope.hostname == "<unknown>") envelope.hostname.clear();
}

// Parses "by HOST (OpenSMTPD) with ESMTPSA id …".
void read_server(std::string_view line, mail::Envelope& envelope) {
  envelope.mta_name = between(line, "by ", " ");
  envelope.queue_id = between(line, " id ", " ");
  if (envelope.queue_id.ends_with(';')) envelope.queue_id.pop_back();
  const std::string_view tls = between(line, " (TLS", ")");
  if (!tls.empty()) {
    envelope.tls_version = "TLS" + std::string(tls.substr(0, tls.find(':')));
    envelope.tls_cipher = between(tls, ":", ":");
  }
  // smtpd writes the name only on a listener with `received-auth`, but rspamd needs one to know that the client authenticated.
  if (envelope.local || !between(line, " with ", " ").ends_with('A')) return;
  std::string_view user = between(line, " user=", " ");
  if (user.ends_with(';')) user.remove_suffix(1);
  envelope.user = user.empty() ? "authenticated" : user;
}

}  // namespace

mail::Envelope envelope_of(std::string_view header_section, std::string sender, std::string recipient) {
  mail::Envelope envelope;
  envelope.sender = std::move(sender);
  envelope.recipients = {std::move(recipient)};
  const mail::HeaderSection section = mail::parse_headers(header_section);
  const auto received = std::find_if(section.fields.begin(), section.fields.end(),
                                     [](const mail::Field& field) { return iequals(field.name, "Received"); });
  if (received == section.fields.end()) return envelope;
  const std::string_view value = mail::raw_value(*received);
  const std::size_t by = value.find("\n\tby ");
  if (by == std::string_view::npos) return envelope;
  const std::string_view server = trim(value.substr(by, value.find('\n', by + 1) - by));
  if (server.find(" (OpenSMTPD) with ") == std::string_view::npos) return envelope;
  read_client(trim(value.substr(0, by)), envelope);
  read_server(server, envelope);
  return envelope;
}

}  // namespace mailbridge::agent
