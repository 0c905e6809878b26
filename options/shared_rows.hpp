// Rows that both programs' tables of options share: the name, type and default, and the text if it is the same. A table adds the
// function that stores the value, and a text of its own if need be: {with_text(shared::spool, "Where …"), keep<&V::spool>}.
#pragma once

#include "options/option_rows.hpp"
#include "options/option_table.hpp"

namespace mailbridge::options {

constexpr OptionText with_text(OptionText row, std::string_view text) {
  row.text = text;
  return row;
}
constexpr OptionText with_default(OptionText row, std::string_view value) {
  row.default_value = value;
  return row;
}

namespace shared {

// ---- rspamd

inline constexpr OptionText rspamd{0, "rspamd", "ENDPOINT[,priority=N][,key=KEY]", OptionText::values, "", ""};
inline constexpr OptionText rspamd_key{0, "rspamd-key", "KEY", OptionText::value, "", ""};
inline constexpr OptionText rspamd_ca =
    with_text({0, "rspamd-ca", "FILE", OptionText::value, "", ""},
              "Whose certificates the https servers may have, in PEM. Without this option those the system trusts.");
inline constexpr OptionText rspamd_name =
    with_text({0, "rspamd-name", "NAME", OptionText::value, "", ""},
              "The name in the certificate of each https server. Without this option it is the host in its endpoint.");
inline constexpr OptionText rspamd_cert =
    with_text({0, "rspamd-cert", "FILE", OptionText::value, "", ""},
              "A certificate to show to https servers, with its chain, in PEM. It goes with `--rspamd-cert-key`.");
inline constexpr OptionText rspamd_cert_key{0, "rspamd-cert-key", "FILE", OptionText::value, "", ""};
inline constexpr OptionText request_header{0, "request-header", "HEADER", OptionText::values, "", ""};
inline constexpr OptionText scan_timeout{0, "scan-timeout", "SECONDS", OptionText::value, "30", ""};
inline constexpr OptionText max_size{0, "max-size", "SIZE", OptionText::value, "40M", ""};
inline constexpr std::string_view on_error = "tempfail";  // the default; the filter has more to choose from
inline constexpr Words spam_headers_words{"milter|rspamc|filter-rspamd"};
inline constexpr OptionText spam_headers{0, "spam-headers", spam_headers_words.words, OptionText::value, "milter", ""};

// ---- Dovecot

inline constexpr OptionText lmtp_source{0, "lmtp-source", "ADDRESS", OptionText::value, "", ""};
inline constexpr OptionText lmtp_starttls{0, "lmtp-starttls", "", OptionText::nothing, "", ""};
inline constexpr OptionText lmtp_ca{0, "lmtp-ca", "FILE", OptionText::value, "", ""};
inline constexpr OptionText lmtp_name{0, "lmtp-name", "NAME", OptionText::value, "", ""};
inline constexpr OptionText lmtp_cert{0, "lmtp-cert", "FILE", OptionText::value, "", ""};
inline constexpr OptionText lmtp_cert_key{0, "lmtp-cert-key", "FILE", OptionText::value, "", ""};
inline constexpr OptionText mark_key{0, "mark-key", "FILE", OptionText::value, "", ""};

// ---- the process

inline constexpr OptionText spool{0, "spool", "DIRECTORY", OptionText::value, "/var/tmp", ""};

}  // namespace shared
}  // namespace mailbridge::options
