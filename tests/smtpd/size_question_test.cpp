#include "smtpd/size_question.hpp"

#include <string>

#include <gtest/gtest.h>

namespace mailbridge::smtpd {
namespace {

const TimePoint now(std::chrono::hours(1));
const TimePoint until = now + std::chrono::seconds(2);

std::string sent_by(SizeQuestion& question) {
  const Step step = question.next(now);
  if (const auto* send = std::get_if<Send>(&step)) {
    std::string bytes(send->bytes);
    question.sent(bytes.size());
    return bytes;
  }
  return std::holds_alternative<Done>(step) ? "(done)" : "";
}

TEST(SizeQuestionTest, SaysEhloAndLeaves) {
  const std::string banner = "220 mail.example.org ESMTP OpenSMTPD\r\n";
  const std::string reply = "250-mail.example.org Hello localhost\r\n250-8BITMIME\r\n250-SIZE 36700160\r\n250 HELP\r\n";
  SizeQuestion question(until);
  std::string said;
  for (const std::string& words : {banner, reply}) {
    for (const char c : words) {  // however it arrives
      EXPECT_EQ(sent_by(question), "");
      EXPECT_EQ(std::get<Await>(question.next(now)).until, until);
      question.receive(std::string(1, c));
    }
    said += sent_by(question);
  }
  EXPECT_EQ(said, "EHLO localhost\r\nQUIT\r\n");
  EXPECT_EQ(sent_by(question), "(done)") << "its goodbye is not waited for";
}

TEST(SizeQuestionTest, EndsWhateverItHears) {
  for (const std::string words : {"421 too many\r\n", "550 no\r\n", "\x16\x03\x01\r\n", "220 hello\r\n500 what?\r\n"}) {
    SizeQuestion question(until);
    question.receive(words);
    EXPECT_EQ(sent_by(question), "(done)") << words;
  }
  SizeQuestion question(until);
  question.end({Ending::Kind::timed_out});
  EXPECT_EQ(sent_by(question), "(done)");
}

}  // namespace
}  // namespace mailbridge::smtpd
