#include "lmtp/options.hpp"

#include <cmath>
#include <initializer_list>
#include <utility>

#include <CLI/CLI.hpp>

#include "app/manual.hpp"
#include "app/options.hpp"

namespace mailbridge::lmtp {
namespace {

// A value of -s or -r that holds '@' is an address, also when it looks like an option: with `-s %{sender}` in smtpd.conf a
// stranger chooses that word, and must not choose our options.
std::vector<std::string> with_addresses_bound(const std::vector<std::string>& argv) {
  std::vector<std::string> bound;
  for (std::size_t i = 0; i < argv.size(); ++i) {
    const bool sender = argv[i] == "-s" || argv[i] == "--sender";
    const bool receiver = argv[i] == "-r" || argv[i] == "--receiver";
    if (i > 0 && (sender || receiver) && i + 1 < argv.size() && argv[i + 1].find('@') != std::string::npos) {
      bound.push_back((sender ? "--sender=" : "--receiver=") + argv[i + 1]);
      ++i;
    } else {
      bound.push_back(argv[i]);
    }
  }
  return bound;
}

std::string without_brackets(std::string address) {
  if (address.size() >= 2 && address.front() == '<' && address.back() == '>') return address.substr(1, address.size() - 2);
  return address;
}

// As written; each has passed its validator.
struct Values {
  std::string sender, receiver;
  std::string lmtp = std::string(default_endpoint);
  std::string rcpt = "recipient";
  bool strip_detail = false;
  std::string delimiter = "+";
  std::string fold = "domain";
  std::string unknown = "permanent", quota = "permanent", oversize = "answered";
  std::string bare_cr = "keep";
  std::string spool = "/var/tmp";
  double timeout = static_cast<double>(max_time.count());
  bool keep_trace = false;
};

// Says what is wrong with a value, or nothing.
using Validator = std::function<std::string(const std::string&)>;

// One of the words of a value named "a|b|c".
Validator one_of(const char* words) {
  return [words](const std::string& text) {
    const std::string all = "|" + std::string(words) + "|";
    const bool known = text.find('|') == std::string::npos && all.find("|" + text + "|") != std::string::npos;
    return known ? std::string() : "one of " + std::string(words) + " is wanted, not " + text;
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

std::string timeout_fault(const std::string& text) {
  double seconds = 0;
  const bool valid = CLI::detail::lexical_cast(text, seconds) && std::isfinite(seconds) && seconds >= 0.1 && seconds <= 290;
  return valid ? std::string() : "a number of seconds from 0.1 to 290 is wanted, not " + text;
}

struct Addresses {
  const CLI::Option* sender;
  const CLI::Option* receiver;
};

Addresses declare(CLI::App& app, Values& values) {
  // The first sentence of a text is for --help; how it is marked up: app/manual.hpp.
  const auto row = [&app](const char* name, auto& value, const char* type, const Validator& validator, const char* text) {
    CLI::Option* option = app.add_option(name, value, text)->type_name(type)->capture_default_str();
    if (validator) option->check(validator);
    return option;
  };
  Addresses addresses{};
  addresses.sender =
      row("-s,--sender", values.sender, "ADDR", {},
          "The envelope sender. An empty or missing value is the null sender. Without this option it is `SENDER` of "
          "the environment.")
          ->expected(0, 1);
  addresses.receiver = row("-r,--receiver", values.receiver, "ADDR", {},
                           "The envelope recipient. Without this option it is `RECIPIENT` of the environment.");
  row("-l,--lmtp", values.lmtp, "ENDPOINT", parsed_by(parse_lmtp_endpoint),
      "Where the server listens: `/PATH`, `unix:/PATH`, `HOST:PORT` or `[V6]:PORT`. A host name is looked up in `/etc/hosts` and "
      "DNS for each mail, whatever `nsswitch.conf` says; all its addresses are tried in turn.");
  row("--rcpt", values.rcpt, "recipient|user|TEMPLATE", parsed_by(parse_rcpt_form),
      "What the server is given as the recipient. The recipient as it is, the name in `USER` of the environment with the "
      "recipient's +detail, or a text with parts between braces: `{user}`; `{local}`, `{detail}` and `{domain}` of the "
      "recipient; `{+detail}` and `{@domain}`, which are nothing without a detail or domain. So "
      "`{local}{+detail}@mail.example.org` "
      "replaces the domain.\n"
      "Up to smtpd 7.2 `USER` is the system user that the agent runs as; give `-r %{user.username}` there.");
  app.add_flag("--strip-detail", values.strip_detail, "Leave the recipient's +detail out.");
  row("--delimiter", values.delimiter, "CHARACTERS", {},
      "What a detail begins with. The first of these characters in the local part; as Dovecot's `recipient_delimiter`.");
  row("--fold", values.fold, "none|domain|all", one_of("none|domain|all"),
      "What of the recipient is written in small letters. With `all` the local part, too, but never the detail, which names a "
      "mailbox.");
  row("--unknown", values.unknown, "permanent|temporary", one_of("permanent|temporary"),
      "Whether a mail to a recipient that the server does not know bounces at once. With `temporary` smtpd tries again until the "
      "mail expires.");
  row("--quota", values.quota, "permanent|temporary", one_of("permanent|temporary"),
      "The same for a mailbox that the server says is full. What the server says will pass is temporary in any case.");
  row("--oversize", values.oversize, "answered|permanent|temporary", one_of("answered|permanent|temporary"),
      "The same for a mail that is larger than the server ever takes. Dovecot up to 2.4.2 answers that with 451, so it is tried "
      "for days and bounces then; with `permanent` it bounces at once, with `answered` the server's code decides.");
  row("--bare-cr", values.bare_cr, "keep|blank", one_of("keep|blank"),
      "What becomes of a CR that ends no line. It is delivered as it is, or as a blank, as Postfix does it: some readers take "
      "it for a line end, and then see another mail than the one that was scanned.");
  row("--spool", values.spool, "DIRECTORY", {},
      "Where a mail goes on that is larger than 8 MiB. It has a file of its own there that has no name, is readable by its owner "
      "only, and is gone with the agent.");
  row("--timeout", values.timeout, "SECONDS", timeout_fault,
      "How long the whole delivery may take. From 0.1 to 290. The final dot, which makes the server deliver, leaves within the "
      "first five sixths of this time or never; see `CAVEATS`.");
  app.add_flag("--keep-trace", values.keep_trace, "Keep smtpd's Return-Path and Delivered-To lines.");
  return addresses;
}

Addressing addressing_of(const Values& values) {
  return {parse_rcpt_form(values.rcpt).value(), values.strip_detail, values.delimiter,
          values.fold == "none"  ? Folding::none
          : values.fold == "all" ? Folding::all
                                 : Folding::domain};
}

Policies policies_of(const Values& values) {
  using Oversize = Policies::Oversize;
  return {values.unknown == "temporary", values.quota == "temporary",
          values.oversize == "permanent"   ? Oversize::permanent
          : values.oversize == "temporary" ? Oversize::later
                                           : Oversize::answered};
}

constexpr const char* what_it_is = "Delivers the mail on standard input over LMTP.";

}  // namespace

Result<std::variant<Request, Text>> read_request(const std::vector<std::string>& argv, const Environment& environment) {
  Values values;
  CLI::App app(what_it_is, "lda2lmtp");
  const Addresses given = declare(app, values);
  app::shorten_help(app);
  const std::vector<std::string> words = with_addresses_bound(argv);
  std::vector<const char*> pointers;
  pointers.reserve(words.size());
  for (const std::string& word : words) pointers.push_back(word.c_str());
  auto read = app::read_options(app, static_cast<int>(pointers.size()), pointers.data());
  if (!read) return tl::unexpected(std::move(read.error()));
  if (*read) return Text{std::move(**read)};

  if (given.sender->count() == 0) {
    if (!environment.sender) return fail(Errc::malformed, "no sender: neither --sender nor SENDER in the environment");
    values.sender = *environment.sender;
  }
  if (given.receiver->count() == 0) values.receiver = environment.recipient.value_or("");
  Request request;
  request.sender = without_brackets(std::move(values.sender));
  if (const auto fault = address_fault(request.sender); !fault.empty())
    return fail(Errc::malformed, "sender: " + std::string(fault));
  const std::string recipient = without_brackets(std::move(values.receiver));
  if (recipient.empty()) return fail(Errc::malformed, "no recipient: neither --receiver nor RECIPIENT in the environment");
  auto address = rcpt_address(recipient, environment.user, addressing_of(values));
  if (!address) return tl::unexpected(std::move(address.error()));
  request.recipient = std::move(*address);
  request.original = original_recipient(environment);
  request.lmtp = *parse_lmtp_endpoint(values.lmtp);
  request.timeout = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(values.timeout));
  request.keep_trace = values.keep_trace;
  request.spool = values.spool;
  request.blank_bare_cr = values.bare_cr == "blank";
  request.policies = policies_of(values);
  return request;
}

std::string options_manual() {
  Values values;
  CLI::App app(what_it_is, "lda2lmtp");
  declare(app, values);
  const char* argv[] = {"lda2lmtp"};
  (void)app::read_options(app, 1, argv);  // declares --config and --version
  return app::manual_list(app);
}

}  // namespace mailbridge::lmtp
