#include "wires/mailboxes.hpp"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <exception>
#include <string>
#include <utility>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/steady_timer.hpp>

#include "base/text.hpp"
#include "net/connect.hpp"
#include "net/converse.hpp"
#include "net/log.hpp"
#include "recipients/quota_status.hpp"

namespace mailbridge::wires {
namespace {

// Recipients of one probe. Dovecot looks for one after the other, and all of them wait for the last.
constexpr std::size_t max_batch = 50;
constexpr Duration names_are_kept = std::chrono::minutes(1);  // they can get other addresses at any time
constexpr const char* not_wanted = "the delivery is no longer wanted";
constexpr const char* no_turn = "no connection was free in time";
constexpr const char* no_resources = "out of resources";  // of ours: memory

void log_change(const std::string& server, std::string_view why) {
  std::string line;
  append_field(line, "lmtp", server);
  append_field(line, "state", why.empty() ? "up" : "down");
  if (!why.empty()) append_field(line, "reason", why);
  net::log(why.empty() ? Level::info : Level::warn, line);
}

// Connections of one kind and the look-ups that wait for them, all of these with one ticket. Who is served keeps it alive.
template <class Connection>
class Lane : public std::enable_shared_from_this<Lane<Connection>> {
 public:
  using Pool = lmtp::Pool<std::unique_ptr<Connection>>;
  using Turn = typename Pool::Turn;
  using Ticket = typename Pool::Ticket;

  Lane(asio::io_context& io, lmtp::PoolLimits limits, const Mailboxes::Hooks& hooks)
      : io_(io), hooks_(hooks), limits_(limits), pool_(limits), due_(io, TimePoint::max()) {}
  virtual ~Lane() = default;
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  void start(recipients::StartLookup command) {
    lookups_.push_back(std::move(command));
    if (!lookups_ticket_) lookups_ticket_ = pool_.wait(lmtp::Errand::brief);
    pump();
  }

  // Nobody new will come, and no connection is kept.
  void close() {
    limits_.uses = 1;
    pool_.use(limits_);
    leave_all(pool_.take_idle());
  }

 protected:
  virtual void begin(Turn turn) = 0;
  virtual void leave(Connection&) {}  // it is closed next
  // Who has waited too long is sent away; when that will be the case next.
  virtual std::optional<TimePoint> send_away(TimePoint) { return std::nullopt; }

  void pump() {
    const TimePoint now = Clock::now();
    const auto late = send_away(now);
    while (auto turn = pool_.next(now)) {
      const Ticket ticket = turn->ticket;
      try {
        begin(std::move(*turn));
      } catch (...) {  // no memory: who is not answered gives up by himself
        pool_.end(ticket);
        throw;
      }
    }
    auto due = pool_.next_expiry();
    if (late) due = std::min(due.value_or(*late), *late);
    if (!due || due_.expiry() == *due) return;
    due_.expires_at(*due);
    due_.async_wait([self = this->weak_from_this()](const asio::error_code& error) {
      const auto lane = self.lock();
      if (error || !lane) return;
      lane->due_.expires_at(TimePoint::max());
      lane->leave_all(lane->pool_.take_expired(Clock::now()));
      lane->pump();
    });
  }

  // The look-ups whose turn it is. Those that are late have no answer.
  std::vector<recipients::StartLookup> take_lookups(std::size_t most) {
    std::vector<recipients::StartLookup> taken;
    std::vector<recipients::LookupId> late;
    const TimePoint now = Clock::now();
    for (; !lookups_.empty() && taken.size() < most; lookups_.pop_front()) {
      if (lookups_.front().until <= now) late.push_back(lookups_.front().id);
      else taken.push_back(std::move(lookups_.front()));
    }
    lookups_ticket_.reset();
    if (!lookups_.empty()) lookups_ticket_ = pool_.wait(lmtp::Errand::brief);
    for (const recipients::LookupId id : late) hooks_.found(id, {recipients::Mailbox::unsure, no_turn}, hooks_.now());
    return taken;
  }

  // `connection`: that of the turn, unless it is fresh; null when it cannot serve again.
  void release(Ticket ticket, bool had_one, std::unique_ptr<Connection> connection, bool fresh) {
    if (had_one && fresh) leave_all(pool_.take_idle());  // it was stale, and so are those that were idle for longer
    if (connection) pool_.give_back(ticket, std::move(connection), fresh, Clock::now());
    else pool_.end(ticket);
  }

  // Runs `served`; `failed` when that could not be done for lack of memory or the like.
  template <class Failed>
  void spawn(Ticket ticket, asio::awaitable<void> served, Failed failed) {
    asio::co_spawn(io_, std::move(served),
                   [self = this->shared_from_this(), ticket, failed = std::move(failed)](const std::exception_ptr& thrown) {
                     if (thrown) {
                       self->pool_.end(ticket);
                       failed();
                     }
                     self->pump();
                   });
  }

