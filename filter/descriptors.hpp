// How the descriptors of the process are shared out, so that nothing takes those that a scan needs (RLIMIT_NOFILE).
#pragma once

#include <cstddef>

namespace mailbridge::filter {

// A connection to rspamd, and the file of a message that found no memory.
inline constexpr std::size_t descriptors_of_a_scan = 2;
// The event loop, signals, the log, a file of the settings while it is read, and what the system's libraries open for a moment.
inline constexpr std::size_t descriptors_of_ours = 12;
// While a name is looked up: files of /etc, and sockets to name servers.
inline constexpr std::size_t descriptors_of_a_name = 4;

struct DescriptorNeeds {
  std::size_t open = 0;           // already: standard input and so on
  std::size_t rspamd_probes = 0;  // servers that can be asked with /ping at once
  std::size_t connections = 0;    // to Dovecot
  std::size_t names = 0;          // of any server
};

struct DescriptorShares {
  std::size_t scans;  // at once, at least one
  std::size_t files;  // of messages, at least one
};

// At most `max_scans` scans. Files get what is left.
DescriptorShares share_descriptors(std::size_t limit, const DescriptorNeeds& needs, std::size_t max_scans);

}  // namespace mailbridge::filter
