// What is done to submitted mail before the scan, on any header section: it stays one, nothing but what smtpd would change is
// changed, and doing it again changes nothing.
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/text.hpp"
#include "mail/headers.hpp"
#include "mail/submission.hpp"

namespace {

using namespace mailbridge;

void require(bool condition) {
  if (!condition) std::abort();
}

// Every line ended by CRLF, as a message has them.
std::string as_head(std::string_view text) {
  std::string head;
  while (!text.empty()) {
    const std::size_t lf = text.find('\n');
    std::string_view line = text.substr(0, lf);
    text.remove_prefix(lf == std::string_view::npos ? text.size() : lf + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) break;  // the header section ends here
    head.append(line).append("\r\n");
  }
  return head;
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  for (const std::string_view one : names) {
    if (iequals(name, one)) return true;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const bool escapes = (data[0] & 1) != 0;
  const bool completed = (data[0] & 2) != 0;
  const std::string head = as_head({reinterpret_cast<const char*>(data) + 1, size - 1});
  const std::string_view date = mail::received_date(head, "00000001");
  const mail::Submission submission{"mx.example.org", completed ? std::string_view("Sun, 1 Nov 2026 00:00:00 +0000 (UTC)") : "",
                                    completed ? "<1@mx.example.org>" : "", escapes, 65'485};
  require(date.empty() || head.find(date) != std::string::npos);
  const auto done = mail::as_submitted(head, submission);
  if (!done) return 0;
  require(*done != head);
  const mail::HeaderSection before = mail::parse_headers(head);
  const mail::HeaderSection after = mail::parse_headers(*done);
  require(after.size == done->size());
  std::size_t at = 0;
  for (const mail::Field& field : before.fields) {
    if (istarts_with(field.raw, "Bcc:")) continue;
    require(at < after.fields.size() && after.fields[at].name == field.name);
    if (!is_one_of(field.name, {"From", "To", "Cc"})) require(after.fields[at].raw == field.raw);
    ++at;
  }
  for (; at < after.fields.size(); ++at) require(completed && is_one_of(after.fields[at].name, {"Date", "Message-ID"}));
  require(!mail::as_submitted(*done, submission));
  for (std::size_t begin = 0, end = 0; (end = done->find("\r\n", begin)) != std::string::npos; begin = end + 2) {
    require(end > begin);
    require(end - begin <= 65'485 || head.find(done->substr(begin, end - begin)) != std::string::npos);
  }
  return 0;
}
