#include "filter/options.hpp"

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <utility>

#include <CLI/CLI.hpp>

#include "app/manual.hpp"
#include "app/options.hpp"
#include "app/toml_file.hpp"
#include "base/endpoint.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "rspamd/httpcrypt.hpp"
#include "rspamd/scan_request.hpp"
#include "rspamd/upstreams.hpp"

namespace mailbridge::filter {
namespace {

// As written; each has passed its validator.
struct Values {
  std::vector<std::string> rspamd = {"http://127.0.0.1:11333"};
  std::vector<std::string> settings_id;
  std::vector<std::string> request_header;
  std::string rspamd_key;
  bool compress = false;
  std::string rspamd_ca, rspamd_name, rspamd_cert, rspamd_cert_key;
  double connect_timeout = 3;
  double scan_timeout = 30;
  std::string max_size = "40M";
  std::string on_error = "tempfail";
  std::string on_unreachable, on_timeout, on_http_error, on_unreadable, on_overload;  // empty: as on_error
  std::string on_too_large = "accept";
  unsigned max_scans = 256;
  unsigned max_queue = 2048;
  std::string memory = "64M";
  std::string spool = "/var/tmp";
  std::string spam_headers = "milter";
  bool submission = false;
  bool allow_rewritten_body = false;
  std::string record;
  std::string log_target = "syslog";
  std::string log_level = "info";
  std::vector<std::string> lmtp;
  unsigned lmtp_connections = 4;
  std::string lmtp_source, lmtp_ca, lmtp_name, lmtp_cert, lmtp_cert_key;
  bool lmtp_starttls = false;
  std::vector<std::string> verify;
  std::string unknown = "refuse";
  std::string full = "tempfail";
  std::string unverified = "accept";
  std::string quota_status;
  double verify_timeout = 3;
  unsigned max_unknown = 10;
  bool deliver = false;
  double deliver_timeout = 60;
  std::string mark_key;
  std::vector<std::string> networks;
  std::vector<std::string> recipients;
  std::vector<std::string> skip;
  std::vector<std::string> soften;
  std::vector<std::string> action;
  bool monitor = false;
  bool check_config = false;
  std::string check;
};

// Says what is wrong with a value, or nothing.
using Validator = std::function<std::string(const std::string&)>;

// From 0.1 seconds on. CLI::Range would take nan.
Validator seconds_up_to(int most) {
  return [most](const std::string& text) {
    double value = 0;
    if (CLI::detail::lexical_cast(text, value) && value >= 0.1 && value <= most) return std::string();
    return "a number of seconds from 0.1 to " + std::to_string(most) + " is wanted, not " + text;
  };
}

Validator whole_number(unsigned least, unsigned most) {
  return [least, most](const std::string& text) {
    unsigned value = 0;
    if (CLI::detail::lexical_cast(text, value) && value >= least && value <= most) return std::string();
    return "a number from " + std::to_string(least) + " to " + std::to_string(most) + " is wanted, not " + text;
  };
}

// One of the words of a value named "a|b|c".
Validator one_of(const std::string& words) {
  return [words](const std::string& text) {
    const bool known = text.find('|') == std::string::npos && ("|" + words + "|").find("|" + text + "|") != std::string::npos;
    return known ? std::string() : "one of " + words + " is wanted, not " + text;
  };
}

// A value that `parse` takes.
template <class Parsed>
Validator parsed_by(Result<Parsed> (*parse)(std::string_view)) {
  return [parse](const std::string& text) {
    const auto parsed = parse(text);
    return parsed ? std::string() : parsed.error().what;
  };
}

// A path is looked into when the settings are made.
Validator path_or(Validator entry) {
  return [entry = std::move(entry)](const std::string& text) { return text.starts_with('/') ? std::string() : entry(text); };
}

std::string recipient_fault(const std::string& text) {
  const auto added = Recipients().add(text);
  return added ? std::string() : added.error().what;
}

std::string domain_fault(const std::string& text) {
  const auto domain = parse_domain(text);
  return domain ? std::string() : domain.error().what;
}

// Dovecot has no TLS for its policy services.
Result<Endpoint> parse_policy_endpoint(std::string_view text) {
  auto endpoint = parse_lmtp_endpoint(text);
  const auto* tcp = endpoint ? std::get_if<TcpEndpoint>(&*endpoint) : nullptr;
  if (tcp && tcp->tls) return fail(Errc::malformed, "HOST:PORT or unix:/PATH is wanted, not " + std::string(text));
  return endpoint;
}

std::string address_fault(const std::string& text) {
  const bool one = text.find('/') == std::string::npos && parse_network(text);
  return one ? std::string() : "an IPv4 or IPv6 address is wanted, not " + text;
}

void declare(CLI::App& app, Values& values) {
  // The first sentence of a text is for --help; how it is marked up: app/manual.hpp.
  const auto row = [&app](const char* name, auto& value, const char* type, const Validator& validator, const char* text) {
    CLI::Option* option = app.add_option(name, value, text)->type_name(type)->capture_default_str();
    if (const std::string none = option->get_default_str(); none == "[]" || none == "{}")
      option->default_str("");  // CLI11's words for an empty list, before and since 2.3
    if (validator) option->check(validator);
    return option;
  };
  row("--rspamd", values.rspamd, "ENDPOINT[,priority=N][,key=KEY]", parsed_by(rspamd::parse_upstream),
      "Where a worker of rspamd listens: `http://HOST[:PORT]`, `https://HOST:PORT` or `unix:/PATH`. The host is a name, an IPv4 "
      "address, or an IPv6 "
      "address between brackets; the port is 11333 when left out. Of several, those of the highest priority get the mail in "
      "turn, and the others when none of those is up; the priority is 0 when left out, and 1000 at most. See `Servers` below.")
      ->allow_extra_args(false)
      ->default_str(values.rspamd[0]);
  row("--rspamd-key", values.rspamd_key, "KEY", parsed_by(rspamd::httpcrypt::parse_key),
      "The public key of rspamd's workers: what they are asked is encrypted. It is what `rspamadm keypair` shows as `pubkey`; "
      "`key=` after an endpoint is the key of that one alone. See `Encryption` below.");
  app.add_flag("--compress", values.compress,
               "Send mail to rspamd compressed with zstd. It pays over a network, and only costs time on one host.");
  row("--rspamd-ca", values.rspamd_ca, "FILE", {},
      "Whose certificates the https servers may have, in PEM. Without this option those the system trusts.");
  row("--rspamd-name", values.rspamd_name, "NAME", {},
      "The name in the certificate of each https server. Without this option it is the host in its endpoint.");
  row("--rspamd-cert", values.rspamd_cert, "FILE", {},
      "A certificate to show to https servers, with its chain, in PEM. It goes with `--rspamd-cert-key`.");
  row("--rspamd-cert-key", values.rspamd_cert_key, "FILE", {},
      "The private key of that certificate, in PEM. The filter's user must be able to read it.");
  row("--settings-id", values.settings_id, "[CLASS=]ID", parsed_by(parse_settings_id),
      "The settings rspamd is to use for a class of messages, or for all others. See `Classes` below. Without this option rspamd "
      "chooses.")
      ->allow_extra_args(false);
  row("--action", values.action, "NAME=DO", parsed_by(parse_action),
      "What is done about an action of rspamd's. The name as rspamd spells it, and one of `accept`, `header [NAME: VALUE]`, "
      "`subject [TEMPLATE]`, `tempfail [TEXT]` and `reject [CODE] [X.Y.Z] [TEXT]`; see `Verdicts` below.")
      ->allow_extra_args(false);
  row("--request-header", values.request_header, "HEADER", parsed_by(rspamd::parse_request_header),
      "Another header of each request to rspamd. Written `Name: value`; `Pass: all` for instance has rspamd compute all symbols "
      "even beyond "
      "the score for a reject. Those that the filter writes itself cannot be given. `Password` makes rspamd take the filter for "
      "rspamc, and "
      "leave out greylisting and rate limits.")
      ->expected(1, 32)
      ->allow_extra_args(false);
  row("--networks", values.networks, "CIDR|FILE", path_or(parsed_by(parse_network)),
      "Addresses that make up the class networks. An IPv4 or IPv6 address or network, or the absolute path of a file with one a "
      "line; what follows a `#` is a comment there. Their unknown recipients are counted by session alone, see `Recipients` "
      "below.")
      ->allow_extra_args(false);
  row("--recipients", values.recipients, "ADDRESS|@DOMAIN|FILE", path_or(recipient_fault),
      "Addresses that make up the class recipients. An address, all of a domain, or the absolute path of a file with one of "
      "these a line. Upper and lower case are the same.")
      ->allow_extra_args(false);
  row("--skip", values.skip, "CLASS", parsed_by(parse_class),
      "Accept messages of this class without a scan. See `Classes` below.")
      ->allow_extra_args(false);
  row("--connect-timeout", values.connect_timeout, "SECONDS", seconds_up_to(60),
      "How long reaching one server of rspamd may take. From 0.1 to 60.");
  row("--scan-timeout", values.scan_timeout, "SECONDS", seconds_up_to(600),
      "How long the whole scan may take, connecting included. From 0.1 to 600. Clients wait for a reply to their message for 10 "
      "minutes "
      "according to RFC 5321, but some give up after one.");
  row("--soften", values.soften, "CLASS", parsed_by(parse_class),
      "Accept and mark what would be refused for good in this class. See `Classes` below.")
      ->allow_extra_args(false);
  app.add_flag("--monitor", values.monitor,
               "Refuse nothing because of a verdict or a failure, and mark nothing as spam. Headers and the log tell what would "
               "have been done, see "
               "`Monitor mode` below.");
  row("--max-size", values.max_size, "SIZE", parsed_by(parse_size),
      "The largest message that is scanned. In bytes, or with K, M or G; see `Limits` below.");
  const char* const policies = "tempfail|accept|reject";
  row("--on-error", values.on_error, policies, one_of(policies),
      "What becomes of a message that could not be scanned. Refused for now, accepted with a header that says why, or refused "
      "for good, see `Failures` below; for all classes of failure but that of a message that is too large.");
  row("--on-unreachable", values.on_unreachable, policies, one_of(policies), "The same when rspamd cannot be reached.");
  row("--on-timeout", values.on_timeout, policies, one_of(policies), "The same when there is no verdict in time.");
  row("--on-http-error", values.on_http_error, policies, one_of(policies),
      "The same when rspamd answers with an HTTP status other than 200. Or when it closes the connection twice before its reply "
      "is "
      "whole, as it does with a message larger than its `max_message`.");
  row("--on-unreadable", values.on_unreadable, policies, one_of(policies), "The same when rspamd's reply is no verdict.");
  row("--on-overload", values.on_overload, policies, one_of(policies),
      "The same when too many scans are under way. Or when this host is short of descriptors, memory or ports.");
  row("--on-too-large", values.on_too_large, policies, one_of(policies),
      "The same for a message that is larger than --max-size.");
  row("--max-scans", values.max_scans, "NUMBER", whole_number(1, 100'000),
      "How many messages may be with rspamd at once. The others wait, and clients take turns, so that one with many sessions "
      "does "
      "not hold up another. What a message waits counts in its `--scan-timeout`. There are fewer where "
      "descriptors do not suffice, see `Limits` below.");
  row("--max-queue", values.max_queue, "NUMBER", whole_number(0, 10'000),
      "How many messages may wait for rspamd. When one more comes, the newest message of the client with the most is not "
      "scanned, "
      "which is a failure of class overload.");
  row("--memory", values.memory, "SIZE", parsed_by(parse_size),
      "How much memory the messages being received and scanned may take together. In bytes, or with K, M or G. Beyond it they go "
      "on in files, see `--spool`.");
  row("--spool", values.spool, "DIRECTORY", {},
      "Where messages go that find no memory. Each has a file of its own there that has no name, is readable by its owner only, "
      "and is gone with the message. When the directory cannot hold it, that message is answered with a temporary failure. It "
      "is to be on a local disk: while that does not answer, nobody is answered. Read at start only.");
  row("--spam-headers", values.spam_headers, "milter|rspamc|filter-rspamd", one_of("milter|rspamc|filter-rspamd"),
      "The header fields by which Sieve is to know spam. See `Headers` below.");
  app.add_flag("--submission", values.submission,
               "Do what smtpd does to submitted mail after its filters already before the scan, so that a signature covers it. "
               "See `Submission` below.");
  row("--lmtp", values.lmtp, "ENDPOINT", parsed_by(parse_lmtp_endpoint),
      "Where Dovecot takes mail over LMTP: `unix:/PATH`, `HOST:PORT`, or `lmtps://HOST:PORT` for TLS from the first byte. Of "
      "several, the first that answers is used. See `Dovecot` below.")
      ->allow_extra_args(false);
  row("--lmtp-connections", values.lmtp_connections, "NUMBER", whole_number(1, 1000),
      "How many connections to Dovecot there may be at once. Each is a process there. When there are at least two, one is kept "
      "for questions about recipients.");
  row("--lmtp-source", values.lmtp_source, "ADDRESS", address_fault,
      "The address that TCP connections to `--lmtp` come from. Without this option the system chooses.");
  app.add_flag("--lmtp-starttls", values.lmtp_starttls,
               "Speak no LMTP without TLS. A server that does not offer STARTTLS is not used; over a unix socket it goes with "
               "`--lmtp-name`.");
  row("--lmtp-ca", values.lmtp_ca, "FILE", {},
      "Whose certificates the LMTP servers may have, in PEM. Without this option those the system trusts.");
  row("--lmtp-name", values.lmtp_name, "NAME", {},
      "The name in the certificate of each LMTP server. Without this option it is the host in its endpoint.");
  row("--lmtp-cert", values.lmtp_cert, "FILE", {},
      "A certificate to show to LMTP servers, with its chain, in PEM. It goes with `--lmtp-cert-key`.");
  row("--lmtp-cert-key", values.lmtp_cert_key, "FILE", {},
      "The private key of that certificate, in PEM. The filter's user must be able to read it.");
  row("--verify", values.verify, "DOMAIN|FILE", path_or(domain_fault),
      "Ask Dovecot about recipients of this domain before they are accepted. A domain, or the absolute path of a file with one a "
      "line. It goes with `--lmtp` or `--quota-status`, and whether there is any is read at start only; see `Recipients` below.")
      ->allow_extra_args(false);
  row("--quota-status", values.quota_status, "ENDPOINT", parsed_by(parse_policy_endpoint),
      "Where Dovecot's policy service quota-status listens: `HOST:PORT` or `unix:/PATH`. It is asked about recipients instead of "
      "`--lmtp`, for it knows whether there is room for a message of that size.");
  row("--unknown", values.unknown, "refuse|smtpd", one_of("refuse|smtpd"),
      "Refuse recipients that Dovecot does not know, or leave them to smtpd. With aliases in smtpd.conf it must be left to "
      "smtpd: "
      "it expands them later.");
  row("--full", values.full, "tempfail|reject", one_of("tempfail|reject"),
      "Refuse what has no room in a mailbox for now, or for good.");
  row("--verify-timeout", values.verify_timeout, "SECONDS", seconds_up_to(60),
      "How long asking about one recipient may take. From 0.1 to 60.");
  row("--unverified", values.unverified, "accept|tempfail", one_of("accept|tempfail"),
      "Accept recipients about which Dovecot does not answer, or refuse them for now. Once accepted, they are smtpd's to "
      "deliver.");
  row("--max-unknown", values.max_unknown, "NUMBER", whole_number(0, 1000),
      "How many unknown recipients a session may have before it is answered slower. After twice as many it is disconnected; with "
      "more than twice as many in all its sessions a client is answered slower in each. 0 is no end. See `Recipients` below.");
  app.add_flag("--deliver", values.deliver,
               "Deliver over LMTP while the client waits, to those recipients that Dovecot has accepted. It goes with `--lmtp`, "
               "`--verify` and `--mark-key`; see `Delivery in the session` below.");
  row("--deliver-timeout", values.deliver_timeout, "SECONDS", seconds_up_to(600),
      "How long the client may wait for that delivery, after the scan. From 0.1 to 600. A delivery that is not under way in half "
      "that time is left to smtpd's queue.");
  row("--mark-key", values.mark_key, "FILE", {},
      "The key by which lda2lmtp believes what the filter says has been delivered. A file with a key of at least 32 bytes, as "
      "`openssl rand -hex 32` prints it, that the filter and all agents can read; `lda2lmtp --mark-key` is given the same. Of "
      "several keys, one a line, the first seals. See `Keys` below.");
  app.add_flag("--allow-rewritten-body", values.allow_rewritten_body,
               "Let rspamd replace the body of a message. Without this option a body that its rules rewrote is only logged, see "
               "`Rewritten bodies` below.");
  row("--record", values.record, "DIRECTORY", {},
      "Write everything, mail included, to a transcript in this directory. All that is said between smtpd, rspamd and the filter "
      "goes to a "
      "new file `filter-mailbridge-PID-N.session` there; the filter's user must be able to write to the directory.\n"
      "The file holds whole messages and addresses; it is readable by its owner only (mode 0600). It grows until smtpd is "
      "restarted, so "
      "this is for a short while, to report or study a problem, and on a local disk: while that does not answer, nobody is "
      "answered. When it cannot be created, that is logged and mail goes on without it.");
  row("--log-target", values.log_target, "syslog|stderr", one_of("syslog|stderr"),
      "Log to syslog, facility mail, or to standard error. smtpd copies a filter's standard error to its own log, each line as "
      "an error.");
  row("--log-level", values.log_level, "debug|info|warn|error", one_of("debug|info|warn|error"),
      "The least important messages to log. From `warn` on, only the lines of messages that could not be scanned are left.");
  app.add_flag(
         "--check-config", values.check_config,
         "Say what is wrong with the other options and the configuration file, if anything, and exit. For the command line: in "
         "smtpd.conf it would end smtpd, and the configuration file does not know it.")
      ->configurable(false);
  row("--check", values.check, "ADDRESS", {},
      "The same, and then ask each server of rspamd what it thinks of a test spam, and each of Dovecot's about a recipient: "
      "this one, or one that probably nobody has. A line for each tells whether it answers and, of rspamd, would refuse that "
      "spam (GTUBE), or why not; and what is wrong with the file of `--mark-key`. The exit status is 1 if something is.")
      ->expected(0, 1)
      ->configurable(false);
}

Level level_of(const std::string& name) {
  if (name == "debug") return Level::debug;
  if (name == "warn") return Level::warn;
  return name == "error" ? Level::error : Level::info;
}

Duration seconds(double value) { return std::chrono::round<std::chrono::milliseconds>(std::chrono::duration<double>(value)); }

std::vector<GivenOption> given(const CLI::App& app) {
  std::vector<GivenOption> options;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_configurable()) continue;
    for (const std::string& value : option->results()) options.push_back({"--" + option->get_lnames()[0], value});
  }
  return options;
}

OnFailure on_failure(const Values& values) {
  const auto policy = [&](const std::string& own) { return parse_on_error(own.empty() ? values.on_error : own).value(); };
  return {policy(values.on_unreachable), policy(values.on_timeout),  policy(values.on_http_error),
          policy(values.on_unreadable),  policy(values.on_overload), policy(values.on_too_large)};
}

// Entries, or files of them.
Result<void> take_entries(const std::string& option, const std::vector<std::string>& values,
                          const std::function<Result<void>(std::string_view)>& take) {
  for (const std::string& value : values) {
    const bool path = value.starts_with('/');
    const Result<std::string> text = path ? app::read_file(value) : value;
    const Result<void> taken = !text ? tl::unexpected(text.error()) : path ? parse_list(*text, value, take) : take(*text);
    if (!taken) return fail(taken.error().code, printable(option + ": " + taken.error().what, 200));
  }
  return {};
}

Result<ClassSettings> class_settings(const Values& values) {
  ClassSettings settings;
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
  for (const std::string& word : values.skip) settings.skip.insert(parse_class(word).value());
  for (const std::string& word : values.soften) settings.soften.insert(parse_class(word).value());
  for (const std::string& text : values.settings_id) {
    auto [which, id] = parse_settings_id(text).value();
    (which ? settings.class_settings_id[static_cast<std::size_t>(*which)] : settings.settings_id) = std::move(id);
  }
  return settings;
}

// Who is verified, and what becomes of whom Dovecot does not take.
Result<void> take_recipients(const Values& values, AppSettings& settings) {
  const auto taken = take_entries("--verify", values.verify, [&](std::string_view entry) -> Result<void> {
    auto domain = parse_domain(entry);
    if (!domain) return tl::unexpected(std::move(domain.error()));
    settings.engine.verify.domains.insert(std::move(*domain));
    return {};
  });
  if (!taken) return taken;
  if (!values.verify.empty() && values.lmtp.empty() && values.quota_status.empty())
    return fail(Errc::malformed, "--verify goes with --lmtp or --quota-status");
  if (!values.quota_status.empty()) settings.quota_status = parse_policy_endpoint(values.quota_status).value();
  settings.engine.verify.sizes = settings.quota_status.has_value();
  settings.engine.verify.timeout = seconds(values.verify_timeout);
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

// A key that is there is looked at with or without --deliver.
Result<void> take_delivery(const Values& values, AppSettings& settings) {
  if (values.deliver && (values.lmtp.empty() || values.verify.empty() || values.mark_key.empty()))
    return fail(Errc::malformed, "--deliver goes with --lmtp, --verify and --mark-key");
  if (values.mark_key.empty()) return {};
  const auto text = app::read_file(values.mark_key);
  if (!text) return fail(text.error().code, "--mark-key: " + text.error().what);
  auto keys = lmtp::MarkKeys::parse(*text);
  if (!keys) return fail(keys.error().code, "--mark-key: " + values.mark_key + ": " + keys.error().what);
  settings.mark_key_file = values.mark_key;
  settings.mark_keys = std::move(*keys);
  if (values.deliver) settings.engine.delivery = DeliverySettings{settings.mark_keys, seconds(values.deliver_timeout)};
  return {};
}

Result<AppSettings> settings_of(const Values& values) {
  AppSettings settings;
  if (auto taken = take_recipients(values, settings); !taken) return tl::unexpected(std::move(taken.error()));
  if (auto taken = take_lmtp(values, settings.lmtp); !taken) return tl::unexpected(std::move(taken.error()));
  if (auto taken = take_delivery(values, settings); !taken) return tl::unexpected(std::move(taken.error()));
  auto classes = class_settings(values);
  if (!classes) return tl::unexpected(std::move(classes.error()));
  settings.engine.classes = std::move(*classes);
  if (constexpr std::size_t most = rspamd::Upstreams::max_count; values.rspamd.size() > most) {
    return fail(Errc::too_large, "--rspamd: " + std::to_string(most) + " servers at most");
  }
  settings.upstreams.clear();
  for (const std::string& text : values.rspamd) settings.upstreams.push_back(rspamd::parse_upstream(text).value());
  if (!values.rspamd_key.empty()) {
    const auto key = rspamd::httpcrypt::parse_key(values.rspamd_key).value();
    for (rspamd::Upstream& upstream : settings.upstreams) upstream.key = upstream.key.value_or(key);
  }
  settings.compress = values.compress;
  if (values.rspamd_cert.empty() != values.rspamd_cert_key.empty()) {
    return fail(Errc::malformed, "--rspamd-cert and --rspamd-cert-key go together");
  }
  settings.tls_files = {values.rspamd_ca, values.rspamd_cert, values.rspamd_cert_key};
  settings.tls_name = values.rspamd_name;
  for (const std::string& text : values.request_header) {
    settings.engine.request_headers += rspamd::parse_request_header(text).value();
  }
  settings.engine.scan_timeout = seconds(values.scan_timeout);
  settings.engine.policy.on_failure = on_failure(values);
  for (const std::string& text : values.action) {
    auto [name, rule] = parse_action(text).value();
    settings.engine.policy.actions.set(std::move(name), std::move(rule));
  }
  settings.engine.max_size = parse_size(values.max_size).value();
  settings.engine.policy.spam_headers = parse_spam_headers(values.spam_headers).value();
  settings.engine.monitor = values.monitor;
  settings.engine.allow_rewritten_body = values.allow_rewritten_body;
  settings.engine.submission = values.submission;
  settings.connect_timeout = seconds(values.connect_timeout);
  settings.engine.max_scans = values.max_scans;
  settings.engine.max_queue = values.max_queue;
  settings.engine.memory = parse_size(values.memory).value();
  settings.engine.spool = values.spool;
  settings.record_directory = values.record;
  settings.log_target = values.log_target == "stderr" ? net::LogTarget::stderr_stream : net::LogTarget::syslog;
  settings.log_level = level_of(values.log_level);
  return settings;
}

constexpr const char* what_it_is = "OpenSMTPD filter that asks rspamd and Dovecot";

}  // namespace

bool LmtpSettings::wants_tls() const {
  const auto whole = [](const Endpoint& server) {
    const auto* tcp = std::get_if<TcpEndpoint>(&server);
    return tcp && tcp->tls;
  };
  return (starttls && !servers.empty()) || std::any_of(servers.begin(), servers.end(), whole);
}

Result<std::variant<AppSettings, Text>> read_settings(int argc, const char* const* argv) {
  Values values;
  CLI::App app(what_it_is, "filter-mailbridge");
  declare(app, values);
  app::shorten_help(app);
  auto text = app::read_options(app, argc, argv);
  if (!text) return tl::unexpected(std::move(text.error()));
  if (*text) return Text{std::move(**text)};
  auto settings = settings_of(values);
  if (!settings) return tl::unexpected(std::move(settings.error()));
  settings->check_recipient = values.check;
  settings->given = given(app);
  return std::move(*settings);
}

Result<AppSettings> read_settings(const std::vector<GivenOption>& given) {
  std::vector<std::string> words{"filter-mailbridge"};
  for (const auto& [name, value] : given) {
    if (name == "--config") return fail(Errc::malformed, "--config is not to be read again");
    words.push_back(name + "=" + value);
  }
  std::vector<const char*> argv;
  argv.reserve(words.size());
  for (const std::string& word : words) argv.push_back(word.c_str());
  auto read = read_settings(static_cast<int>(argv.size()), argv.data());
  if (!read) return tl::unexpected(std::move(read.error()));
  if (auto* settings = std::get_if<AppSettings>(&*read)) return std::move(*settings);
  return fail(Errc::malformed, "an option that only prints text");
}

std::string describe_options(app::Description description) {
  Values values;
  CLI::App app(what_it_is, "filter-mailbridge");
  declare(app, values);
  const char* argv[] = {"filter-mailbridge"};
  (void)app::read_options(app, 1, argv);  // declares --config and --version
  return app::describe(app, description);
}

}  // namespace mailbridge::filter
