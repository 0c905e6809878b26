#include "agent/options.hpp"

#include <utility>

#include "base/size.hpp"
#include "options/option_rows.hpp"
#include "options/option_table.hpp"
#include "options/shared_rows.hpp"
#include "options/toml_file.hpp"
#include "policy/classes.hpp"
#include "rspamd/httpcrypt.hpp"

namespace mailbridge::agent {
namespace {

namespace shared = options::shared;

using options::keep;
using options::one_of;
using options::parsed;
using options::seconds;
using options::with_text;
using options::Words;

std::string without_brackets(std::string address) {
  if (address.size() >= 2 && address.front() == '<' && address.back() == '>') return address.substr(1, address.size() - 2);
  return address;
}

// The values as they were written. Each has passed the check of its row.
struct Values {
  std::optional<std::string> sender, receiver, check;
  std::vector<std::string> lmtp;
  std::string lmtp_source, lmtp_ca, lmtp_name, lmtp_cert, lmtp_cert_key;
  bool lmtp_starttls = false;
  std::string rcpt, delimiter, fold;
  bool strip_detail = false;
  std::string unknown, quota, oversize, bare_cr, spool, mark_key;
  double timeout = 0;
  bool keep_trace = false;
  std::vector<std::string> rspamd, request_header;
  std::string rspamd_key, rspamd_ca, rspamd_name, rspamd_cert, rspamd_cert_key, settings_id;
  std::string max_size, on_error, on_reject, spam_headers;
  double scan_timeout = 0;
};
using V = Values;

// ---- the values

Result<asio::ip::address> parse_source(std::string_view text) {
  asio::error_code error;
  const auto address = asio::ip::make_address(text, error);
  if (error) return fail(Errc::malformed, "an IPv4 or IPv6 address is wanted, not " + std::string(text));
  return address;
}

Result<std::string> parse_id(std::string_view text) {
  auto parsed = policy::parse_settings_id(text);
  if (!parsed) return tl::unexpected(std::move(parsed.error()));
  if (parsed->first) return fail(Errc::malformed, "an id alone is wanted, not " + std::string(text));
  return std::move(parsed->second);
}

// ---- the table

using Takes = options::OptionText::Takes;
constexpr Takes no_value = Takes::nothing, one_value = Takes::value, or_none = Takes::optional_value, several = Takes::values;

constexpr char permanent_or_not[] = "permanent|temporary";

// --help shows the first sentence of each text. The markup is described in options/manual.hpp.
constexpr options::Option options[] = {
    {{'s', "sender", "ADDR", or_none, "",
      "The envelope sender. An empty or missing value is the null sender. Without this option it is `SENDER` of the "
      "environment."},
     keep<&V::sender>},
    {{'r', "receiver", "ADDR", one_value, "",
      "The envelope recipient. Without this option it is `RECIPIENT` of the environment."},
     keep<&V::receiver>},
    {{'l', "lmtp", "ENDPOINT", several, "/var/run/dovecot/lmtp",
      "Where the server listens: `/PATH`, `unix:/PATH`, `HOST:PORT` or `[V6]:PORT`, and `lmtps://HOST:PORT` for TLS from the "
      "first byte. A host name is looked up in `/etc/hosts` and DNS for each mail, whatever `nsswitch.conf` says; all its "
      "addresses are tried in turn. Of several servers the next one is tried when one cannot be reached, or ends the talk before "
      "the mail is handed over without a word about recipient or mail."},
     parsed<&V::lmtp, parse_lmtp_endpoint>},
    {with_text(shared::lmtp_source, "The address of our own that TCP connections come from."),
     parsed<&V::lmtp_source, parse_source>},
    {with_text(shared::lmtp_starttls,
               "Have TLS with every server, by STARTTLS unless it is `lmtps`. A server that does not do it gets no mail."),
     keep<&V::lmtp_starttls>},
    {with_text(shared::lmtp_ca, "Whose certificates the servers may have, in PEM. Without this option those the system trusts."),
     keep<&V::lmtp_ca>},
    {with_text(shared::lmtp_name,
               "The name in the certificate of each server. Without this option it is the host in its endpoint."),
     keep<&V::lmtp_name>},
    {with_text(shared::lmtp_cert, "A certificate to show to servers, with its chain, in PEM. It goes with `--lmtp-cert-key`."),
     keep<&V::lmtp_cert>},
    {with_text(shared::lmtp_cert_key,
               "The private key of that certificate, in PEM. Whom smtpd runs the agent as must be able to read it."),
     keep<&V::lmtp_cert_key>},
    {{0, "rcpt", "recipient|user|TEMPLATE", one_value, "recipient",
      "What the server is given as the recipient. The recipient as it is, the name in `USER` of the environment with the "
      "recipient's +detail, or a text with parts between braces: `{user}`; `{local}`, `{detail}` and `{domain}` of the "
      "recipient; `{+detail}` and `{@domain}`, which are nothing without a detail or domain. So "
      "`{local}{+detail}@mail.example.org` replaces the domain.\nUp to smtpd 7.2 `USER` is the system user that the agent runs "
      "as; give `-r %{user.username}` there."},
     parsed<&V::rcpt, parse_rcpt_form>},
    {{0, "strip-detail", "", no_value, "", "Leave the recipient's +detail out."}, keep<&V::strip_detail>},
    {{0, "delimiter", "CHARACTERS", one_value, "+",
      "What a detail begins with. The first of these characters in the local part; as Dovecot's `recipient_delimiter`."},
     keep<&V::delimiter>},
    {{0, "fold", "none|domain|all", one_value, "domain",
      "What of the recipient is written in small letters. With `all` the local part, too, but never the detail, which names a "
      "mailbox."},
     one_of<&V::fold, Words{"none|domain|all"}>},
    {{0, "unknown", permanent_or_not, one_value, "permanent",
      "Whether a mail to a recipient that the server does not know bounces at once. With `temporary` smtpd tries again until the "
      "mail expires."},
     one_of<&V::unknown, Words{"permanent|temporary"}>},
    {{0, "quota", permanent_or_not, one_value, "permanent",
      "The same for a mailbox that the server says is full. What the server says will pass is temporary in any case."},
     one_of<&V::quota, Words{"permanent|temporary"}>},
    {{0, "oversize", "answered|permanent|temporary", one_value, "answered",
      "The same for a mail that is larger than the server ever takes. Dovecot up to 2.4.2 answers that with 451, so it is tried "
      "for days and bounces then; with `permanent` it bounces at once, with `answered` the server's code decides."},
     one_of<&V::oversize, Words{"answered|permanent|temporary"}>},
    {{0, "bare-cr", "keep|blank", one_value, "keep",
      "What becomes of a CR that ends no line. It is delivered as it is, or as a blank, as Postfix does it: some readers take it "
      "for a line end, and then see another mail than the one that was scanned."},
     one_of<&V::bare_cr, Words{"keep|blank"}>},
    {with_text(
         shared::mark_key,
         "The key of filter-mailbridge's marks, for `filter-mailbridge --deliver`. A recipient who, as such a mark says, has the "
         "mail already is not delivered to once more; a mark is never delivered. The file is the one the filter is given, and "
         "whom smtpd runs the agent as must be able to read it; when it cannot be read, marked mail waits in the queue, and "
         "other mail is delivered. See `Marks` below."),
     keep<&V::mark_key>},
    {with_text(
         shared::spool,
         "Where a mail goes on that is larger than 8 MiB. It has a file of its own there that has no name, is readable by its "
         "owner only, and is gone with the agent."),
     keep<&V::spool>},
    // The maximum is below 300 seconds: smtpd gives up then (agent/mda_guard.hpp).
    {{0, "timeout", "SECONDS", one_value, "290",
      "How long the whole delivery may take. From 0.1 to 290. The final dot, which makes the server deliver, leaves within the "
      "first five sixths of this time or never; see `CAVEATS`."},
     seconds<&V::timeout, 290>},
    {{0, "keep-trace", "", no_value, "", "Keep smtpd's Return-Path and Delivered-To lines."}, keep<&V::keep_trace>},
    {with_text(
         shared::rspamd,
         "Have rspamd scan each mail before it is delivered. Where a worker listens: `http://HOST[:PORT]`, `https://HOST:PORT` "
         "or `unix:/PATH`, as filter-mailbridge is given it. See `SCANNING`; where filter-mailbridge scans, this is not needed."),
     parsed<&V::rspamd, rspamd::parse_upstream>},
    {with_text(
         shared::rspamd_key,
         "The public key of rspamd's workers: what they are asked is encrypted. `key=` after an endpoint is the key of that one "
         "alone."),
     parsed<&V::rspamd_key, rspamd::httpcrypt::parse_key>},
    {shared::rspamd_ca, keep<&V::rspamd_ca>},
    {shared::rspamd_name, keep<&V::rspamd_name>},
    {shared::rspamd_cert, keep<&V::rspamd_cert>},
    {with_text(shared::rspamd_cert_key, "The private key of that certificate, in PEM."), keep<&V::rspamd_cert_key>},
    {{0, "settings-id", "ID", one_value, "",
      "The settings rspamd is to use. Without this option it chooses by the recipient and all else it is told."},
     parsed<&V::settings_id, parse_id>},
    {with_text(
         shared::request_header,
         "Another header of each request to rspamd. Written `Name: value`; those that are the agent's to write cannot be given."),
     parsed<&V::request_header, rspamd::parse_request_header>},
    {with_text(shared::scan_timeout, "How long the scan may take. From 0.1 to 240."), seconds<&V::scan_timeout, 240>},
    {with_text(shared::max_size,
               "The largest mail that is scanned. In bytes, or with K, M or G; a larger one is delivered with X-Spam-Error."),
     parsed<&V::max_size, parse_size>},
    {{0, "on-error", "tempfail|accept", one_value, shared::on_error,
      "What becomes of a mail that could not be scanned. It waits in smtpd's queue, or is delivered with X-Spam-Error."},
     one_of<&V::on_error, Words{"tempfail|accept"}>},
    {{0, "on-reject", "mark|bounce", one_value, "mark",
      "What becomes of a mail that rspamd would reject. It is delivered with the headers of spam. With `bounce` smtpd returns it "
      "to whoever is named as its sender, which is as good as never who sent it."},
     one_of<&V::on_reject, Words{"mark|bounce"}>},
    {with_text(shared::spam_headers,
               "The header fields by which Sieve is to know spam. As rspamd's own milter writes them (`X-Spam: Yes`), as `rspamc "
               "--mime` does, or as filter-rspamd."),
     one_of<&V::spam_headers, shared::spam_headers_words>},
    {{0, "check", "ADDR", one_value, "",
      "Deliver nothing, and tell whether each server would take a mail for this recipient. One line for each says so, or why "
      "not: what is closed on the way to its socket and for whom, and the server's words; and what is wrong with the file of "
      "`--mark-key`. Run it as the user that smtpd runs the agent as. The exit status is 1 if something is wrong."},
     keep<&V::check>,
     false},
};
constexpr options::OptionTable table{"lda2lmtp", "Delivers the mail on standard input over LMTP.", options};

Addressing addressing_of(const Values& values) {
  return {parse_rcpt_form(values.rcpt).value(), values.strip_detail, values.delimiter,
          values.fold == "none"  ? Folding::none
          : values.fold == "all" ? Folding::all
                                 : Folding::domain};
}

lmtp::Policies policies_of(const Values& values) {
  using Oversize = lmtp::Policies::Oversize;
  return {values.unknown == "temporary", values.quota == "temporary",
          values.oversize == "permanent"   ? Oversize::permanent
          : values.oversize == "temporary" ? Oversize::later
                                           : Oversize::answered};
}

Duration duration(double seconds) { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds)); }

