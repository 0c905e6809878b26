#include "filter/options.hpp"

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <utility>

#include "base/endpoint.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "options/option_rows.hpp"
#include "options/option_table.hpp"
#include "options/shared_rows.hpp"
#include "options/toml_file.hpp"
#include "rspamd/httpcrypt.hpp"
#include "rspamd/scan_request.hpp"
#include "rspamd/upstreams.hpp"

namespace mailbridge::filter {
namespace {

namespace shared = options::shared;

using options::keep;
using options::one_of;
using options::parsed;
using options::seconds;
using options::whole_number;
using options::with_default;
using options::with_text;
using options::Words;

// The values as they were written. Each has passed the check of its row.
struct Values {
  std::vector<std::string> rspamd, settings_id, request_header;
  std::string rspamd_key, rspamd_ca, rspamd_name, rspamd_cert, rspamd_cert_key;
  bool compress = false;
  double connect_timeout = 0, scan_timeout = 0;
  std::string max_size, on_error, on_too_large;
  std::string on_unreachable, on_timeout, on_http_error, on_unreadable, on_overload;  // empty: as on_error
  unsigned max_scans = 0, max_queue = 0;
  std::string memory, spool, spam_headers;
  bool submission = false, allow_rewritten_body = false;
  std::string record, log_target, log_level;
  std::vector<std::string> lmtp;
  unsigned lmtp_connections = 0;
  std::string lmtp_source, lmtp_ca, lmtp_name, lmtp_cert, lmtp_cert_key;
  bool lmtp_starttls = false;
  std::vector<std::string> verify;
  std::string unknown, full, unverified, quota_status;
  double verify_timeout = 0;
  unsigned max_unknown = 0;
  bool deliver = false;
  double deliver_timeout = 0;
  std::string mark_key;
  std::vector<std::string> networks, recipients, skip, soften, action;
  bool monitor = false;
  bool check_config = false;
  std::string check;
};
using V = Values;

Result<void> parse_recipient(std::string_view text) { return policy::Recipients().add(text); }

// Dovecot's policy services have no TLS.
Result<Endpoint> parse_policy_endpoint(std::string_view text) {
  auto endpoint = parse_lmtp_endpoint(text);
  if (endpoint && has_tls(*endpoint)) return fail(Errc::malformed, "HOST:PORT or unix:/PATH is wanted, not " + std::string(text));
  return endpoint;
}

Result<Network> parse_address(std::string_view text) {
  auto network = parse_network(text);
  if (text.find('/') == std::string_view::npos && network) return network;
  return fail(Errc::malformed, "an IPv4 or IPv6 address is wanted, not " + std::string(text));
}

// Stores a path as it is: the file is read when the settings are made. Other values are parsed.
template <auto Member, auto Parse>
std::string path_or(void* values, std::string_view value) {
  return value.starts_with('/') ? keep<Member>(values, value) : parsed<Member, Parse>(values, value);
}

using Takes = options::OptionText::Takes;
constexpr Takes no_value = Takes::nothing, one_value = Takes::value, or_none = Takes::optional_value, several = Takes::values;

// --help shows the first sentence of each text. The markup is described in options/manual.hpp.
constexpr options::Option options[] = {
    {with_text(
         with_default(shared::rspamd, "http://127.0.0.1:11333"),
         "Where a worker of rspamd listens: `http://HOST[:PORT]`, `https://HOST:PORT` or `unix:/PATH`. The host is a name, an "
         "IPv4 address, or an IPv6 address between brackets; the port is 11333 when left out. Of several, those of the highest "
         "priority get the mail in turn, and the others when none of those is up; the priority is 0 when left out, and 1000 at "
         "most. See `Servers` below."),
     parsed<&V::rspamd, rspamd::parse_upstream>},
    {with_text(shared::rspamd_key,
               "The public key of rspamd's workers: what they are asked is encrypted. It is what `rspamadm keypair` shows as "
               "`pubkey`; `key=` after an endpoint is the key of that one alone. See `Encryption` below."),
     parsed<&V::rspamd_key, rspamd::httpcrypt::parse_key>},
    {{0, "compress", "", no_value, "",
      "Send mail to rspamd compressed with zstd. It pays over a network, and only costs time on one host."},
     keep<&V::compress>},
    {shared::rspamd_ca, keep<&V::rspamd_ca>},
    {shared::rspamd_name, keep<&V::rspamd_name>},
    {shared::rspamd_cert, keep<&V::rspamd_cert>},
    {with_text(shared::rspamd_cert_key,
               "The private key of that certificate, in PEM. The filter's user must be able to read it."),
     keep<&V::rspamd_cert_key>},
    {{0, "settings-id", "[CLASS=]ID", several, "",
      "The settings rspamd is to use for a class of messages, or for all others. See `Classes` below. Without this option rspamd "
      "chooses."},
     parsed<&V::settings_id, policy::parse_settings_id>},
    {{0, "action", "NAME=DO", several, "",
      "What is done about an action of rspamd's. The name as rspamd spells it, and one of `accept`, `header [NAME: VALUE]`, "
      "`subject [TEMPLATE]`, `tempfail [TEXT]` and `reject [CODE] [X.Y.Z] [TEXT]`; see `Verdicts` below."},
     parsed<&V::action, policy::parse_action>},
    {with_text(
         shared::request_header,
         "Another header of each request to rspamd. Written `Name: value`; `Pass: all` for instance has rspamd compute all "
         "symbols even beyond the score for a reject. Those that the filter writes itself cannot be given. `Password` makes "
         "rspamd take the filter for rspamc, and leave out greylisting and rate limits."),
     parsed<&V::request_header, rspamd::parse_request_header>},
    {{0, "networks", "CIDR|FILE", several, "",
      "Addresses that make up the class networks. An IPv4 or IPv6 address or network, or the absolute path of a file with one a "
      "line; what follows a `#` is a comment there. Their unknown recipients are counted by session alone, see `Recipients` "
      "below."},
     path_or<&V::networks, parse_network>},
    {{0, "recipients", "ADDRESS|@DOMAIN|FILE", several, "",
      "Addresses that make up the class recipients. An address, all of a domain, or the absolute path of a file with one of "
      "these a line. Upper and lower case are the same."},
     path_or<&V::recipients, parse_recipient>},
    {{0, "skip", "CLASS", several, "", "Accept messages of this class without a scan. See `Classes` below."},
     parsed<&V::skip, policy::parse_class>},
    {{0, "connect-timeout", "SECONDS", one_value, "3", "How long reaching one server of rspamd may take. From 0.1 to 60."},
     seconds<&V::connect_timeout, 60>},
    {with_text(
         shared::scan_timeout,
         "How long the whole scan may take, connecting included. From 0.1 to 600. Clients wait for a reply to their message for "
         "10 minutes according to RFC 5321, but some give up after one."),
     seconds<&V::scan_timeout, 600>},
    {{0, "soften", "CLASS", several, "", "Accept and mark what would be refused for good in this class. See `Classes` below."},
     parsed<&V::soften, policy::parse_class>},
    {{0, "monitor", "", no_value, "",
      "Refuse nothing because of a verdict or a failure, and mark nothing as spam. Headers and the log tell what would have been "
      "done, see `Monitor mode` below."},
     keep<&V::monitor>},
    {with_text(shared::max_size, "The largest message that is scanned. In bytes, or with K, M or G; see `Limits` below."),
     parsed<&V::max_size, parse_size>},
    {{0, "on-error", "tempfail|accept|reject", one_value, shared::on_error,
      "What becomes of a message that could not be scanned. Refused for now, accepted with a header that says why, or refused "
      "for good, see `Failures` below; for all classes of failure but that of a message that is too large."},
     one_of<&V::on_error, Words{"tempfail|accept|reject"}>},
    {{0, "on-unreachable", "tempfail|accept|reject", one_value, "", "The same when rspamd cannot be reached."},
     one_of<&V::on_unreachable, Words{"tempfail|accept|reject"}>},
    {{0, "on-timeout", "tempfail|accept|reject", one_value, "", "The same when there is no verdict in time."},
     one_of<&V::on_timeout, Words{"tempfail|accept|reject"}>},
    {{0, "on-http-error", "tempfail|accept|reject", one_value, "",
      "The same when rspamd answers with an HTTP status other than 200. Or when it closes the connection twice before its reply "
      "is whole, as it does with a message larger than its `max_message`."},
     one_of<&V::on_http_error, Words{"tempfail|accept|reject"}>},
    {{0, "on-unreadable", "tempfail|accept|reject", one_value, "", "The same when rspamd's reply is no verdict."},
     one_of<&V::on_unreadable, Words{"tempfail|accept|reject"}>},
    {{0, "on-overload", "tempfail|accept|reject", one_value, "",
      "The same when too many scans are under way. Or when this host is short of descriptors, memory or ports."},
     one_of<&V::on_overload, Words{"tempfail|accept|reject"}>},
    // The default is accept, because trying again later does not make a message smaller.
    {{0, "on-too-large", "tempfail|accept|reject", one_value, "accept", "The same for a message that is larger than --max-size."},
     one_of<&V::on_too_large, Words{"tempfail|accept|reject"}>},
    {{0, "max-scans", "NUMBER", one_value, "256",
      "How many messages may be with rspamd at once. The others wait, and clients take turns, so that one with many sessions "
      "does not hold up another. What a message waits counts in its `--scan-timeout`. There are fewer where descriptors do not "
      "suffice, see `Limits` below."},
     whole_number<&V::max_scans, 1, 100'000>},
    {{0, "max-queue", "NUMBER", one_value, "2048",
      "How many messages may wait for rspamd. When one more comes, the newest message of the client with the most is not "
      "scanned, which is a failure of class overload."},
     whole_number<&V::max_queue, 0, 10'000>},
    {{0, "memory", "SIZE", one_value, "64M",
      "How much memory the messages being received and scanned may take together. In bytes, or with K, M or G. Beyond it they go "
      "on in files, see `--spool`."},
     parsed<&V::memory, parse_size>},
    {with_text(
         shared::spool,
         "Where messages go that find no memory. Each has a file of its own there that has no name, is readable by its owner "
         "only, and is gone with the message. When the directory cannot hold it, that message is answered with a temporary "
         "failure. It is to be on a local disk: while that does not answer, nobody is answered. Read at start only."),
     keep<&V::spool>},
    {with_text(shared::spam_headers, "The header fields by which Sieve is to know spam. See `Headers` below."),
     one_of<&V::spam_headers, shared::spam_headers_words>},
    {{0, "submission", "", no_value, "",
      "Do what smtpd does to submitted mail after its filters already before the scan, so that a signature covers it. See "
      "`Submission` below."},
     keep<&V::submission>},
    {{0, "lmtp", "ENDPOINT", several, "",
      "Where Dovecot takes mail over LMTP: `unix:/PATH`, `HOST:PORT`, or `lmtps://HOST:PORT` for TLS from the first byte. Of "
      "several, the first that answers is used. See `Dovecot` below."},
     parsed<&V::lmtp, parse_lmtp_endpoint>},
    {{0, "lmtp-connections", "NUMBER", one_value, "4",
      "How many connections to Dovecot there may be at once. Each is a process there. When there are at least two, one is kept "
      "for questions about recipients."},
     whole_number<&V::lmtp_connections, 1, 1000>},
    {with_text(shared::lmtp_source,
               "The address that TCP connections to `--lmtp` come from. Without this option the system chooses."),
     parsed<&V::lmtp_source, parse_address>},
    {with_text(shared::lmtp_starttls,
               "Speak no LMTP without TLS. A server that does not offer STARTTLS is not used; over a unix socket it goes with "
               "`--lmtp-name`."),
     keep<&V::lmtp_starttls>},
    {with_text(shared::lmtp_ca,
               "Whose certificates the LMTP servers may have, in PEM. Without this option those the system trusts."),
     keep<&V::lmtp_ca>},
    {with_text(shared::lmtp_name,
               "The name in the certificate of each LMTP server. Without this option it is the host in its endpoint."),
     keep<&V::lmtp_name>},
    {with_text(shared::lmtp_cert,
               "A certificate to show to LMTP servers, with its chain, in PEM. It goes with `--lmtp-cert-key`."),
     keep<&V::lmtp_cert>},
    {with_text(shared::lmtp_cert_key, "The private key of that certificate, in PEM. The filter's user must be able to read it."),
     keep<&V::lmtp_cert_key>},
    {{0, "verify", "DOMAIN|FILE", several, "",
      "Ask Dovecot about recipients of this domain before they are accepted. A domain, or the absolute path of a file with one a "
      "line. It goes with `--lmtp` or `--quota-status`, and whether there is any is read at start only; see `Recipients` below."},
     path_or<&V::verify, policy::parse_domain>},
    {{0, "quota-status", "ENDPOINT", one_value, "",
      "Where Dovecot's policy service quota-status listens: `HOST:PORT` or `unix:/PATH`. It is asked about recipients instead of "
      "`--lmtp`, for it knows whether there is room for a message of that size."},
     parsed<&V::quota_status, parse_policy_endpoint>},
    {{0, "unknown", "refuse|smtpd", one_value, "refuse",
      "Refuse recipients that Dovecot does not know, or leave them to smtpd. With aliases in smtpd.conf it must be left to "
      "smtpd: it expands them later."},
     one_of<&V::unknown, Words{"refuse|smtpd"}>},
    {{0, "full", "tempfail|reject", one_value, "tempfail", "Refuse what has no room in a mailbox for now, or for good."},
     one_of<&V::full, Words{"tempfail|reject"}>},
    {{0, "verify-timeout", "SECONDS", one_value, "3", "How long asking about one recipient may take. From 0.1 to 60."},
     seconds<&V::verify_timeout, 60>},
    {{0, "unverified", "accept|tempfail", one_value, "accept",
      "Accept recipients about which Dovecot does not answer, or refuse them for now. Once accepted, they are smtpd's to "
      "deliver."},
     one_of<&V::unverified, Words{"accept|tempfail"}>},
    {{0, "max-unknown", "NUMBER", one_value, "10",
      "How many unknown recipients a session may have before it is answered slower. After twice as many it is disconnected; with "
      "more than twice as many in all its sessions a client is answered slower in each. 0 is no end. See `Recipients` below."},
     whole_number<&V::max_unknown, 0, 1000>},
    {{0, "deliver", "", no_value, "",
      "Deliver over LMTP while the client waits, to those recipients that Dovecot has accepted. It goes with `--lmtp`, "
      "`--verify` and `--mark-key`; see `Delivery in the session` below."},
     keep<&V::deliver>},
    {{0, "deliver-timeout", "SECONDS", one_value, "60",
      "How long the client may wait for that delivery, after the scan. From 0.1 to 600. A delivery that is not under way in half "
      "that time is left to smtpd's queue."},
     seconds<&V::deliver_timeout, 600>},
    {with_text(
         shared::mark_key,
         "The key by which lda2lmtp believes what the filter says has been delivered. A file with a key of at least 32 bytes, as "
         "`openssl rand -hex 32` prints it, that the filter and all agents can read; `lda2lmtp --mark-key` is given the same. Of "
         "several keys, one a line, the first seals. See `Keys` below."),
     keep<&V::mark_key>},
    {{0, "allow-rewritten-body", "", no_value, "",
      "Let rspamd replace the body of a message. Without this option a body that its rules rewrote is only logged, see "
      "`Rewritten bodies` below."},
     keep<&V::allow_rewritten_body>},
    {{0, "record", "DIRECTORY", one_value, "",
      "Write everything, mail included, to a transcript in this directory. All that is said between smtpd, rspamd and the filter "
      "goes to a new file `filter-mailbridge-PID-N.session` there; the filter's user must be able to write to the directory.\n"
      "The file holds whole messages and addresses; it is readable by its owner only (mode 0600). It grows until smtpd is "
      "restarted, so this is for a short while, to report or study a problem, and on a local disk: while that does not answer, "
      "nobody is answered. When it cannot be created, that is logged and mail goes on without it."},
     keep<&V::record>},
    {{0, "log-target", "syslog|stderr", one_value, "syslog",
      "Log to syslog, facility mail, or to standard error. smtpd copies a filter's standard error to its own log, each line as "
      "an error."},
     one_of<&V::log_target, Words{"syslog|stderr"}>},
    {{0, "log-level", "debug|info|warn|error", one_value, "info",
      "The least important messages to log. From `warn` on, only the lines of messages that could not be scanned are left."},
     one_of<&V::log_level, Words{"debug|info|warn|error"}>},
    {{0, "check-config", "", no_value, "",
      "Say what is wrong with the other options and the configuration file, if anything, and exit. For the command line: in "
      "smtpd.conf it would end smtpd, and the configuration file does not know it."},
     keep<&V::check_config>,
     false},
    {{0, "check", "ADDRESS", or_none, "",
      "The same, and then ask each server of rspamd what it thinks of a test spam, and each of Dovecot's about a recipient: this "
      "one, or one that probably nobody has. A line for each tells whether it answers and, of rspamd, would refuse that spam "
      "(GTUBE), or why not; of quota-status, whether a quota counts for this recipient; and what is wrong with the file of "
      "`--mark-key`. The exit status is 1 if something is."},
     keep<&V::check>,
     false},
};
constexpr options::OptionTable table{"filter-mailbridge", "OpenSMTPD filter that asks rspamd and Dovecot.", options};

Level level_of(const std::string& name) {
  if (name == "debug") return Level::debug;
  if (name == "warn") return Level::warn;
  return name == "error" ? Level::error : Level::info;
}

Duration duration(double value) { return std::chrono::round<std::chrono::milliseconds>(std::chrono::duration<double>(value)); }

policy::OnFailure on_failure(const Values& values) {
  const auto policy = [&](const std::string& own) { return policy::parse_on_error(own.empty() ? values.on_error : own).value(); };
  return {policy(values.on_unreachable), policy(values.on_timeout),  policy(values.on_http_error),
          policy(values.on_unreadable),  policy(values.on_overload), policy(values.on_too_large)};
}

// Calls `take` for each entry: values are entries, or paths of files of them.
Result<void> take_entries(const std::string& option, const std::vector<std::string>& values,
                          const std::function<Result<void>(std::string_view)>& take) {
  for (const std::string& value : values) {
    const bool path = value.starts_with('/');
    const Result<std::string> text = path ? options::read_file(value) : value;
    const Result<void> taken = !text ? tl::unexpected(text.error()) : path ? policy::parse_list(*text, value, take) : take(*text);
    if (!taken) return fail(taken.error().code, printable(option + ": " + taken.error().what, 200));
  }
  return {};
}

Result<policy::ClassSettings> class_settings(const Values& values) {
  policy::ClassSettings settings;
  std::vector<Network> networks;
  auto taken = take_entries("--networks", values.networks, [&](std::string_view entry) -> Result<void> {
    const auto network = parse_network(entry);
    if (!network) return tl::unexpected(network.error());
    networks.push_back(*network);
    return {};
  });
  if (!taken) return tl::unexpected(std::move(taken.error()));
  settings.networks = Networks(std::move(networks));
  taken = take_entries("--recipients", values.recipients, [&](std::string_view entry) { return settings.recipients.add(entry); });
  if (!taken) return tl::unexpected(std::move(taken.error()));
  for (const std::string& word : values.skip) settings.skip.insert(policy::parse_class(word).value());
  for (const std::string& word : values.soften) settings.soften.insert(policy::parse_class(word).value());
  for (const std::string& text : values.settings_id) {
    auto [which, id] = policy::parse_settings_id(text).value();
    (which ? settings.class_settings_id[static_cast<std::size_t>(*which)] : settings.settings_id) = std::move(id);
  }
  return settings;
}

// Takes the options about recipients: whose mailboxes are asked for, and what follows from Dovecot's answers.
Result<void> take_recipients(const Values& values, Settings& settings) {
  const auto taken = take_entries("--verify", values.verify, [&](std::string_view entry) -> Result<void> {
    auto domain = policy::parse_domain(entry);
    if (!domain) return tl::unexpected(std::move(domain.error()));
    settings.engine.verify.domains.insert(std::move(*domain));
    return {};
  });
  if (!taken) return taken;
  if (!values.verify.empty() && values.lmtp.empty() && values.quota_status.empty())
    return fail(Errc::malformed, "--verify goes with --lmtp or --quota-status");
  if (!values.quota_status.empty()) settings.quota_status = parse_policy_endpoint(values.quota_status).value();
  settings.engine.verify.sizes = settings.quota_status.has_value();
  settings.engine.verify.timeout = duration(values.verify_timeout);
  settings.engine.recipients = {values.unknown == "refuse", values.full == "reject", values.unverified == "tempfail",
                                values.max_unknown};
  return {};
}

Result<void> take_lmtp(const Values& values, LmtpSettings& settings) {
  for (const std::string& text : values.lmtp) settings.servers.push_back(parse_lmtp_endpoint(text).value());
  settings.connections = values.lmtp_connections;
  settings.source = values.lmtp_source;
  settings.starttls = values.lmtp_starttls;
  settings.tls_files = {values.lmtp_ca, values.lmtp_cert, values.lmtp_cert_key};
  settings.tls_name = values.lmtp_name;
  if (values.lmtp_cert.empty() != values.lmtp_cert_key.empty())
    return fail(Errc::malformed, "--lmtp-cert and --lmtp-cert-key go together");
  const bool local = std::any_of(settings.servers.begin(), settings.servers.end(),
                                 [](const Endpoint& server) { return std::holds_alternative<UnixEndpoint>(server); });
  if (local && settings.starttls && settings.tls_name.empty())
    return fail(Errc::malformed, "--lmtp-starttls over a unix socket goes with --lmtp-name, which its certificate is to have");
  return {};
}

// Takes the options about delivery. A key is read and checked even without --deliver.
Result<void> take_delivery(const Values& values, Settings& settings) {
  if (values.deliver && (values.lmtp.empty() || values.verify.empty() || values.mark_key.empty()))
    return fail(Errc::malformed, "--deliver goes with --lmtp, --verify and --mark-key");
  if (values.mark_key.empty()) return {};
  const auto text = options::read_file(values.mark_key);
  if (!text) return fail(text.error().code, "--mark-key: " + text.error().what);
  auto keys = lmtp::MarkKeys::parse(*text);
  if (!keys) return fail(keys.error().code, "--mark-key: " + values.mark_key + ": " + keys.error().what);
  settings.mark_key_file = values.mark_key;
  settings.mark_keys = std::move(*keys);
  if (values.deliver)
    settings.engine.delivery = recipients::DeliverySettings{settings.mark_keys, duration(values.deliver_timeout)};
  return {};
}

Result<Settings> settings_of(const Values& values) {
  Settings settings;
  if (auto taken = take_recipients(values, settings); !taken) return tl::unexpected(std::move(taken.error()));
  if (auto taken = take_lmtp(values, settings.lmtp); !taken) return tl::unexpected(std::move(taken.error()));
  if (auto taken = take_delivery(values, settings); !taken) return tl::unexpected(std::move(taken.error()));
  auto classes = class_settings(values);
  if (!classes) return tl::unexpected(std::move(classes.error()));
  settings.engine.classes = std::move(*classes);
  auto upstreams = rspamd::upstreams_of(values.rspamd, values.rspamd_key);
  if (!upstreams) return tl::unexpected(std::move(upstreams.error()));
  settings.upstreams = std::move(*upstreams);
  settings.compress = values.compress;
  if (values.rspamd_cert.empty() != values.rspamd_cert_key.empty()) {
    return fail(Errc::malformed, "--rspamd-cert and --rspamd-cert-key go together");
  }
  settings.tls_files = {values.rspamd_ca, values.rspamd_cert, values.rspamd_cert_key};
  settings.tls_name = values.rspamd_name;
  if (constexpr std::size_t most = 32; values.request_header.size() > most) {
    return fail(Errc::too_large, "--request-header: " + std::to_string(most) + " headers at most");
  }
  for (const std::string& text : values.request_header) {
    settings.engine.request_headers += rspamd::parse_request_header(text).value();
  }
  settings.engine.scan_timeout = duration(values.scan_timeout);
  settings.engine.policy.on_failure = on_failure(values);
  for (const std::string& text : values.action) {
    auto [name, rule] = policy::parse_action(text).value();
    settings.engine.policy.actions.set(std::move(name), std::move(rule));
  }
  settings.engine.max_size = parse_size(values.max_size).value();
  settings.engine.policy.spam_headers = policy::parse_spam_headers(values.spam_headers).value();
  settings.engine.monitor = values.monitor;
  settings.engine.allow_rewritten_body = values.allow_rewritten_body;
  settings.engine.submission = values.submission;
  settings.connect_timeout = duration(values.connect_timeout);
  settings.engine.max_scans = values.max_scans;
  settings.engine.max_queue = values.max_queue;
  settings.engine.memory = parse_size(values.memory).value();
  settings.engine.spool = values.spool;
  settings.record_directory = values.record;
  settings.log_target = values.log_target == "stderr" ? net::LogTarget::stderr_stream : net::LogTarget::syslog;
  settings.log_level = level_of(values.log_level);
  return settings;
}

}  // namespace

Result<std::variant<Settings, Text>> read_settings(const std::vector<std::string>& argv) {
  Values values;
  std::vector<GivenOption> given;
  auto text = options::read_table(table, argv, &values, [&](const options::Option& option, std::string_view value) {
    if (option.in_file) given.push_back({"--" + std::string(option.name), std::string(value)});
  });
  if (!text) return tl::unexpected(std::move(text.error()));
  if (*text) return Text{std::move(**text)};
  auto settings = settings_of(values);
  if (!settings) return tl::unexpected(std::move(settings.error()));
  settings->check_recipient = values.check;
  settings->given = std::move(given);
  return std::move(*settings);
}

Result<Settings> read_settings(const std::vector<GivenOption>& given) {
  std::vector<std::string> argv{std::string(table.program)};
  for (const GivenOption& option : given) {
    if (option.name == "--config") return fail(Errc::malformed, "--config is not to be read again");
    const bool flag = std::any_of(std::begin(options), std::end(options), [&](const options::Option& row) {
      return row.takes == no_value && "--" + std::string(row.name) == option.name;
    });
    argv.push_back(flag && option.value.empty() ? option.name : option.name + "=" + option.value);
  }
  auto read = read_settings(argv);
  if (!read) return tl::unexpected(std::move(read.error()));
  if (auto* settings = std::get_if<Settings>(&*read)) return std::move(*settings);
  return fail(Errc::malformed, "an option that only prints text");
}

std::string describe_options(options::Description description) { return description(table.program, table.texts()); }

}  // namespace mailbridge::filter
