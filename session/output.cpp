#include "session/output.hpp"

#include <utility>

#include "base/dot_stuffing.hpp"
#include "smtpd/line.hpp"

namespace mailbridge::session {
namespace {

// Enough to fill smtpd's socket; a message being written needs no second copy of itself.
constexpr std::size_t output_window = 64 * 1024;
// A larger message lets the others go first after this many bytes.
constexpr std::size_t output_turn = std::size_t{1024} * 1024;
// A line that begins in the window may end beyond it by this much.
constexpr std::size_t longest_line = 128 * 1024;

}  // namespace

Output::Output() { out_.reserve(output_window + longest_line); }

void Output::registrations(bool recipients) { smtpd::append_registrations(out_, recipients); }

void Output::answer(std::string_view kind, smtpd::Version version, std::string_view session, std::string_view token,
                    std::string_view what, std::string_view text) {
  out_.reserve(out_.size() + kind.size() + session.size() + token.size() + what.size() + text.size() + 4);
  smtpd::append_answer_prefix(out_, kind, smtpd::dialect_of(version), session, token);
  out_ += what;
  out_ += text;
  out_ += '\n';
}

void Output::message(std::uint64_t session_key, smtpd::Version version, std::string_view session, std::string_view token,
                     std::string head, std::shared_ptr<const mail::Message> message, std::size_t from) {
  std::string prefix;
  smtpd::append_answer_prefix(prefix, "filter-dataline", smtpd::dialect_of(version), session, token);
  messages_.push_back({session_key, std::move(prefix), std::move(head), 0, std::move(message), from});
}

void Output::drop(std::uint64_t session_key) {
  std::erase_if(messages_, [&](const OutgoingMessage& outgoing) { return outgoing.session_key == session_key; });
}

std::string_view Output::window(const std::function<void(std::uint64_t, const mail::Message&)>& lost) {
  while (!messages_.empty() && has_room()) {
    if (out_from_ > 0) {
      out_.erase(0, out_from_);
      out_from_ = 0;
    }
    OutgoingMessage& outgoing = messages_.front();
    const std::string_view piece = next_piece(outgoing);
    if (piece.empty()) {
      if (outgoing.message && outgoing.message->failed()) lost(outgoing.session_key, *outgoing.message);
      end(outgoing);
      messages_.pop_front();
      continue;
    }
    append_lines(outgoing, piece);
    if (outgoing.turn < output_turn) continue;
    outgoing.turn = 0;
    messages_.splice(messages_.end(), messages_, messages_.begin());
  }
  return std::string_view(out_).substr(out_from_);
}

void Output::written(std::size_t n) {
  out_from_ += n;
  if (out_from_ < out_.size()) return;
  out_.clear();
  out_from_ = 0;
}

bool Output::has_room() const { return out_.size() - out_from_ < output_window; }

std::string_view Output::next_piece(const OutgoingMessage& outgoing) const {
  if (outgoing.head_offset < outgoing.head.size()) return std::string_view(outgoing.head).substr(outgoing.head_offset);
  return outgoing.message ? outgoing.message->from(outgoing.offset) : std::string_view();
}

void Output::append_lines(OutgoingMessage& outgoing, std::string_view piece) {
  std::size_t& offset = outgoing.head_offset < outgoing.head.size() ? outgoing.head_offset : outgoing.offset;
  const std::size_t before = offset;
  while (!piece.empty() && has_room()) {
    const std::size_t lf = piece.find('\n');
    out_.reserve(out_.size() + outgoing.prefix.size() + lf + 2);
    const std::string_view line = piece.substr(0, lf - 1);
    out_ += outgoing.prefix;
    if (needs_dot(line)) out_ += '.';
    out_ += line;
    out_ += '\n';
    offset += lf + 1;
    piece.remove_prefix(lf + 1);
  }
  outgoing.turn += offset - before;
}

void Output::end(const OutgoingMessage& outgoing) {
  out_.reserve(out_.size() + outgoing.prefix.size() + 2);
  out_ += outgoing.prefix;
  out_ += ".\n";
}

}  // namespace mailbridge::session
