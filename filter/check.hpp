// filter-mailbridge --check: shows people whether the servers work, before smtpd depends on the filter.
#pragma once

#include "filter/settings.hpp"

namespace mailbridge::filter {

// Checks the key file. Then has each rspamd server scan the test spam that every rspamd refuses (GTUBE), and asks each Dovecot
// server about a recipient, one after the other. Prints one line for each. False if the key file has a fault, if a server did not
// answer, or if rspamd would have let that spam pass.
bool check_servers(const Settings& settings);

}  // namespace mailbridge::filter
