#include "wires/mailboxes.hpp"

#include <cstddef>
#include <exception>
#include <string>
#include <utility>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/steady_timer.hpp>

#include "net/connect.hpp"
#include "net/converse.hpp"
#include "recipients/quota_status.hpp"
#include "wires/log_change.hpp"

namespace mailbridge::wires {
namespace {

// Recipients of one transaction. Dovecot looks them up one after the other, and the first waits for the last.
constexpr std::size_t max_batch = 50;

void changed(const std::string& server, std::string_view why) { log_change("lmtp", server, why.empty(), why); }

}  // namespace

// A queue, its timer, and one coroutine for each piece of work. The coroutines keep it alive, so that it can be replaced while
// they run. `T` is a connection.
template <class T>
class Mailboxes::Backend : public std::enable_shared_from_this<Backend<T>> {
 public:
  Backend(Mailboxes& mailboxes, const Settings& settings, std::size_t batch)
      : io_(mailboxes.io_),
        hooks_(mailboxes.hooks_),
        open_(mailboxes.open_),
        queue_(settings.limits, batch, open_),
        due_(io_, TimePoint::max()) {}
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  template <class Start>
  void start(Start command) {
    queue_.add(std::move(command));
    pump();
  }

  // Nothing more is started.
  void close() { quit_all(queue_.close()); }

 protected:
  using Queue = recipients::StoreQueue<T>;
  using Work = typename Queue::Work;

  // Does the work, answers, and calls end().
  virtual asio::awaitable<void> serve(Work work) = 0;
  // Before the connection is closed.
  virtual void quit(T&) {}

  void end(const Work& work, std::unique_ptr<T> connection, bool fresh) {
    quit_all(queue_.end(work.turn, std::move(connection), fresh, Clock::now()));
  }

  asio::io_context& io_;
  const Hooks& hooks_;
  recipients::OpenDeliveries& open_;

 private:
  void pump() {
    for (bool again = true; again;) {
      std::optional<Work> work = queue_.next(Clock::now());
      again = work.has_value();
      const auto turn = work ? std::optional(work->turn) : std::nullopt;
      try {
        for (const recipients::Unserved& unserved : queue_.take_unserved()) answer(unserved);
        if (work) spawn(std::move(*work));
      } catch (...) {  // no memory: the engine gives up unanswered work at its deadline
        if (turn) queue_.abandon(*turn);
        throw;
      }
    }
    const auto due = queue_.next_due();
    if (!due || due_.expiry() == *due) return;
    due_.expires_at(*due);
    due_.async_wait([self = this->weak_from_this()](const asio::error_code& error) {
      const auto backend = self.lock();
      if (error || !backend) return;
      backend->due_.expires_at(TimePoint::max());
      backend->quit_all(backend->queue_.take_expired(Clock::now()));
      backend->pump();
    });
  }

  void spawn(Work work) {
    recipients::Unserved all{.why = "out of resources", .ours = true};
    for (const recipients::StartLookup& lookup : work.lookups) all.lookups.push_back(lookup.id);
    if (work.delivery) all.deliveries.push_back({work.delivery->id, work.delivery->transaction.recipients.size()});
    const auto turn = work.turn;
    asio::co_spawn(io_, serve(std::move(work)),
                   [self = this->shared_from_this(), turn, all = std::move(all)](const std::exception_ptr& thrown) {
                     if (thrown) {
                       self->queue_.abandon(turn);
                       self->answer(all);
                     }
                     self->pump();
                   });
  }

  void answer(const recipients::Unserved& unserved) {
    for (const recipients::LookupId id : unserved.lookups) {
      hooks_.found(id, {recipients::Mailbox::unsure, unserved.why, unserved.ours}, hooks_.now());
    }
    for (const recipients::Unserved::Delivery& delivery : unserved.deliveries) {
      open_.remove(delivery.id);
      lmtp::Outcome failed{lmtp::Stage::connect, std::nullopt, unserved.why};
      failed.ours = unserved.ours;
      hooks_.delivered(delivery.id, std::vector<lmtp::Outcome>(delivery.recipients, failed), {}, hooks_.now());
    }
  }

  void quit_all(std::vector<std::unique_ptr<T>> connections) {
    for (auto& connection : connections) quit(*connection);
  }

  Queue queue_;
  asio::steady_timer due_;
};

class Mailboxes::LmtpBackend : public Backend<LmtpClient::Connection> {
 public:
  LmtpBackend(Mailboxes& mailboxes, const Settings& settings)
      : Backend(mailboxes, settings, max_batch), client_(io_.get_executor(), settings.lmtp, settings.connect), names_due_(io_) {}

  void keep_names_fresh() {
    if (!client_.look_up_names()) return;
    names_due_.expires_after(net::names_are_kept);
    names_due_.async_wait([self = weak_from_this()](const asio::error_code& error) {
      if (const auto backend = self.lock(); backend && !error) static_cast<LmtpBackend&>(*backend).keep_names_fresh();
    });
  }

