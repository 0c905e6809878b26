// The filter's engine with its scans, look-ups and deliveries: the input is a transcript (base/transcript.hpp), so every
// transcript is a seed. They are answered, answered late, broken off or left alone, as the input says. smtpd's rules hold
// whatever smtpd, its clients, rspamd and Dovecot say; nobody is told that a message was refused that is marked, and who is
// marked has it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/transcript.hpp"
#include "tests/support/filter_player.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mailbridge;
  const auto lines = transcript::parse(std::string_view(reinterpret_cast<const char*>(data), size));
  const testing::Played whole = testing::play_filter(lines, {testing::Manner::Cuts::whole});
  const testing::Played cut = testing::play_filter(lines, {testing::Manner::Cuts::random, static_cast<unsigned>(size)});
  for (const testing::Played* played : {&whole, &cut}) {
    for (const std::string& violation : played->violations) std::fprintf(stderr, "%s\n", violation.c_str());
    if (!played->violations.empty()) std::abort();
  }
  // Two things depend on what smtpd has taken of other mail by then: the way of mail that passes without a scan, at once, and,
  // where a directory takes no file, the memory that is left.
  const bool depends = std::any_of(lines.begin(), lines.end(),
                                   [](const auto& line) { return line.lane == 'O' && line.text.starts_with("--spool"); }) ||
                       std::any_of(whole.notes.begin(), whole.notes.end(),
                                   [](const Note& note) { return note.text.find(" scan=") != std::string::npos; });
  if (!depends && (whole.to_smtpd != cut.to_smtpd || whole.to_rspamd != cut.to_rspamd || whole.looked_up != cut.looked_up ||
                   whole.to_dovecot != cut.to_dovecot))
    std::abort();
  return 0;
}
