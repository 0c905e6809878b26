#include "rspamd/compression.hpp"

#include <random>
#include <string>

#include <gtest/gtest.h>

#include "messages.hpp"

namespace mailbridge::rspamd {
namespace {

constexpr std::size_t unbounded = std::string::npos;

std::shared_ptr<const mail::Message> random_message_of(std::size_t lines) {
  auto message = std::make_shared<mail::Message>();
  message->append_line("Subject: lines");
  message->append_line("");
  std::mt19937 random(1);
  for (std::size_t i = 0; i < lines; ++i) message->append_line("line " + std::to_string(random()));
  return message;
}

// Lines of 100 bytes that are hard to compress.
void append_noise(mail::Message& message, std::size_t lines) {
  message.append_line("");
  std::mt19937 random(1);
  for (std::size_t i = 0; i < lines; ++i) {
    std::string line(98, ' ');
    for (char& c : line) c = static_cast<char>(' ' + random() % 90);
    message.append_line(line);
  }
}

std::string compressed(const std::string& text) {
  std::string frame(ZSTD_compressBound(text.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), text.data(), text.size(), 1));
  return frame;
}

// The text, or what is wrong.
std::string decompressed(std::string_view frame, std::size_t step = unbounded, std::size_t most = unbounded) {
  Decompressor decompressor(most);
  std::string text;
  for (; !frame.empty(); frame.remove_prefix(std::min(step, frame.size()))) {
    const auto wrong = decompressor.feed(frame.substr(0, step), [&](std::string_view piece) {
      text += piece;
      return true;
    });
    if (wrong) return wrong->what;
  }
  return decompressor.complete() ? text : "incomplete";
}

TEST(Compression, AMessageThereAndBack) {
  for (const std::size_t lines : {0u, 1u, 1000u, 300000u}) {
    const auto message = random_message_of(lines);
    Compressor compressor(message);
    std::size_t steps = 0;
    while (!compressor.step()) ++steps;
    EXPECT_EQ(steps, message->size() >> 20);
    EXPECT_TRUE(compressor.step());
    const std::string frame = bytes_of(*compressor.result());
    EXPECT_EQ(ZSTD_getFrameContentSize(frame.data(), frame.size()), message->size());
    EXPECT_TRUE(decompressed(frame) == bytes_of(*message)) << lines;
    EXPECT_TRUE(lines < 1000 || frame.size() < message->size() * 2 / 3);
  }
}

TEST(Compression, AnEmptyMessage) {
  Compressor compressor(std::make_shared<mail::Message>());
  EXPECT_TRUE(compressor.step());
  EXPECT_EQ(decompressed(bytes_of(*compressor.result())), "");
}

// The copy counts against the same budget, and goes to a file beyond it.
TEST(Compression, TheBudgetIsShared) {
  const auto budget = std::make_shared<mail::Budget>(mail::Budget{std::size_t{128} * 1024, "/var/tmp"});
  auto message = std::make_shared<mail::Message>(budget);
  append_noise(*message, 10000);
  Compressor compressor(message);
  while (!compressor.step()) continue;
  EXPECT_FALSE(compressor.result()->failed());
  EXPECT_LE(budget->used, std::size_t{256} * 1024);
  EXPECT_TRUE(decompressed(bytes_of(*compressor.result())) == bytes_of(*message));
}

TEST(Compression, NoRoomForTheCopy) {
  const auto budget = std::make_shared<mail::Budget>(mail::Budget{std::size_t{64} * 1024, "/nonexistent"});
  auto message = std::make_shared<mail::Message>(budget);
  append_noise(*message, 400);
  ASSERT_FALSE(message->failed());
  budget->take(budget->limit - budget->used);
  Compressor compressor(message);
  while (!compressor.step()) continue;
  EXPECT_TRUE(compressor.result()->failed());
}

TEST(Compression, PiecesMakeNoDifference) {
  const std::string text = bytes_of(*random_message_of(20000));
  for (const std::size_t step : {std::size_t{1}, std::size_t{1000}, unbounded})
    EXPECT_TRUE(decompressed(compressed(text), step) == text);
}

TEST(Compression, EveryTruncation) {
  const std::string frame = compressed(bytes_of(*random_message_of(50)));
  for (std::size_t size = 1; size < frame.size(); ++size) EXPECT_EQ(decompressed(frame.substr(0, size)), "incomplete") << size;
}

// Frames of rspamd have no checksum: a changed bit is an error, or other text of bounded size.
TEST(Compression, EveryBit) {
  const std::string text = bytes_of(*random_message_of(50));
  const std::string frame = compressed(text);
  std::size_t errors = 0;
  for (std::size_t bit = 0; bit < 8 * frame.size(); ++bit) {
    std::string other = frame;
    char& byte = other[bit / 8];
    byte = static_cast<char>(byte ^ (1 << bit % 8));
    const std::string result = decompressed(other, unbounded, 2 * text.size());
    EXPECT_LE(result.size(), 2 * text.size());
    errors += result != text;
  }
  EXPECT_GT(errors, 0u);
}

TEST(Compression, ABomb) {
  const std::string bomb = compressed(std::string(200'000'000, 'x'));
  ASSERT_LT(bomb.size(), 30'000u);
  EXPECT_EQ(decompressed(bomb, unbounded, 64 << 20), "the reply, decompressed, is larger than the bound set");
  EXPECT_EQ(decompressed(bomb, 1, 1 << 20), "the reply, decompressed, is larger than the bound set");
}

TEST(Compression, AWindowLargerThanAPeerMayWant) {
  std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_windowLog, Decompressor::max_window_log + 1);
  const std::string text = "x";
  std::string frame(1000, '\0');
  ZSTD_outBuffer to{frame.data(), frame.size(), 0};
  ZSTD_inBuffer from{text.data(), text.size(), 0};
  ZSTD_compressStream2(context.get(), &to, &from, ZSTD_e_flush);
  EXPECT_EQ(decompressed(frame.substr(0, to.pos)),
            "the reply cannot be decompressed: Frame requires too much memory for decoding");
}

TEST(Compression, WhatIsNoFrame) {
  EXPECT_EQ(decompressed("{\"action\""), "the reply cannot be decompressed: Unknown frame descriptor");
  EXPECT_EQ(decompressed(compressed("x") + "garbage"), "something follows the compressed reply");
  EXPECT_EQ(decompressed(compressed("x") + "g", 1), "something follows the compressed reply");
}

}  // namespace
}  // namespace mailbridge::rspamd
