// The table of lda2lmtp's options: the command line, the keys of the configuration file, their validators, --help, and the list
// in lda2lmtp(8) all come from it.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <asio/ip/address.hpp>

#include "agent/addressing.hpp"
#include "agent/agent.hpp"
#include "agent/scan.hpp"
#include "base/result.hpp"
#include "net/tls_settings.hpp"
#include "options/option_table.hpp"

namespace mailbridge::agent {

// The text that argv asks for instead of a delivery: --help, --version.
struct Text {
  std::string text;
};

struct Settings {
  bool check = false;         // only check, deliver nothing
  std::string mark_key_file;  // empty: none
  Request request;
  std::optional<asio::ip::address> source;  // our own address of TCP connections to the servers
  bool starttls = false;
  net::TlsSettings tls_files;
  std::string tls_name;  // in the servers' certificates; empty: the server's host
  std::optional<ScanSettings> scan;
  std::string scan_recipient;  // the recipient that rspamd is told, so that it uses his settings
};

// The fault is one line.
Result<std::variant<Settings, Text>> read_settings(const std::vector<std::string>& argv, const Environment& environment);

std::string describe_options(options::Description description);

}  // namespace mailbridge::agent
