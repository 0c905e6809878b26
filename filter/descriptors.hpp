// Shares out the descriptors of the process (RLIMIT_NOFILE), so that nothing else takes those that a scan needs.
#pragma once

#include <cstddef>

namespace mailbridge::filter {

// For a scan: a connection to rspamd, and the file of a message that found no memory.
inline constexpr std::size_t descriptors_of_a_scan = 2;
// For the process itself: the event loop, signals, the log, a file of the settings while it is read, and files that the system's
// libraries open for a moment.
inline constexpr std::size_t descriptors_of_ours = 12;
// For each name while it is looked up: files of /etc, and sockets to name servers.
inline constexpr std::size_t descriptors_of_a_name = 4;

struct DescriptorNeeds {
  std::size_t open = 0;           // open at the start: standard input and so on
  std::size_t rspamd_probes = 0;  // servers that can be asked with /ping at once
  std::size_t connections = 0;    // to Dovecot
  std::size_t names = 0;          // servers that are given by name
};

struct DescriptorShares {
  std::size_t scans;  // at once, at least one
  std::size_t files;  // spool files of messages, at least one
};

// Gives at most `max_scans` scans. Spool files get the descriptors that are left.
DescriptorShares share_descriptors(std::size_t limit, const DescriptorNeeds& needs, std::size_t max_scans);

}  // namespace mailbridge::filter