  auto fail_lookups(const std::vector<recipients::StartLookup>& lookups) {
    std::vector<recipients::LookupId> ids;
    for (const recipients::StartLookup& lookup : lookups) ids.push_back(lookup.id);
    return [this, ids = std::move(ids)] {
      for (const recipients::LookupId id : ids) hooks_.found(id, {recipients::Mailbox::unsure, no_resources, true}, hooks_.now());
    };
  }

  void leave_all(std::vector<std::unique_ptr<Connection>> connections) {
    for (auto& connection : connections) leave(*connection);
  }

  asio::io_context& io_;
  const Mailboxes::Hooks& hooks_;
  lmtp::PoolLimits limits_;
  Pool pool_;

 private:
  asio::steady_timer due_;
  std::deque<recipients::StartLookup> lookups_;
  std::optional<Ticket> lookups_ticket_;
};

}  // namespace

class Mailboxes::LmtpLane : public Lane<wires::Servers::Connection> {
 public:
  LmtpLane(asio::io_context& io, const Ways& ways, const Hooks& hooks, std::map<recipients::DeliveryId, bool>& deliveries)
      : Lane(io, ways.limits, hooks),
        deliveries_(deliveries),
        servers_(io.get_executor(), ways.lmtp, ways.lmtp_ways),
        names_due_(io) {}

  using Lane::start;
  void start(recipients::StartDelivery command) {
    waiting_.emplace(pool_.wait(lmtp::Errand::lengthy), std::move(command));
    pump();
  }

  void keep_names_fresh() {
    if (!servers_.look_up_names()) return;
    names_due_.expires_after(names_are_kept);
    names_due_.async_wait([self = weak_from_this()](const asio::error_code& error) {
      if (const auto lane = self.lock(); lane && !error) static_cast<LmtpLane&>(*lane).keep_names_fresh();
    });
  }

 private:
  using Connection = wires::Servers::Connection;

  void leave(Connection& connection) override { wires::Servers::leave(connection); }

  std::optional<TimePoint> send_away(TimePoint now) override {
    std::optional<TimePoint> next;
    std::vector<recipients::StartDelivery> late;
    for (auto entry = waiting_.begin(); entry != waiting_.end();) {
      if (entry->second.dot_by <= now) {
        pool_.end(entry->first);
        late.push_back(std::move(entry->second));
        entry = waiting_.erase(entry);
      } else {
        next = std::min(next.value_or(entry->second.dot_by), entry->second.dot_by);
        ++entry;
      }
    }
    for (const recipients::StartDelivery& command : late) fail(command.id, command.transaction.recipients.size(), no_turn);
    return next;
  }

  void begin(Turn turn) override {
    const Ticket ticket = turn.ticket;
    if (auto waited = waiting_.extract(ticket)) {
      recipients::StartDelivery& command = waited.mapped();
      const recipients::DeliveryId id = command.id;
      const std::size_t recipients = command.transaction.recipients.size();
      return spawn(ticket, deliver(std::move(turn), std::move(command)),
                   [this, id, recipients] { fail(id, recipients, no_resources, true); });
    }
    std::vector<recipients::StartLookup> batch = take_lookups(max_batch);
    auto failed = fail_lookups(batch);
    spawn(ticket, probe(std::move(turn), std::move(batch)), std::move(failed));
  }

  asio::awaitable<void> probe(Turn turn, std::vector<recipients::StartLookup> batch) {
    std::unique_ptr<Connection> connection = std::move(turn.connection).value_or(nullptr);
    if (batch.empty()) {
      release(turn.ticket, false, std::move(connection), false);
      co_return;
    }
    const bool had_one = connection != nullptr;
    lmtp::Transaction transaction;
    transaction.probe = true;
    transaction.keep = turn.keep;
    TimePoint until{};
    for (const recipients::StartLookup& lookup : batch) {
      transaction.recipients.push_back({lookup.recipient});
      until = std::max(until, lookup.until);
    }
    auto talk =
        co_await servers_.talk(std::move(transaction), {.dot_by = until, .reply_by = until}, log_hooks_, std::move(connection));
    release(turn.ticket, had_one, std::move(talk.kept), talk.fresh);
    for (std::size_t i = 0; i < batch.size(); ++i) hooks_.found(batch[i].id, recipients::found(talk.outcomes[i]), hooks_.now());
  }

  asio::awaitable<void> deliver(Turn turn, recipients::StartDelivery command) {
    std::unique_ptr<Connection> connection = std::move(turn.connection).value_or(nullptr);
    if (deliveries_.at(command.id)) {
      release(turn.ticket, false, std::move(connection), false);
      fail(command.id, command.transaction.recipients.size(), not_wanted);
      co_return;
    }
    const bool had_one = connection != nullptr;
    wires::Servers::Hooks hooks = log_hooks_;
    hooks.refusal = [this, id = command.id] { return std::string(deliveries_.at(id) ? not_wanted : ""); };
    command.transaction.keep = turn.keep;
    auto talk = co_await servers_.talk(std::move(command.transaction), {.dot_by = command.dot_by, .reply_by = command.reply_by},
                                       hooks, std::move(connection));
    release(turn.ticket, had_one, std::move(talk.kept), talk.fresh);
    deliveries_.erase(command.id);
    hooks_.delivered(command.id, talk.outcomes, talk.server, hooks_.now());
  }

