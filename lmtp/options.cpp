#include "lmtp/options.hpp"

#include <cmath>
#include <utility>

#include <CLI/CLI.hpp>

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

}  // namespace

Result<std::variant<Request, Text>> read_request(const std::vector<std::string>& argv, const Environment& environment) {
  CLI::App app("Delivers the mail on standard input over LMTP.", "lda2lmtp");
  std::string sender;
  std::string receiver;
  std::string lmtp(default_endpoint);
  double timeout = static_cast<double>(max_time.count());
  Request request;
  const auto* sender_option = app.add_option("-s,--sender", sender, "envelope sender; empty or missing value: the null sender")
                                  ->type_name("ADDR")
                                  ->expected(0, 1);
  const auto* receiver_option = app.add_option("-r,--receiver", receiver, "envelope recipient")->type_name("ADDR");
  app.add_option("-l,--lmtp", lmtp, "/path, unix:/path, host:port or [v6]:port")
      ->type_name("ENDPOINT")
      ->capture_default_str()
      ->check([](const std::string& text) {
        const auto endpoint = parse_lmtp_endpoint(text);
        return endpoint ? std::string() : endpoint.error().what;
      });
  app.add_option("--timeout", timeout, "seconds for the whole delivery")
      ->type_name("S")
      ->capture_default_str()
      ->check([](const std::string& text) {
        double seconds = 0;
        const bool valid = CLI::detail::lexical_cast(text, seconds) && std::isfinite(seconds) && seconds >= 0.1 && seconds <= 290;
        return valid ? std::string() : "a number of seconds from 0.1 to 290 is wanted, not " + text;
      });
  app.add_flag("--keep-trace", request.keep_trace, "keep smtpd's Return-Path and Delivered-To lines");

  const std::vector<std::string> words = with_addresses_bound(argv);
  std::vector<const char*> pointers;
  pointers.reserve(words.size());
  for (const std::string& word : words) pointers.push_back(word.c_str());
  auto read = app::read_options(app, static_cast<int>(pointers.size()), pointers.data());
  if (!read) return tl::unexpected(std::move(read.error()));
  if (*read) return Text{std::move(**read)};

  if (sender_option->count() == 0) {
    if (!environment.sender) return fail(Errc::malformed, "no sender: neither --sender nor SENDER in the environment");
    sender = *environment.sender;
  }
  if (receiver_option->count() == 0) receiver = environment.recipient.value_or("");
  request.sender = without_brackets(std::move(sender));
  request.recipient = without_brackets(std::move(receiver));
  if (request.recipient.empty())
    return fail(Errc::malformed, "no recipient: neither --receiver nor RECIPIENT in the environment");
  if (const auto fault = address_fault(request.sender); !fault.empty())
    return fail(Errc::malformed, "sender: " + std::string(fault));
  if (const auto fault = address_fault(request.recipient); !fault.empty())
    return fail(Errc::malformed, "recipient: " + std::string(fault));
  request.lmtp = *parse_lmtp_endpoint(lmtp);
  request.timeout = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(timeout));
  return request;
}

}  // namespace mailbridge::lmtp
