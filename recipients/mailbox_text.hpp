// Writes and parses the commands to the mail store and its answers, in the notation of a transcript (docs/transcripts.md).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "recipients/mailbox.hpp"

namespace mailbridge::recipients {

// "alice@example.net 1234\n"
std::string text_of(const StartLookup& lookup);

// "known\n", "unsure no answer in time\n", "unsure !! Too many open files\n"; the last one is Found::ours.
std::string text_of(const Found& found);
std::optional<Found> parse_found(std::string_view text);

// "MAIL FROM:<a@example.net>\nRCPT TO:<alice@example.net>\nDATA\n" and the mail.
std::string text_of(const lmtp::Transaction& delivery);

// One line for each outcome: "dot 250 2.0.0 Saved\n", "connect ! Connection refused\n", "dot ? ! the server closed the
// connection\n". A '?' means that the mail may have arrived. "connect !! Too many open files\n" means that this host lacked
// something.
std::string text_of(const std::vector<lmtp::Outcome>& outcomes);
std::optional<std::vector<lmtp::Outcome>> parse_outcomes(std::string_view text);

}  // namespace mailbridge::recipients
