// All that filter-mailbridge is told: by its options (filter/options.hpp), and what its files hold. What is not given has the
// default of its row there, so settings are made by read_settings() alone.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/conversation.hpp"
#include "base/endpoint.hpp"
#include "lmtp/mark.hpp"
#include "net/log.hpp"
#include "net/tls_settings.hpp"
#include "rspamd/upstreams.hpp"
#include "session/engine.hpp"
#include "wires/mailboxes.hpp"

namespace mailbridge::net {
class TlsContext;
}

namespace mailbridge::filter {

struct GivenOption {
  std::string name;  // "--scan-timeout"
  std::string value;
};

// Where Dovecot is asked about mailboxes, and mail is delivered.
struct LmtpSettings {
  std::vector<Endpoint> servers;  // in the order in which they are tried; may be empty
  std::size_t connections = 0;    // to them, and as many to quota-status
  std::string source;             // an address of ours for TCP connections; empty: any
  bool starttls = false;
  net::TlsSettings tls_files;
  std::string tls_name;                        // of all servers; empty: their host
  std::shared_ptr<const net::TlsContext> tls;  // made of tls_files, when a server wants it
  bool wants_tls() const;
};

struct Settings {
  session::Settings engine;
  std::vector<rspamd::Upstream> upstreams;     // at least one
  Duration connect_timeout{};                  // for each server
  bool compress = false;                       // what is sent to rspamd
  net::TlsSettings tls_files;                  // for https:// servers
  std::string tls_name;                        // of all https:// servers; empty: their host
  std::shared_ptr<const net::TlsContext> tls;  // made of tls_files, when there are such servers
  LmtpSettings lmtp;
  std::string mark_key_file;             // empty: none
  lmtp::MarkKeys mark_keys;              // what it holds
  std::optional<Endpoint> quota_status;  // Dovecot's policy service; none: its LMTP servers are asked instead
  std::string record_directory;          // empty: nothing is recorded; read at start only
  net::LogTarget log_target{};
  Level log_level{};
  std::string check_recipient;     // whom --check asks about; empty: somebody who probably is not there
  std::vector<GivenOption> given;  // what these settings were made from, for a recording
};

// How the mail store is reached.
wires::Mailboxes::Ways mailbox_ways(const Settings& settings);

}  // namespace mailbridge::filter
