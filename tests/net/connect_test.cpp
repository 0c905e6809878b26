#include "net/connect.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>

#include <gtest/gtest.h>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>

#include "tests/support/limits.hpp"
#include "tests/support/scripted_server.hpp"

namespace mailbridge::net {
namespace {

using test::Peer;
using test::ScriptedServer;

struct Tried {
  std::optional<Socket> socket;
  std::optional<ConnectError> error;
  std::chrono::milliseconds took{};
};

Tried try_connect(asio::io_context& io, Target& target, std::chrono::milliseconds patience) {
  Tried tried;
  const TimePoint start = Clock::now();
  const auto attempt = [&]() -> asio::awaitable<void> {
    auto connected = co_await connect(target, start + patience);
    if (connected) tried.socket.emplace(std::move(*connected));
    else tried.error = connected.error();
  };
  asio::co_spawn(io, attempt, asio::detached);
  io.run();
  io.restart();
  tried.took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
  return tried;
}

Tried try_connect(asio::io_context& io, const Endpoint& endpoint, std::chrono::milliseconds patience) {
  Target target(io.get_executor(), endpoint);
  return try_connect(io, target, patience);
}

void exchange(ScriptedServer::Kind kind) {
  ScriptedServer server([](Peer& peer) { peer.hear_line(); }, kind);
  asio::io_context io;
  Tried tried = try_connect(io, *parse_lmtp_endpoint(server.endpoint()), std::chrono::seconds(5));
  ASSERT_TRUE(tried.socket);
  asio::write(*tried.socket, asio::buffer("hello\n", 6));
  EXPECT_EQ(server.finish(), "");
  EXPECT_EQ(server.heard(), std::vector<std::string>{"hello\n"});
}

TEST(Connect, UnixSocket) { exchange(ScriptedServer::Kind::local); }
TEST(Connect, TcpSocket) { exchange(ScriptedServer::Kind::tcp); }

TEST(Connect, ByName) {
  ScriptedServer server([](Peer& peer) { peer.wait_for_close(); }, ScriptedServer::Kind::tcp);
  asio::io_context io;
  auto endpoint = std::get<TcpEndpoint>(*parse_lmtp_endpoint(server.endpoint()));
  endpoint.host = "localhost";  // its first address may be ::1, where nobody listens
  EXPECT_TRUE(try_connect(io, endpoint, std::chrono::seconds(5)).socket) << "does /etc/hosts know localhost?";
}

// Where a connection from `source` to `endpoint` comes from; what is wrong when there is none.
std::string from(const Endpoint& endpoint, const char* source) {
  asio::io_context io;
  Target target(io.get_executor(), endpoint, asio::ip::make_address(source));
  std::string seen;
  const auto attempt = [&]() -> asio::awaitable<void> {
    auto connected = co_await connect(target, Clock::now() + std::chrono::seconds(5));
    if (!connected) {
      seen = connected.error().what;
      co_return;
    }
    sockaddr_in address{};
    socklen_t size = sizeof address;
    getsockname(connected->native_handle(), reinterpret_cast<sockaddr*>(&address), &size);
    seen = asio::ip::address_v4(ntohl(address.sin_addr.s_addr)).to_string();
  };
  asio::co_spawn(io, attempt, asio::detached);
  io.run();
  return seen;
}

TEST(Connect, FromTheAddressThatIsWanted) {
  ScriptedServer server([](Peer& peer) { peer.wait_for_close(); }, ScriptedServer::Kind::tcp);
  const Endpoint endpoint = *parse_lmtp_endpoint(server.endpoint());
  EXPECT_EQ(from(endpoint, "127.0.0.7"), "127.0.0.7");
  EXPECT_EQ(from(endpoint, "::1"), "Address family not supported by protocol");
  EXPECT_EQ(from(endpoint, "192.0.2.1"), "Cannot assign requested address");
}

TEST(Connect, WhatIsWrongHasANumber) {
  asio::io_context io;
  const std::string file = testing::TempDir() + "no_socket." + std::to_string(getpid());
  std::ofstream(file) << "x";
  EXPECT_EQ(try_connect(io, UnixEndpoint{"/nonexistent/lmtp"}, std::chrono::seconds(5)).error->number, ENOENT);
  EXPECT_EQ(try_connect(io, UnixEndpoint{file}, std::chrono::seconds(5)).error->number, ECONNREFUSED);
  EXPECT_EQ(try_connect(io, TcpEndpoint{"127.0.0.1", 1}, std::chrono::seconds(5)).error->number, ECONNREFUSED);
  std::filesystem::remove(file);
}

TEST(Connect, WhatWeAreShortOfIsNoFaultOfTheServer) {
  asio::io_context io;
  for (const char* source : {"192.0.2.1", "127.0.0.1"}) {
    Target target(io.get_executor(), TcpEndpoint{"127.0.0.1", 1}, asio::ip::make_address(source));
    EXPECT_EQ(try_connect(io, target, std::chrono::seconds(5)).error->ours, std::string(source) == "192.0.2.1");
  }
  EXPECT_FALSE(try_connect(io, UnixEndpoint{"/nonexistent"}, std::chrono::seconds(5)).error->ours);
  EXPECT_FALSE(try_connect(io, TcpEndpoint{"no-such-host.invalid", 1}, std::chrono::seconds(5)).error->ours);
  EXPECT_FALSE(try_connect(io, TcpEndpoint{"localhost", 1}, std::chrono::seconds(5)).error->ours)
      << "where ::1 cannot be had, too";
}

#ifndef __SANITIZE_ADDRESS__  // the sanitizers want descriptors of their own
TEST(Connect, WithoutADescriptor) {
  ScriptedServer local([](Peer& peer) { peer.wait_for_close(); });
  ScriptedServer tcp([](Peer& peer) { peer.wait_for_close(); }, ScriptedServer::Kind::tcp);
  auto named = std::get<TcpEndpoint>(*parse_lmtp_endpoint(tcp.endpoint()));
  named.host = "localhost";
  const Endpoint endpoints[] = {*parse_lmtp_endpoint(local.endpoint()), *parse_lmtp_endpoint(tcp.endpoint()), named};
  asio::io_context io;
  asio::steady_timer timer(io);  // the event loop has its own
  for (const Endpoint& endpoint : endpoints) {
    Tried tried;
    {
      const test::NoDescriptors none;
      tried = try_connect(io, endpoint, std::chrono::seconds(5));
    }
    ASSERT_TRUE(tried.error) << to_string(endpoint);
    EXPECT_TRUE(tried.error->ours) << to_string(endpoint) << tried.error->what;
  }
  // Not before: a server that ends a connection frees a descriptor.
  for (const Endpoint& endpoint : endpoints)
    EXPECT_TRUE(try_connect(io, endpoint, std::chrono::seconds(5)).socket) << to_string(endpoint);
}
#endif

// A listener whose backlog is full, and which accepts one connection when told to.
class FullBacklog {
 public:
  FullBacklog() : path_(testing::TempDir() + "full." + std::to_string(getpid())) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
    unlink(path_.c_str());
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener_, 0) != 0) ADD_FAILURE();
    for (;;) {
      const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
      held_.push_back(fd);
      if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) break;
    }
  }
  ~FullBacklog() {
    for (const int fd : held_) close(fd);
    close(listener_);
    unlink(path_.c_str());
  }
  void accept_one() { held_.push_back(accept(listener_, nullptr, nullptr)); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int listener_;
  std::vector<int> held_;
};

TEST(Connect, AFullBacklogIsWaitedForUntilTheTimeIsOver) {
  const FullBacklog full;
  asio::io_context io;
  const Tried tried = try_connect(io, UnixEndpoint{full.path()}, std::chrono::milliseconds(200));
  ASSERT_TRUE(tried.error);
  EXPECT_TRUE(tried.error->timed_out);
  EXPECT_GE(tried.took.count(), 150);
  EXPECT_LT(tried.took.count(), 2000);
}

TEST(Connect, AFullBacklogThatEmptiesIsNoFailure) {
  FullBacklog full;
  asio::io_context io;
  asio::steady_timer later(io, std::chrono::milliseconds(100));
  later.async_wait([&](const asio::error_code&) { full.accept_one(); });
  const Tried tried = try_connect(io, UnixEndpoint{full.path()}, std::chrono::seconds(5));
  ASSERT_TRUE(tried.socket);
  asio::error_code error;
  tried.socket->remote_endpoint(error);
  EXPECT_FALSE(error) << error.message();
  EXPECT_GE(tried.took.count(), 90);
}

}  // namespace
}  // namespace mailbridge::net
