// A peer for programs and for net/: each connection is handed to a script that runs in the server's own thread.
//
//   ScriptedServer server([](Peer& peer) { peer.say("220 x\r\n"); peer.hear_line(); });
//   … server.endpoint() … server.finish() …
//
// A script that waits longer than 10 seconds, or hears the end where it wants bytes, throws; finish() tells it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <openssl/ssl.h>

#include "tests/support/authority.hpp"
#include "tests/support/descriptor.hpp"

namespace mailbridge::test {

class Peer {
 public:
  explicit Peer(int fd) : fd_(fd) {}

  void say(std::string_view bytes);
  std::string hear_line();                       // up to and with LF
  std::string hear_until(std::string_view end);  // up to and with `end`
  void skip_until(std::string_view end);         // as hear_until(), but nothing is kept of it
  bool has(std::string_view end) const;          // true if hear_until(end) need not wait
  std::string hear_all();                        // until the other side closes
  void wait_for_close();                         // as hear_all(), but the bytes are dropped
  void pause(int milliseconds);
  void start_tls(const Certificate& certificate);      // everything from here on is in TLS
  const std::string& heard() const { return heard_; }  // everything so far

 private:
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  bool fill();  // false at the end

  int fd_;
  std::unique_ptr<SSL, Free> tls_;
  std::string heard_;
  std::size_t taken_ = 0;
};

class ScriptedServer {
 public:
  using Kind = Listener::Kind;
  using Script = std::function<void(Peer&)>;

  // Listens before the constructor returns.
  explicit ScriptedServer(Script script, Kind kind = Kind::local);
  ~ScriptedServer();
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  const std::string& endpoint() const { return listener_.endpoint(); }  // "/path" or "127.0.0.1:port"

  // Serves who has connected, waits for the running script, and tells what went wrong in any of them; empty when nothing did.
  std::string finish();
  // What each connection's script heard, in the order they ended. After finish().
  const std::vector<std::string>& heard() const { return heard_; }

 private:
  void serve();

  Script script_;
  Listener listener_;
  std::atomic<bool> stop_ = false;
  std::vector<std::string> heard_;
  std::string wrong_;
  std::thread thread_;
};

}  // namespace mailbridge::test