Result<ScanSettings> scan_of(const Values& values) {
  ScanSettings scan;
  auto upstreams = rspamd::upstreams_of(values.rspamd, values.rspamd_key);
  if (!upstreams) return tl::unexpected(std::move(upstreams.error()));
  scan.upstreams = std::move(*upstreams);
  if (values.rspamd_cert.empty() != values.rspamd_cert_key.empty())
    return fail(Errc::malformed, "--rspamd-cert and --rspamd-cert-key go together");
  scan.tls_files = {values.rspamd_ca, values.rspamd_cert, values.rspamd_cert_key};
  scan.tls_name = values.rspamd_name;
  scan.timeout = duration(values.scan_timeout);
  scan.max_size = parse_size(values.max_size).value();
  scan.request.settings_id = values.settings_id;
  for (const std::string& text : values.request_header) scan.request.more += rspamd::parse_request_header(text).value();
  const auto failure = policy::parse_on_error(values.on_error).value();
  using policy::OnError;
  // If this host lacks descriptors or memory, it will have them later, so that failure is always temporary.
  scan.policy.on_failure = {failure, failure, failure, failure, OnError::tempfail, OnError::accept};
  scan.policy.spam_headers = policy::parse_spam_headers(values.spam_headers).value();
  scan.enforcement = values.on_reject == "bounce" ? policy::Enforcement::all : policy::Enforcement::softened;
  return scan;
}

}  // namespace

