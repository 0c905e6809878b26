// filter-mailbridge --check: for people, before smtpd relies on it.
#pragma once

#include "filter/settings.hpp"

namespace mailbridge::filter {

// Looks at the key file. Asks each server of rspamd to scan the test spam that every rspamd refuses (GTUBE), and each of
// Dovecot's about a recipient, one after the other, and prints one line for each. False when a server did not answer, or rspamd
// would have let that spam pass.
bool check_servers(const Settings& settings);

}  // namespace mailbridge::filter