 private:
  asio::awaitable<void> serve(Work work) override { return work.delivery ? deliver(std::move(work)) : probe(std::move(work)); }
  void quit(LmtpClient::Connection& connection) override { LmtpClient::quit(connection); }

  asio::awaitable<void> probe(Work work) {
    recipients::Probe probe = recipients::probe_for(work.lookups);
    probe.transaction.keep = work.turn.keep;
    auto result =
        co_await client_.transact(std::move(probe.transaction), probe.patience, hooks_for_log_, std::move(work.connection));
    end(work, std::move(result.kept), result.fresh);
    for (std::size_t i = 0; i < work.lookups.size(); ++i) {
      hooks_.found(work.lookups[i].id, recipients::found(result.outcomes[i]), hooks_.now());
    }
  }

  asio::awaitable<void> deliver(Work work) {
    recipients::StartDelivery& delivery = *work.delivery;
    const recipients::DeliveryId id = delivery.id;
    LmtpClient::Hooks hooks = hooks_for_log_;
    hooks.refusal = [this, id] { return open_.refusal(id); };
    delivery.transaction.keep = work.turn.keep;
    const lmtp::Patience patience{.dot_by = delivery.dot_by, .reply_by = delivery.reply_by};
    auto result = co_await client_.transact(std::move(delivery.transaction), patience, hooks, std::move(work.connection));
    end(work, std::move(result.kept), result.fresh);
    open_.remove(id);
    hooks_.delivered(id, result.outcomes, result.server, hooks_.now());
  }

  LmtpClient client_;
  const LmtpClient::Hooks hooks_for_log_{.changed = changed};
  asio::steady_timer names_due_;
};

class Mailboxes::QuotaStatusBackend : public Backend<net::Socket> {
 public:
  QuotaStatusBackend(Mailboxes& mailboxes, const Settings& settings)
      : Backend(mailboxes, settings, 1), target_(io_.get_executor(), *settings.quota_status) {}

 private:
  asio::awaitable<void> serve(Work work) override {
    using Next = recipients::QuotaAttempts::Next;
    const recipients::StartLookup& lookup = work.lookups.front();
    std::unique_ptr<net::Socket> socket = std::move(work.connection);
    recipients::QuotaAttempts attempts(socket != nullptr);
    for (Next next = attempts.next(); next != Next::done; next = attempts.next()) {
      if (next == Next::connect) {
        auto connected = co_await net::connect(target_, lookup.until);
        if (!connected) {
          attempts.not_connected(connected.error().what, connected.error().ours);
          continue;
        }
        socket = std::make_unique<net::Socket>(std::move(*connected));
      }
      recipients::QuotaStatus question(lookup.recipient, lookup.size, lookup.until);
      co_await net::converse(*socket, question);
      if (!question.reusable() || !work.turn.keep) socket.reset();
      attempts.ended(question);
    }
    end(work, std::move(socket), attempts.fresh());
    hooks_.found(lookup.id, attempts.result(), hooks_.now());
  }

  net::Target target_;
};

Mailboxes::Mailboxes(asio::io_context& io, Settings settings, Hooks hooks) : io_(io), hooks_(std::move(hooks)) {
  use(std::move(settings));
}

void Mailboxes::use(Settings settings) {
  if (settings == settings_) return;
  auto lmtp = settings.lmtp.empty() ? nullptr : std::make_shared<LmtpBackend>(*this, settings);
  auto quota_status = settings.quota_status ? std::make_shared<QuotaStatusBackend>(*this, settings) : nullptr;
  settings_ = std::move(settings);
  lmtp_.swap(lmtp);
  quota_status_.swap(quota_status);
  if (lmtp) lmtp->close();
  if (quota_status) quota_status->close();
  if (lmtp_) lmtp_->keep_names_fresh();
}

void Mailboxes::start(recipients::StartLookup lookup) {
  if (const auto fault = lmtp::address_fault(lookup.recipient); !fault.empty())
    return hooks_.found(lookup.id, {recipients::Mailbox::unsure, std::string(fault)}, hooks_.now());
  if (quota_status_) return quota_status_->start(std::move(lookup));
  if (lmtp_) return lmtp_->start(std::move(lookup));
  hooks_.found(lookup.id, {recipients::Mailbox::unsure, "there is nobody to ask"}, hooks_.now());
}

void Mailboxes::start(recipients::StartDelivery delivery) {
  if (!lmtp_) {
    const lmtp::Outcome failed{lmtp::Stage::connect, std::nullopt, "there is no server to deliver to"};
    return hooks_.delivered(delivery.id, std::vector<lmtp::Outcome>(delivery.transaction.recipients.size(), failed), {},
                            hooks_.now());
  }
  open_.add(delivery.id);
  lmtp_->start(std::move(delivery));
}

}  // namespace mailbridge::wires
