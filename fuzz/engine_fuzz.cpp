// The filter's engine with its scans: the input is a transcript (base/transcript.hpp), so every transcript is a seed. Scans are
// answered, answered late, broken off or left alone, as the input says. smtpd's rules hold whatever smtpd, its clients and rspamd
// say.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
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
  // A directory that takes no file makes the outcome depend on the memory that others have just then.
  const bool spool_is_given = std::any_of(lines.begin(), lines.end(),
                                          [](const auto& line) { return line.lane == 'O' && line.text.starts_with("--spool"); });
  if (!spool_is_given && (whole.to_smtpd != cut.to_smtpd || whole.to_rspamd != cut.to_rspamd)) std::abort();
  return 0;
}
