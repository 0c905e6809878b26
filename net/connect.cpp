#include "net/connect.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <exception>
#include <thread>
#include <utility>
#include <variant>

#include <asio/experimental/awaitable_operators.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include "net/as_tuple.hpp"
#include "platform/platform.hpp"

namespace mailbridge::net {
namespace {

using namespace asio::experimental::awaitable_operators;

constexpr auto token = as_tuple(asio::use_awaitable);

// A unix socket connects at once or not at all. While the listener's backlog is full connect(2) says EAGAIN, and no readiness
// tells when that ends: it is tried again after a little while. Asio must not be asked: what it makes of EAGAIN depends on its
// version, and 1.30 takes such a socket for a connected one.
asio::awaitable<asio::error_code> connect_local(Socket& socket, const Address& address, asio::steady_timer& timer,
                                                TimePoint until) {
  constexpr auto pause = std::chrono::milliseconds(10);
  asio::error_code error;
  socket.open(address.protocol(), error);
  if (!error) socket.non_blocking(true, error);
  if (error) co_return error;
  for (;;) {
    if (::connect(socket.native_handle(), address.data(), static_cast<socklen_t>(address.size())) == 0)
      co_return asio::error_code();
    if (errno != EAGAIN) co_return asio::error_code(errno, asio::error::get_system_category());
    if (Clock::now() + pause >= until) co_return asio::error::timed_out;
    timer.expires_after(pause);
    co_await timer.async_wait(token);
  }
}

// Within this machine a connection is there, or refused, in the moment it is asked for. To ask what became of it costs less than
// being woken.
asio::awaitable<asio::error_code> connect_tcp(Socket& socket, const Address& address,
                                              const std::optional<asio::ip::address>& source, asio::steady_timer& timer,
                                              TimePoint until) {
  asio::error_code error;
  socket.open(address.protocol(), error);
  if (!error) socket.non_blocking(true, error);
  if (!error && source) {
    const asio::ip::tcp::endpoint from(*source, 0);
    if (from.protocol().family() != address.protocol().family()) co_return asio::error::address_family_not_supported;
    platform::choose_port_when_connecting(socket.native_handle());
    socket.bind(from, error);
  }
  if (error) co_return error;
  const auto size = static_cast<socklen_t>(address.size());
  int outcome = ::connect(socket.native_handle(), address.data(), size) == 0 ? 0 : errno;
  if (outcome == EINPROGRESS) outcome = platform::connect_outcome(socket.native_handle(), address.data(), size);
  while (outcome == EALREADY) {
    timer.expires_at(until);
    const auto ready = co_await (socket.async_wait(Socket::wait_write, token) || timer.async_wait(token));
    if (ready.index() == 1) co_return asio::error::timed_out;
    outcome = platform::connect_outcome(socket.native_handle(), address.data(), size);
  }
  co_return asio::error_code(outcome, asio::error::get_system_category());
}

// Of the addresses of a name: ::1 cannot be assigned where there is no IPv6, which is no news.
int weight(const ConnectError& error) { return !error.ours ? 1 : error.number == EADDRNOTAVAIL ? 0 : 2; }

ConnectError out_of_time() { return {true, 0, "no connection in time"}; }

struct Answer {
  Addresses addresses;
  std::string fault = {};  // when there is none
  bool ours = false;       // of that: it says nothing about the name
};

// The resolver has no word for it, and calls the name server silent.
bool no_descriptor_is_left() {
  const int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return is_own_lack(errno);
  close(descriptor);
  return false;
}

Answer ask_resolver(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  const int number = errno;
  Answer answer;
  answer.ours = error == EAI_MEMORY || (error == EAI_SYSTEM && is_own_lack(number)) || (error != 0 && no_descriptor_is_left());
  if (error == EAI_NONAME) answer.fault = "Host not found";
  else if (error != 0) answer.fault = std::string("looking the name up: ") + gai_strerror(error);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> freed(found, [](addrinfo* list) {
    if (list != nullptr) freeaddrinfo(list);
  });
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    answer.addresses.emplace_back(entry->ai_addr, entry->ai_addrlen, IPPROTO_TCP);
  }
  if (answer.addresses.empty() && answer.fault.empty()) answer.fault = "the name has no address";
  return answer;
}

}  // namespace

struct Target::Name {
  Name(asio::any_io_executor of, const TcpEndpoint& at)
      : executor(std::move(of)), host(at.host), port(std::to_string(at.port)), answered(executor, TimePoint::max()) {}

