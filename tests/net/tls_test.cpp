#include "net/tls.hpp"

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include "net/converse.hpp"
#include "question.hpp"
#include "tests/support/authority.hpp"

namespace mailbridge::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::Authority;
using test::Certificate;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// OpenSSL's words change with its versions.
std::string refused(long reason) {
  return std::string("TLS: the server's certificate: ") + X509_verify_cert_error_string(reason);
}
auto alert(const std::string& prefix) { return AllOf(StartsWith(prefix), HasSubstr("alert")); }

class Tls : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::signal(SIGPIPE, SIG_IGN);  // as the programs do: OpenSSL knows no MSG_NOSIGNAL
    authority = new Authority;
    server_certificate = new Certificate;
    authority->issue(*server_certificate, "server", {});
  }
  static void TearDownTestSuite() {
    delete server_certificate;
    delete authority;
  }

  using Script = std::function<void(SSL*)>;

  // One connection to a server that does its handshake and then plays the script, each in its own thread. What the handshake
  // ended with, or nothing.
  std::string talk(Machine& machine, const Script& script) {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address);
    socklen_t size = sizeof address;
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    listen(listener, 1);
    std::thread server([&] {
      const int fd = accept(listener, nullptr, nullptr);
      SSL_CTX* context = SSL_CTX_new(TLS_server_method());
      SSL_CTX_use_certificate(context, certificate->x509);
      SSL_CTX_use_PrivateKey(context, certificate->key);
      if (server_max_version) SSL_CTX_set_max_proto_version(context, server_max_version);
      if (asks_for_certificate) {
        SSL_CTX_load_verify_file(context, authority->file().c_str());
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
      }
      SSL* ssl = SSL_new(context);
      SSL_set_fd(ssl, fd);
      if (without_tls) send(fd, "220 mail ESMTP\r\n", 16, MSG_NOSIGNAL);
      else if (silent) std::this_thread::sleep_for(milliseconds(300));
      else if (SSL_accept(ssl) == 1) script(ssl);
      char rest[4096];
      shutdown(fd, SHUT_WR);
      while (!resets && recv(fd, rest, sizeof rest, 0) > 0) continue;
      SSL_free(ssl);
      SSL_CTX_free(context);
      close(fd);
    });
    std::string wrong;
    const auto run = [&]() -> asio::awaitable<void> {
      const auto until = Clock::now() + (silent ? Duration(milliseconds(100)) : Duration(seconds(20)));
      const Endpoint endpoint = TcpEndpoint{"127.0.0.1", ntohs(address.sin_port)};
      auto socket = co_await connect(endpoint, until);
      const auto context = TlsContext::load(client);
      if (!context) wrong = context.error().what;
      if (!context) co_return;
      TlsStream stream(std::move(*socket), **context, name);
      const auto error = co_await stream.handshake(until);
      if (error) wrong = (error->timed_out ? "timed out: " : "") + error->what;
      if (!error) co_await converse(stream, machine);
    };
    {
      asio::io_context io;
      asio::co_spawn(io, run, [](const std::exception_ptr& thrown) { EXPECT_FALSE(thrown); });
      io.run();
    }
    server.join();
    close(listener);
    return wrong;
  }
  std::string handshake() {
    Machine machine("hello\n");
    const std::string wrong = talk(machine, answer);
    EXPECT_EQ(machine.heard, wrong.empty() ? "yes\n" : "");
    return wrong;
  }

  static std::string hear_line(SSL* ssl) {
    std::string line;
    for (char c = 0; c != '\n' && SSL_read(ssl, &c, 1) == 1;) line += c;
    return line;
  }
  static void say(SSL* ssl, std::string_view text) { SSL_write(ssl, text.data(), static_cast<int>(text.size())); }
  static void answer(SSL* ssl) {
    EXPECT_EQ(hear_line(ssl), "hello\n");
    say(ssl, "yes\n");
  }

  static inline Authority* authority = nullptr;
  static inline Certificate* server_certificate = nullptr;
  TlsSettings client{.ca_file = authority->file()};
  std::string name = "scan.example.org";
  const Certificate* certificate = server_certificate;
  int server_max_version = 0;
  bool asks_for_certificate = false;
  bool without_tls = false;
  bool silent = false;
  bool resets = false;
};

TEST_F(Tls, QuestionAndAnswer) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    server_max_version = version;
    EXPECT_EQ(handshake(), "");
  }
}

TEST_F(Tls, TheNameIsVerified) {
  struct Row {
    std::string name;
    std::string expected;
  };
  const Row rows[] = {
      {"scan.example.org", ""},
      {"SCAN.example.org", ""},
      {"127.0.0.1", ""},
      {"example.org", refused(X509_V_ERR_HOSTNAME_MISMATCH)},
      {"scan.example.org.evil.example", refused(X509_V_ERR_HOSTNAME_MISMATCH)},
      {"127.0.0.2", refused(X509_V_ERR_IP_ADDRESS_MISMATCH)},
  };
  for (const Row& row : rows) {
    name = row.name;
    EXPECT_EQ(handshake(), row.expected) << name;
  }
}

