// What a TLS client reads from files, as paths of PEM files.
#pragma once

#include <string>

namespace mailbridge::net {

struct TlsSettings {
  std::string ca_file = {};           // empty: the system's authorities
  std::string certificate_file = {};  // our own with its chain; empty: none
  std::string key_file = {};          // of that certificate
};

}  // namespace mailbridge::net
