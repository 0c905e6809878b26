#include "filter/check.hpp"

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <asio/io_context.hpp>

#include "base/text.hpp"
#include "filter/scanner.hpp"
#include "mail/message.hpp"
#include "rspamd/scan_request.hpp"

namespace mailbridge::filter {
namespace {

// In two parts, so that nobody takes this program for spam.
constexpr const char* gtube[] = {"XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"};
constexpr std::size_t max_shown = 300;

std::shared_ptr<mail::Message> test_spam() {
  const auto message = std::make_shared<mail::Message>();
  for (const char* line : {"Subject: test of filter-mailbridge", "From: postmaster@localhost", "To: postmaster@localhost", ""}) {
    message->append_line(line);
  }
  message->append_line(std::string(gtube[0]) + gtube[1]);
  return message;
}

rspamd::ScanResult scan(const rspamd::Upstream& server, const AppSettings& settings) {
  asio::io_context io;
  std::optional<rspamd::ScanResult> result;
  Scanner scanner(io, {server}, {settings.connect_timeout, settings.compress, settings.tls, settings.tls_name},
                  {Clock::now, [](ScanId, char, std::string_view, TimePoint) {},
                   [&](ScanId, const rspamd::ScanResult& ended, std::string_view, TimePoint) {
                     result = ended;
                     io.stop();
                   }});
  mail::Envelope envelope;
  envelope.ip = "127.0.0.1";
  envelope.recipients = {"postmaster@localhost"};
  rspamd::ScanRequest request =
      rspamd::scan_request(envelope, {settings.engine.classes.settings_id, "check", settings.engine.request_headers});
  scanner.start({1, std::move(request.headers), test_spam(), Clock::now() + settings.engine.scan_timeout, std::nullopt});
  io.run();
  if (!result) return tl::unexpected(rspamd::ScanFailure{rspamd::ScanFailure::Kind::unreachable, "the scan did not end"});
  return std::move(*result);
}

}  // namespace

bool check_servers(const AppSettings& settings) {
  bool all = true;
  for (const rspamd::Upstream& server : settings.upstreams) {
    const TimePoint begun = Clock::now();
    const rspamd::ScanResult result = scan(server, settings);
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun).count();
    const bool refused = result && result->action == "reject";
    std::string line = to_string(server.endpoint) + ": ";
    if (!result) line += std::string(to_string(result.error().kind)) + ": " + result.error().what;
    else if (refused) line += "OK, refuses the test spam (" + std::to_string(took) + " ms)";
    else line += "answers, but with \"" + result->action + "\" to the test spam GTUBE";
    std::printf("%s\n", header_line(line, max_shown).c_str());
    all = all && refused;
  }
  return all;
}

}  // namespace mailbridge::filter