TEST_F(Tls, TheAuthorityIsVerified) {
  const Authority other("another root");
  client.ca_file = other.file();
  EXPECT_EQ(handshake(), refused(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
  client.ca_file.clear();  // the system's
  EXPECT_EQ(handshake(), refused(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
}

TEST_F(Tls, AnExpiredCertificate) {
  Certificate expired;
  authority->issue(expired, "expired", {.days = -1});
  certificate = &expired;
  EXPECT_EQ(handshake(), refused(X509_V_ERR_CERT_HAS_EXPIRED));
}

TEST_F(Tls, OurOwnCertificate) {
  Certificate ours;
  Certificate expired;
  authority->issue(ours, "ours", {.names = "DNS:mail.example.org"});
  authority->issue(expired, "ours-expired", {.days = -1});
  asks_for_certificate = true;
  const auto ending = [&] {
    Machine machine("hello\n");
    const std::string wrong = talk(machine, answer);
    if (!wrong.empty()) return wrong;
    return machine.ended ? to_string(*machine.ended) : machine.heard;
  };
  server_max_version = TLS1_3_VERSION;  // where the server looks at it when the handshake is over for us
  EXPECT_THAT(ending(), alert("failed TLS: "));
  client.certificate_file = expired.file;
  client.key_file = expired.key_file;
  EXPECT_THAT(ending(), alert("failed TLS: "));
  client.certificate_file = ours.file;
  client.key_file = ours.key_file;
  EXPECT_EQ(ending(), "yes\n");
  server_max_version = TLS1_2_VERSION;
  EXPECT_EQ(ending(), "yes\n");
  client = {.ca_file = authority->file()};
  EXPECT_THAT(ending(), alert("TLS: "));
}

TEST_F(Tls, NoTls) {
  without_tls = true;
  EXPECT_THAT(handshake(), StartsWith("TLS: "));
}

TEST_F(Tls, NoHandshake) {
  silent = true;
  EXPECT_EQ(handshake(), "timed out: no TLS handshake in time");
}

TEST_F(Tls, ALargeMailToASlowReader) {
  const std::string large(8 << 20, 'x');
  Machine machine(large);
  std::size_t heard = 0;
  EXPECT_EQ(talk(machine,
                 [&](SSL* ssl) {
                   std::this_thread::sleep_for(milliseconds(50));  // until the buffers are full
                   char bytes[1000];
                   for (int n = 1; heard < large.size() && n > 0;) {
                     n = SSL_read(ssl, bytes, sizeof bytes);
                     for (int i = 0; i < n; ++i) heard += bytes[i] == 'x';
                   }
                   say(ssl, "yes\n");
                 }),
            "");
  EXPECT_EQ(heard, large.size());
  EXPECT_EQ(machine.heard, "yes\n");
}

TEST_F(Tls, AReplyOfManyRecords) {
  Machine machine("hello\n");
  talk(machine, [](SSL* ssl) {
    hear_line(ssl);
    say(ssl, std::string(100'000, 'y'));
    say(ssl, "\n");
  });
  EXPECT_EQ(machine.heard, std::string(100'000, 'y') + "\n");
}

TEST_F(Tls, RefusedInMidBody) {
  resets = true;  // what was not read is answered with RST
  Machine machine(std::string(8 << 20, 'x'));
  talk(machine, [](SSL* ssl) {
    char byte;
    SSL_read(ssl, &byte, 1);
    say(ssl, "no\n");
  });
  EXPECT_EQ(machine.heard, "no\n");
  EXPECT_GT(machine.left(), 0u);
}

TEST_F(Tls, AnEndThatIsNoneOfTls) {
  Machine cut("hello\n");
  talk(cut, [](SSL* ssl) {
    hear_line(ssl);
    say(ssl, "half");
  });
  EXPECT_THAT(to_string(cut.ended.value()), StartsWith("failed TLS: ")) << "anyone can end a TCP connection";
  Machine closed("hello\n");
  talk(closed, [](SSL* ssl) {
    hear_line(ssl);
    say(ssl, "half");
    SSL_shutdown(ssl);
  });
  EXPECT_EQ(to_string(closed.ended.value()), "closed");
}

TEST_F(Tls, FilesThatCannotBeUsed) {
  const std::string garbage = authority->write("garbage", [](std::FILE* file) { std::fputs("no PEM\n", file); });
  Certificate other;
  authority->issue(other, "other", {});
  const std::string locked = authority->write("locked", [&](std::FILE* file) {
    const std::string phrase = "secret";
    PEM_write_PrivateKey(file, other.key, EVP_aes_256_cbc(), reinterpret_cast<const unsigned char*>(phrase.data()),
                         static_cast<int>(phrase.size()), nullptr, nullptr);
  });
  const std::string fifo = authority->write("fifo", [](std::FILE*) {});
  unlink(fifo.c_str());
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const std::string no_file = fifo + ": not a regular file";
  struct Row {
    TlsSettings settings;
    std::string expected;
  };
  const Row rows[] = {
      {{.ca_file = fifo}, no_file},
      {{.certificate_file = fifo, .key_file = other.key_file}, no_file},
      {{.certificate_file = other.file, .key_file = fifo}, no_file},
      {{.certificate_file = other.file, .key_file = locked}, locked + ": it has a pass phrase, and nobody is there to be asked"},
      {{.ca_file = "/nonexistent"}, "/nonexistent: No such file or directory"},
      {{.ca_file = garbage}, garbage + ": no certificate or crl found"},
      {{.certificate_file = "/nonexistent", .key_file = other.key_file}, "/nonexistent: No such file or directory"},
      {{.certificate_file = garbage, .key_file = other.key_file}, garbage + ": no start line"},
      {{.certificate_file = other.file, .key_file = garbage}, garbage + ": unsupported"},
      {{.certificate_file = other.file, .key_file = server_certificate->key_file},
       server_certificate->key_file + ": key values mismatch"},
  };
  for (const Row& row : rows) {
    const auto loaded = TlsContext::load(row.settings);
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().what, row.expected);
  }
}

}  // namespace
}  // namespace mailbridge::net
