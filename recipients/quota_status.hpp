// Asks Dovecot's quota-status (src/plugins/quota/quota-status.c) whether a user exists, and whether there is room for a message
// of this size. It speaks Postfix's policy protocol.
//
//   asking ──► awaiting ──► done        we speak first; an empty line ends what either side says; it can be used again
//     ▲            │
//     └────────────┘                    once more, about the smallest message, if the answer about a larger one was empty
//
// Dovecot 2.4 gives an empty answer (`action=`) about a message that is larger than the whole quota, unless quota_status_toolarge
// is set. If the smallest message is welcome then, the size was the reason.
//
// A connection that is kept may be dead, and that shows when it is used. Then the question is asked once more, over a new one.
//
// The texts of its replies are settings. So the enhanced code counts first, then the code, and the words only if there is
// neither. Dovecot remembers the size of the last question on a connection, so every question names a size. It takes 0 for 1.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/conversation.hpp"
#include "base/line_buffer.hpp"
#include "recipients/mailbox.hpp"

namespace mailbridge::recipients {

// The meaning of the text that follows "action=": a word or code of Postfix's access(5), and words. Unsure if it is empty or
// unknown.
Found found(std::string_view action);

class QuotaStatus {
 public:
  // `recipient` must have passed lmtp::address_fault(). `size` is in bytes.
  QuotaStatus(std::string_view recipient, std::size_t size, TimePoint until);

  Step next(TimePoint now);
  void sent(std::size_t n);
  void receive(std::string_view bytes);
  void end(const Ending& ending);

  // To be called when the machine is Done.
  const Found& result() const { return *result_; }
  bool reusable() const { return in_sync_; }
  // True if the connection ended before the server said anything. If it had served before, a fresh one is worth a try.
  bool stale() const { return stale_; }

 private:
  void ask(std::size_t size);
  void on_line(std::string_view line, bool cut);
  void on_reply(std::string_view action);
  void give_up(std::string why);

  static constexpr std::size_t max_line = 2048;  // bytes of a line of the reply; enough for any text of access(5)
  static constexpr std::size_t max_lines = 20;

  std::string recipient_;
  std::size_t size_ = 0;       // that is asked about
  bool said_nothing_ = false;  // the answer about the larger size was empty
  std::string request_;
  std::size_t sent_ = 0;
  TimePoint until_;
  LineBuffer lines_{max_line};
  std::size_t count_ = 0;
  std::optional<std::string> action_;
  std::optional<Found> result_;
  bool in_sync_ = false;
  bool stale_ = false;
};

static_assert(Conversation<QuotaStatus>);

// The attempts of one question. The driver does what next() says, reports what came of it, and asks again.
class QuotaAttempts {
 public:
  enum class Next {
    use_kept,  // converse over the kept connection, then ended()
    connect,   // not_connected(), or converse, then ended()
    done,      // result() is final
  };

  // `kept`: there is a connection from an earlier question.
  explicit QuotaAttempts(bool kept) : kept_(kept) {}

  Next next() const { return result_ ? Next::done : kept_ ? Next::use_kept : Next::connect; }
  // `ours`: see Found.
  void not_connected(std::string_view why, bool ours);
  void ended(const QuotaStatus& question);

  const Found& result() const { return *result_; }  // when done
  bool fresh() const { return !kept_; }             // the last connection was a new one

 private:
  bool kept_;  // and not found to be dead
  std::optional<Found> result_;
};

}  // namespace mailbridge::recipients