Result<std::variant<Settings, Text>> read_settings(const std::vector<std::string>& argv, const Environment& environment) {
  Values given;
  auto read = options::read_table(table, argv, &given);
  if (!read) return tl::unexpected(std::move(read.error()));
  if (*read) return Text{std::move(**read)};

  if (given.check) {
    given.receiver = given.check;
    given.sender = given.sender.value_or("");
  }
  if (!given.sender) given.sender = environment.sender;
  if (!given.sender) return fail(Errc::malformed, "no sender: neither --sender nor SENDER in the environment");
  Settings settings;
  settings.check = given.check.has_value();
  Request& request = settings.request;
  request.sender = without_brackets(std::move(*given.sender));
  if (const auto fault = lmtp::address_fault(request.sender); !fault.empty())
    return fail(Errc::malformed, "sender: " + std::string(fault));
  const std::string recipient =
      without_brackets(given.receiver ? std::move(*given.receiver) : environment.recipient.value_or(""));
  if (recipient.empty()) return fail(Errc::malformed, "no recipient: neither --receiver nor RECIPIENT in the environment");
  auto address = rcpt_address(recipient, environment.user, addressing_of(given));
  if (!address) return tl::unexpected(std::move(address.error()));
  request.recipient = std::move(*address);
  request.original = original_recipient(environment);
  for (const std::string& text : given.lmtp) request.lmtp.push_back(*parse_lmtp_endpoint(text));
  request.timeout = duration(given.timeout);
  request.keep_trace = given.keep_trace;
  request.spool = given.spool;
  request.blank_bare_cr = given.bare_cr == "blank";
  request.policies = policies_of(given);
  if (!given.mark_key.empty()) {
    settings.mark_key_file = given.mark_key;
    request.heeds_marks = true;
    const auto text = options::read_file(given.mark_key);
    auto keys = text ? lmtp::MarkKeys::parse(*text) : tl::unexpected(text.error());
    if (keys) request.mark_keys = std::move(*keys);
    else request.mark_key_fault = "--mark-key: " + (text ? given.mark_key + ": " : "") + keys.error().what;
  }
  request.mailbox = names_of_mailbox(request.recipient, environment, addressing_of(given));
  if (given.lmtp_cert.empty() != given.lmtp_cert_key.empty())
    return fail(Errc::malformed, "--lmtp-cert and --lmtp-cert-key go together");
  if (!given.lmtp_source.empty()) settings.source = *parse_source(given.lmtp_source);
  settings.starttls = given.lmtp_starttls;
  settings.tls_files = {given.lmtp_ca, given.lmtp_cert, given.lmtp_cert_key};
  settings.tls_name = given.lmtp_name;
  if (!given.rspamd.empty()) {
    auto scan = scan_of(given);
    if (!scan) return tl::unexpected(std::move(scan.error()));
    settings.scan = std::move(*scan);
    // With `-r %{user.username}` the recipient is no address, and rspamd needs one.
    const std::string told = environment.recipient.value_or("");
    settings.scan_recipient = recipient.find('@') != std::string::npos ? recipient : told.empty() ? request.original : told;
  }
  return settings;
}

std::string describe_options(options::Description description) { return description(table.program, table.texts()); }

}  // namespace mailbridge::agent
