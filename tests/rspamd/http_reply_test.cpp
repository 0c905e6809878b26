#include "rspamd/http_reply.hpp"

#include <gtest/gtest.h>
#include <zstd.h>

namespace mailbridge::rspamd {
namespace {

struct Outcome {
  std::string state;  // "complete", "incomplete" or the fault
  int status = 0;
  std::string reason = {};
  std::string body = {};
  std::size_t rewritten_size = 0;
  bool operator==(const Outcome&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Outcome& o) {
  return out << o.state << " " << o.status << " '" << o.reason << "' '" << o.body << "' " << o.rewritten_size;
}

constexpr std::size_t cap = 1000;

Outcome read(const std::string& bytes, std::size_t step, bool close) {
  HttpReplyReader reader(cap);
  for (std::size_t at = 0; at < bytes.size(); at += step) reader.receive(std::string_view(bytes).substr(at, step));
  if (close) reader.close();
  if (reader.fault()) return {reader.fault()->what};
  if (!reader.complete()) return {"incomplete"};
  const HttpReply& reply = reader.reply();
  return {"complete", reply.status, reply.reason, reply.body, reply.rewritten_size};
}

std::string reply(const std::string& headers, const std::string& body) { return "HTTP/1.1 200 OK\r\n" + headers + "\r\n" + body; }

std::string compressed(const std::string& text) {
  std::string frame(ZSTD_compressBound(text.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), text.data(), text.size(), 1));
  return frame;
}

std::string sized(const std::string& body) { return "Content-Length: " + std::to_string(body.size()) + "\r\n"; }

TEST(HttpReply, WholeAndByteByByte) {
  const std::string zstd_json = compressed("{}");
  const std::string no_status_line = "the reply does not begin with an HTTP/1.x status line";
  const std::string unknown_coding = "the reply is compressed, but not with zstd";
  const std::string too_large = "the reply is larger than the bound set";
  struct Row {
    std::string what;
    std::string bytes;
    Outcome expected;
    bool close = false;
  };
  const Row rows[] = {
      {"sized", reply("Content-Length: 2\r\n", "{}"), {"complete", 200, "OK", "{}"}},
      {"names in any case", reply("cOnTeNt-lEnGtH:2\r\n", "{}"), {"complete", 200, "OK", "{}"}},
      {"blanks around a value", reply("Content-Length: \t2 \t\r\n", "{}"), {"complete", 200, "OK", "{}"}},
      {"empty body", reply("Content-Length: 0\r\n", ""), {"complete", 200, "OK", ""}},
      {"what follows is ignored", reply("Content-Length: 2\r\n", "{}HTTP/1.1 500 x"), {"complete", 200, "OK", "{}"}},
      {"until close", reply("", "{}"), {"complete", 200, "OK", "{}"}, true},
      {"until close, still open", reply("", "{}"), {"incomplete"}},
      {"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n{}", {"complete", 200, "OK", "{}"}, true},
      {"no reason", "HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n", {"complete", 500, "", ""}},
      {"no blank either", "HTTP/1.1 500\r\nContent-Length: 0\r\n\r\n", {"complete", 500, "", ""}},
      {"long reason", "HTTP/1.1 503 a b: c\r\nContent-Length: 0\r\n\r\n", {"complete", 503, "a b: c", ""}},
      {"no body with 204", "HTTP/1.1 204 none\r\nContent-Length: 5\r\n\r\nhello", {"complete", 204, "none", ""}},
      {"1xx is skipped",
       "HTTP/1.1 100 Continue\r\nContent-Length: 9\r\nMessage-Offset: 1\r\n\r\nHTTP/1.1 102 Processing\r\nTransfer-Encoding: "
       "chunked\r\n\r\n" +
           reply("Content-Length: 2\r\n", "{}"),
       {"complete", 200, "OK", "{}"}},
      {"Message-Offset", reply("Message-Offset: 2\r\nContent-Length: 6\r\n", "{}body"), {"complete", 200, "OK", "{}", 4}},
      {"Message-Offset at the end", reply("Message-Offset: 2\r\nContent-Length: 2\r\n", "{}"), {"complete", 200, "OK", "{}"}},
      {"Message-Offset 0", reply("Message-Offset: 0\r\nContent-Length: 2\r\n", "{}"), {"complete", 200, "OK", "", 2}},
      {"identity", reply("Content-Encoding: identity\r\nContent-Length: 2\r\n", "{}"), {"complete", 200, "OK", "{}"}},
      {"zstd", reply("Compression: zstd\r\n" + sized(zstd_json), zstd_json), {"complete", 200, "OK", "{}"}},
      {"zstd, as newer versions say it",
       reply("Content-Encoding: zstd\r\n" + sized(zstd_json), zstd_json),
       {"complete", 200, "OK", "{}"}},
      {"zstd, said twice",
       reply("Compression: zstd\r\nContent-Encoding: ZSTD\r\n" + sized(zstd_json), zstd_json),
       {"complete", 200, "OK", "{}"}},
      {"zstd, chunked",
       reply("Compression: zstd\r\nTransfer-Encoding: chunked\r\n",
             "1\r\n" + zstd_json.substr(0, 1) + "\r\na\r\n" + zstd_json.substr(1) + "\r\n0\r\n\r\n"),
       {"complete", 200, "OK", "{}"}},
      {"zstd, Message-Offset in what it stands for",
       reply("Compression: zstd\r\nMessage-Offset: 2\r\n" + sized(compressed("{}" + std::string(5000, 'x'))),
             compressed("{}" + std::string(5000, 'x'))),
       {"complete", 200, "OK", "{}", 5000}},
      {"chunked",
       reply("Transfer-Encoding: Chunked\r\n", "1\r\n{\r\nA;x=y\r\n          \r\n01\r\n}\r\n0\r\n\r\n"),
       {"complete", 200, "OK", "{          }"}},
      {"trailers", reply("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\nX: y\r\n\r\n"), {"complete", 200, "OK", "{}"}},
      {"chunked, no end", reply("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n"), {"incomplete"}, true},
      {"chunked, no end of trailers", reply("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n"), {"incomplete"}, true},
      {"short body", reply("Content-Length: 3\r\n", "{}"), {"incomplete"}, true},
      {"no end of head", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", {"incomplete"}, true},
      {"nothing", "", {"incomplete"}, true},
      {"as large as allowed",
       reply("Content-Length: 1000\r\n", std::string(cap, 'x')),
       {"complete", 200, "OK", std::string(cap, 'x')}},
      {"a rewritten mail is not kept",
       reply("Message-Offset: 2\r\nContent-Length: 2002\r\n", "{}" + std::string(2000, 'x')),
       {"complete", 200, "OK", "{}", 2000}},
      {"nor when chunked",
       reply("Message-Offset: 1\r\nTransfer-Encoding: chunked\r\n",
             "2\r\n{}\r\n7d0\r\n" + std::string(2000, 'x') + "\r\n0\r\n\r\n"),
       {"complete", 200, "OK", "{", 2001}},
      {"JSON beyond the bound", reply("Message-Offset: 1001\r\nContent-Length: 1002\r\n", ""), {too_large}},

      {"garbage", "220 mx ESMTP\r\n", {no_status_line}},
      {"empty line first", "\r\n" + reply("", ""), {no_status_line}},
      {"HTTP/2", "HTTP/2.0 200 OK\r\n", {no_status_line}},
      {"lower case", "http/1.1 200 OK\r\n", {no_status_line}},
      {"status of two digits", "HTTP/1.1 20 OK\r\n", {no_status_line}},
      {"status of four digits", "HTTP/1.1 2000 OK\r\n", {no_status_line}},
      {"status 600", "HTTP/1.1 600 OK\r\n", {no_status_line}},
      {"status 099", "HTTP/1.1 099 OK\r\n", {no_status_line}},
      {"status +20", "HTTP/1.1 +20 OK\r\n", {no_status_line}},
      {"switching protocols", "HTTP/1.1 101 x\r\n", {"the reply wants to switch protocols"}},
      {"LF alone", "HTTP/1.1 200 OK\n", {"a line of the reply does not end in CRLF"}},
      {"CR in a line", "HTTP/1.1 200 O\rK\r\n", {"a control byte in the head of the reply"}},
      {"NUL in a line", reply(std::string("X: a\0b\r\n", 8), ""), {"a control byte in the head of the reply"}},
      {"no colon", reply("Content-Length\r\n", ""), {"a header of the reply is malformed"}},
      {"no name", reply(": 5\r\n", ""), {"a header of the reply is malformed"}},
      {"blank before the colon", reply("Content-Length : 5\r\n", ""), {"a header of the reply is malformed"}},
      {"folded", reply("X: a\r\n b\r\n", ""), {"a header of the reply is malformed"}},
      {"two lengths", reply("Content-Length: 2\r\nContent-Length: 3\r\n", "{}"), {"Content-Length is repeated or not a number"}},
      {"lengths in a list", reply("Content-Length: 2, 2\r\n", "{}"), {"Content-Length is repeated or not a number"}},
      {"negative length", reply("Content-Length: -1\r\n", "{}"), {"Content-Length is repeated or not a number"}},
      {"length with a sign", reply("Content-Length: +2\r\n", "{}"), {"Content-Length is repeated or not a number"}},
      {"empty length", reply("Content-Length:\r\n", "{}"), {"Content-Length is repeated or not a number"}},
      {"length beyond 64 bits",
       reply("Content-Length: 18446744073709551618\r\n", "{}"),
       {"Content-Length is repeated or not a number"}},
      {"length beyond the bound", reply("Content-Length: 1001\r\n", ""), {too_large}},
      {"body beyond the bound", reply("", std::string(cap + 1, 'x')), {too_large}},
      {"chunk beyond the bound", reply("Transfer-Encoding: chunked\r\n", "3e9\r\n" + std::string(cap + 1, 'x')), {too_large}},
      {"chunks beyond the bound",
       reply("Transfer-Encoding: chunked\r\n", "1\r\nx\r\n3e8\r\n" + std::string(cap, 'x')),
       {too_large}},
      {"length and chunks",
       reply("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "{}"),
       {"both Content-Length and Transfer-Encoding"}},
      {"gzip, chunked", reply("Transfer-Encoding: gzip, chunked\r\n", ""), {"a transfer encoding other than chunked"}},
      {"chunked twice",
       reply("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ""),
       {"a transfer encoding other than chunked"}},
      {"chunk without size", reply("Transfer-Encoding: chunked\r\n", "\r\n"), {"a chunk of the reply has no size"}},
      {"chunk size no hex", reply("Transfer-Encoding: chunked\r\n", "0x2\r\n{}\r\n"), {"a chunk of the reply has no size"}},
      {"chunk size beyond 64 bits",
       reply("Transfer-Encoding: chunked\r\n", "10000000000000002\r\n"),
       {"a chunk of the reply has no size"}},
      {"chunk longer than its size",
       reply("Transfer-Encoding: chunked\r\n", "2\r\n{}x\r\n"),
       {"a chunk of the reply is longer than its size says"}},
      {"gzip", reply("Content-Encoding: gzip\r\nContent-Length: 2\r\n", "{}"), {unknown_coding}},
      {"zstd, and it is not",
       reply("Compression: zstd\r\nContent-Length: 4\r\n", "{  }"),
       {"the reply cannot be decompressed: Unknown frame descriptor"}},
      {"zstd, cut short",
       reply("Compression: zstd\r\n" + sized(zstd_json.substr(1)), zstd_json.substr(0, zstd_json.size() - 1)),
       {"the compressed reply ends too early"}},
      {"zstd, nothing", reply("Compression: zstd\r\nContent-Length: 0\r\n", ""), {"the compressed reply ends too early"}},
      {"zstd, JSON beyond the bound", reply("Compression: zstd\r\n", compressed(std::string(cap + 1, 'x'))), {too_large}},
      {"zstd, a bomb",
       reply("Message-Offset: 2\r\nCompression: zstd\r\n", compressed(std::string(max_decompressed + 1, 'x'))),
       {"the reply, decompressed, is larger than the bound set"}},
      {"Message-Offset beyond the body",
       reply("Message-Offset: 3\r\nContent-Length: 2\r\n", "{}"),
       {"Message-Offset lies beyond the reply"}},
      {"Message-Offset no number",
       reply("Message-Offset: x\r\nContent-Length: 2\r\n", "{}"),
       {"Message-Offset is repeated or not a number"}},
      {"endless 1xx",
       [] {
         std::string bytes;
         while (bytes.size() <= HttpReplyReader::max_head) bytes += "HTTP/1.1 102 Processing\r\n\r\n";
         return bytes;
       }(),
       {"the head of the reply is too large"}},
      {"endless trailers",
       reply(
           "Transfer-Encoding: chunked\r\n", "0\r\n" +
                                                 [] {
                                                   std::string bytes;
                                                   while (bytes.size() <= HttpReplyReader::max_head) bytes += "X: y\r\n";
                                                   return bytes;
                                                 }()),
       {"the head of the reply is too large"}},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(read(row.bytes, std::max<std::size_t>(row.bytes.size(), 1), row.close), row.expected) << row.what;
    EXPECT_EQ(read(row.bytes, 1, row.close), row.expected) << row.what << ", byte by byte";
  }
}

TEST(HttpReply, LineBound) {
  const std::string name = "X: ";
  const std::string fits = std::string(HttpReplyReader::max_line - name.size() - 2, 'a');
  EXPECT_EQ(read(reply(name + fits + "\r\nContent-Length: 0\r\n", ""), 7, false).state, "complete");
  EXPECT_EQ(read(reply(name + fits + "a\r\nContent-Length: 0\r\n", ""), 7, false).state, "a line of the reply is too long");
}

}  // namespace
}  // namespace mailbridge::rspamd