  void fail(recipients::DeliveryId id, std::size_t recipients, const char* why, bool ours = false) {
    deliveries_.erase(id);
    lmtp::Outcome failed{lmtp::Stage::connect, std::nullopt, why};
    failed.ours = ours;
    hooks_.delivered(id, std::vector<lmtp::Outcome>(recipients, failed), {}, hooks_.now());
  }

  std::map<recipients::DeliveryId, bool>& deliveries_;
  wires::Servers servers_;
  const wires::Servers::Hooks log_hooks_{.changed = log_change};
  std::map<Ticket, recipients::StartDelivery> waiting_;
  asio::steady_timer names_due_;
};

class Mailboxes::PolicyLane : public Lane<net::Socket> {
 public:
  PolicyLane(asio::io_context& io, const Ways& ways, const Hooks& hooks)
      : Lane(io, ways.limits, hooks), target_(io.get_executor(), *ways.quota_status) {}

 private:
  void begin(Turn turn) override {
    const Ticket ticket = turn.ticket;
    std::vector<recipients::StartLookup> one = take_lookups(1);
    auto failed = fail_lookups(one);
    spawn(ticket, ask(std::move(turn), std::move(one)), std::move(failed));
  }

  asio::awaitable<void> ask(Turn turn, std::vector<recipients::StartLookup> one) {
    std::unique_ptr<net::Socket> socket = std::move(turn.connection).value_or(nullptr);
    if (one.empty()) {
      release(turn.ticket, false, std::move(socket), false);
      co_return;
    }
    const recipients::StartLookup& lookup = one.front();
    const bool had_one = socket != nullptr;
    bool fresh = false;
    std::optional<recipients::Found> answer;
    while (!answer) {
      if (!socket) {
        fresh = true;
        auto connected = co_await net::connect(target_, lookup.until);
        if (!connected) {
          const net::ConnectError& error = connected.error();
          answer = recipients::Found{recipients::Mailbox::unsure, "quota-status: cannot connect: " + error.what, error.ours};
          break;
        }
        socket = std::make_unique<net::Socket>(std::move(*connected));
      }
      recipients::QuotaStatus question(lookup.recipient, lookup.size, lookup.until);
      co_await net::converse(*socket, question);
      if (!question.reusable() || !turn.keep) socket.reset();
      if (question.stale() && !fresh) continue;
      answer = question.result();
    }
    release(turn.ticket, had_one, std::move(socket), fresh);
    hooks_.found(lookup.id, *answer, hooks_.now());
  }

  net::Target target_;
};

Mailboxes::Mailboxes(asio::io_context& io, Ways ways, Hooks hooks) : io_(io), hooks_(std::move(hooks)) { use(std::move(ways)); }

void Mailboxes::use(Ways ways) {
  if (ways == ways_) return;
  auto lmtp = ways.lmtp.empty() ? nullptr : std::make_shared<LmtpLane>(io_, ways, hooks_, deliveries_);
  auto policy = ways.quota_status ? std::make_shared<PolicyLane>(io_, ways, hooks_) : nullptr;
  ways_ = std::move(ways);
  lmtp_.swap(lmtp);
  policy_.swap(policy);
  if (lmtp) lmtp->close();
  if (policy) policy->close();
  if (lmtp_) lmtp_->keep_names_fresh();
}

void Mailboxes::start(recipients::StartLookup command) {
  if (const auto fault = lmtp::address_fault(command.recipient); !fault.empty())
    return hooks_.found(command.id, {recipients::Mailbox::unsure, std::string(fault)}, hooks_.now());
  if (policy_) return policy_->start(std::move(command));
  if (lmtp_) return lmtp_->start(std::move(command));
  hooks_.found(command.id, {recipients::Mailbox::unsure, "there is nobody to ask"}, hooks_.now());
}

void Mailboxes::start(recipients::StartDelivery command) {
  if (!lmtp_) {
    const lmtp::Outcome failed{lmtp::Stage::connect, std::nullopt, "there is no server to deliver to"};
    return hooks_.delivered(command.id, std::vector<lmtp::Outcome>(command.transaction.recipients.size(), failed), {},
                            hooks_.now());
  }
  deliveries_.emplace(command.id, false);
  lmtp_->start(std::move(command));
}

void Mailboxes::cancel(recipients::DeliveryId id) {
  if (const auto found = deliveries_.find(id); found != deliveries_.end()) found->second = true;
}

}  // namespace mailbridge::wires