  void take(Answer answer) {
    under_way = false;
    fault = std::move(answer.fault);
    ours = answer.ours;
    if (!answer.addresses.empty()) {
      // The one that worked last stays the first.
      if (addresses) {
        const auto first = std::find(answer.addresses.begin(), answer.addresses.end(), addresses->front());
        if (first != answer.addresses.end()) std::rotate(answer.addresses.begin(), first, first + 1);
      }
      addresses = std::make_shared<const Addresses>(std::move(answer.addresses));
    }
    answered.cancel();
  }

  // That address is the first from now on.
  void prefer(const Address& address) {
    if (addresses->front() == address) return;
    Addresses changed = *addresses;
    const auto found = std::find(changed.begin(), changed.end(), address);
    if (found == changed.end()) return;
    std::rotate(changed.begin(), found, found + 1);
    addresses = std::make_shared<const Addresses>(std::move(changed));
  }

  const asio::any_io_executor executor;
  const std::string host;
  const std::string port;
  std::shared_ptr<const Addresses> addresses;  // none until a look-up has answered some
  std::string fault;                           // of the last look-up
  bool ours = false;                           // of the fault
  std::atomic<bool> under_way = false;
  asio::steady_timer answered;  // never expires; cancelled by each answer
};

bool is_own_lack(int number) {
  return number == EMFILE || number == ENFILE || number == ENOMEM || number == ENOBUFS || number == EADDRNOTAVAIL;
}

Target::Target(asio::any_io_executor executor, const Endpoint& endpoint, std::optional<asio::ip::address> source)
    : source_(std::move(source)) {
  if (const auto* local = std::get_if<UnixEndpoint>(&endpoint)) {
    known_ = std::make_shared<const Addresses>(1, asio::local::stream_protocol::endpoint(local->path));
    return;
  }
  const auto& at = std::get<TcpEndpoint>(endpoint);
  asio::error_code no_number;
  const auto number = asio::ip::make_address(at.host, no_number);
  if (no_number) name_ = std::make_shared<Name>(std::move(executor), at);
  else known_ = std::make_shared<const Addresses>(1, asio::ip::tcp::endpoint(number, at.port));
}

std::shared_ptr<const Addresses> Target::addresses() const { return name_ ? name_->addresses : known_; }

void Target::look_up() {
  if (!name_ || name_->under_way.exchange(true)) return;
  try {
    // The executor that is kept has work to do until the answer is there.
    std::thread([name = name_, executor = asio::prefer(name_->executor, asio::execution::outstanding_work.tracked)]() mutable {
      try {
        asio::post(executor, [name, answer = ask_resolver(name->host, name->port)]() mutable { name->take(std::move(answer)); });
      } catch (const std::exception&) {  // no memory: who waits does so until its time is over, and the next one asks again
        name->under_way = false;
      }
      name.reset();  // its timer must not outlive the context
    }).detach();
  } catch (const std::exception& error) {  // no thread, no memory
    name_->take({{}, std::string("looking the name up: ") + error.what(), true});
  }
}

asio::awaitable<tl::expected<Socket, ConnectError>> connect(Target& target, TimePoint until) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, until);
  if (const auto name = target.name_; name && !name->addresses) {
    target.look_up();
    if (name->under_way) co_await (name->answered.async_wait(token) || timer.async_wait(token));
    if (!name->addresses) {
      if (name->under_way) co_return tl::unexpected(ConnectError{true, 0, "the name could not be looked up in time"});
      co_return tl::unexpected(ConnectError{false, 0, name->fault, name->ours});
    }
  }
  const auto addresses = target.addresses();
  std::optional<ConnectError> last;
  std::size_t left = addresses->size();
  for (const Address& address : *addresses) {
    Socket socket(executor);
    const TimePoint now = left > 1 ? Clock::now() : until;
    const TimePoint share = now + (until - now) / static_cast<Duration::rep>(left--);
    asio::error_code error;
    if (address.protocol().family() == AF_UNIX) {
      error = co_await connect_local(socket, address, timer, share);
    } else {
      error = co_await connect_tcp(socket, address, target.source_, timer, share);
    }
    if (!error) {
      asio::error_code ignored;
      if (address.protocol().family() != AF_UNIX) socket.set_option(asio::ip::tcp::no_delay(true), ignored);
      if (target.name_) target.name_->prefer(address);
      co_return socket;
    }
    ConnectError failed = out_of_time();
    if (error != asio::error::timed_out) failed = {false, error.value(), error.message(), is_own_lack(error.value())};
    if (!last || weight(failed) >= weight(*last)) last = std::move(failed);
  }
  if (!last->ours) target.look_up();
  co_return tl::unexpected(std::move(*last));
}

asio::awaitable<tl::expected<Socket, ConnectError>> connect(Endpoint endpoint, TimePoint until) {
  Target target(co_await asio::this_coro::executor, endpoint);
  co_return co_await connect(target, until);
}

}  // namespace mailbridge::net
