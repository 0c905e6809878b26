// All settings of filter-mailbridge: its options (filter/options.hpp), and the content of the files that they name. Only
// read_settings() makes them, because the defaults are in the table of options.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/conversation.hpp"
#include "base/endpoint.hpp"
#include "filter/descriptors.hpp"
#include "lmtp/mark.hpp"
#include "net/log.hpp"
#include "net/tls_settings.hpp"
#include "rspamd/upstreams.hpp"
#include "session/engine.hpp"
#include "wires/mailboxes.hpp"
#include "wires/rspamd.hpp"

namespace mailbridge::net {
class TlsContext;
}

namespace mailbridge::filter {

struct GivenOption {
  std::string name;  // "--scan-timeout"
  std::string value;
};

// Dovecot's LMTP servers, which are asked about mailboxes and get mail.
struct LmtpSettings {
  std::vector<Endpoint> servers;  // in the order in which they are tried; may be empty
  std::size_t connections = 0;    // at most, to all servers together; and as many to quota-status
  std::string source;             // our own address of TCP connections; empty: any
  bool starttls = false;
  net::TlsSettings tls_files;
  std::string tls_name;                        // in the certificates of all servers; empty: the server's host
  std::shared_ptr<const net::TlsContext> tls;  // made of tls_files; null if no server needs it
  bool wants_tls() const;
};

struct Settings {
  session::Settings engine;
  std::vector<rspamd::Upstream> upstreams;     // at least one
  Duration connect_timeout{};                  // for each server
  bool compress = false;                       // the mail that is sent to rspamd
  net::TlsSettings tls_files;                  // for https:// servers
  std::string tls_name;                        // in the certificates of all https:// servers; empty: the server's host
  std::shared_ptr<const net::TlsContext> tls;  // made of tls_files; null if there is no such server
  LmtpSettings lmtp;
  std::string mark_key_file;             // empty: none
  lmtp::MarkKeys mark_keys;              // the keys in that file
  std::optional<Endpoint> quota_status;  // Dovecot's policy service; none: its LMTP servers are asked instead
  std::string record_directory;          // empty: nothing is recorded; read at start only
  net::LogTarget log_target{};
  Level log_level{};
  std::string check_recipient;     // the recipient that --check asks about; empty: one that probably does not exist
  std::vector<GivenOption> given;  // the options these settings were made of, for a recording

  bool rspamd_wants_tls() const;  // a server is https://
};

// How rspamd and the mail store are reached.
wires::RspamdClient::Settings rspamd_settings(const Settings& settings);
wires::Mailboxes::Settings mailbox_settings(const Settings& settings);

// The descriptors that these settings need, when `open` are open already.
DescriptorNeeds descriptor_needs(const Settings& settings, std::size_t open);

}  // namespace mailbridge::filter
