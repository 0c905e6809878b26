// What becomes of a message that is to pass: smtpd's queue has it, or the mail store is given it while the client waits.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "session/transaction.hpp"

namespace mailbridge::session {

struct DeliveryPlan {
  enum class Kind {
    queue,    // smtpd has it, without a mark
    deliver,  // to `recipients`, before smtpd has it
    discard,  // nobody gets it: smtpd's copy is marked as if `recipients` had it already
    refuse,   // each recipient has had it before
  } kind = Kind::queue;
  std::vector<std::string> recipients = {};  // who can be delivered to, and marked; each once
  std::string_view objection = {};  // why it is not delivered now, as one word for the log; empty: it is, or --deliver is off
  std::unordered_set<std::string> came_back = {};  // recipients of whom smtpd would say that the mail has come back to them
};

// What is known besides the transaction.
struct DeliveryCircumstances {
  bool wanted = false;                  // --deliver
  std::optional<std::size_t> max_size;  // smtpd's limit of a message in bytes; none: it is not known
  bool store_is_silent = false;         // the mail store has not answered a moment ago
};

// Transaction::decision must be set.
DeliveryPlan plan_delivery(const Transaction& tx, const DeliveryCircumstances& circumstances);

// The number of recipients, each address counted once.
std::size_t distinct(const std::vector<std::string>& recipients);

}  // namespace mailbridge::session
