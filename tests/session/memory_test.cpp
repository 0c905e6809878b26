#include "session/memory.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace mailbridge::session {
namespace {

TEST(WithinMemory, SomethingIsDoneInstead) {
  int done = 0, instead = 0;
  within_memory([&] { ++done; }, [&] { ++instead; });
  within_memory([&] { throw std::bad_alloc(); }, [&] { ++instead; });
  if_memory_allows([&] { throw std::bad_alloc(); });
  EXPECT_EQ(done, 1);
  EXPECT_EQ(instead, 1);
}

TEST(WithinMemory, AnotherFaultIsNotHidden) {
  EXPECT_THROW(if_memory_allows([] { throw std::runtime_error("no"); }), std::runtime_error);
}

}  // namespace
}  // namespace mailbridge::session
