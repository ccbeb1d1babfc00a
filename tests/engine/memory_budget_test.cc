#include "src/engine/memory_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

constexpr TimePoint kNever = TimePoint::max();

TEST(MemoryBudget, GrantsWhatFitsAndTakesItBack) {
  MemoryBudget budget(100);
  {
    const absl::StatusOr<MemoryBudget::Grant> first = budget.Take(60, {}, kNever);
    ASSERT_TRUE(first.ok());
    const absl::StatusOr<MemoryBudget::Grant> second = budget.Take(40, {}, kNever);
    ASSERT_TRUE(second.ok());
    EXPECT_EQ(budget.held(), 100U);
  }
  EXPECT_EQ(budget.held(), 0U);
}

TEST(MemoryBudget, ADemandAboveTheLimitIsGrantedAlone) {
  MemoryBudget budget(100);
  const absl::StatusOr<MemoryBudget::Grant> large = budget.Take(1000, {}, kNever);
  EXPECT_TRUE(large.ok());
  EXPECT_EQ(ReasonOf(budget.Take(1, {}, TimePoint::min()).status()), Reason::kDeadlineExceeded);
}

TEST(MemoryBudget, WaitingEndsWithTheDeadline) {
  MemoryBudget budget(100);
  const absl::StatusOr<MemoryBudget::Grant> all = budget.Take(100, {}, kNever);
  const TimePoint soon = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
  EXPECT_EQ(ReasonOf(budget.Take(1, {}, soon).status()), Reason::kDeadlineExceeded);
}

TEST(MemoryBudget, WaitingEndsWithTheStop) {
  MemoryBudget budget(100);
  const absl::StatusOr<MemoryBudget::Grant> all = budget.Take(100, {}, kNever);
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  EXPECT_EQ(ReasonOf(budget.Take(1, stop.get_token(), kNever).status()), Reason::kCancelled);
}

TEST(MemoryBudget, WhoGaveUpDoesNotBlockTheOneBehind) {
  MemoryBudget budget(100);
  absl::StatusOr<MemoryBudget::Grant> most = budget.Take(90, {}, kNever);
  std::stop_source stop;
  std::jthread large([&] {
    EXPECT_EQ(ReasonOf(budget.Take(50, stop.get_token(), kNever).status()), Reason::kCancelled);
  });
  std::jthread small([&] { EXPECT_TRUE(budget.Take(10, {}, kNever).ok()); });
  stop.request_stop();
}

TEST(MemoryBudget, ManyThreadsNeverHoldMoreThanTheLimit) {
  constexpr std::size_t kLimit = 100;
  MemoryBudget budget(kLimit);
  std::atomic<std::size_t> held = 0;
  std::atomic<std::size_t> most = 0;
  {
    std::vector<std::jthread> threads;
    threads.reserve(4);
    for (std::size_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < 500; ++i) {
          const std::size_t bytes = (i * 7 + t * 13) % 60 + 1;
          const absl::StatusOr<MemoryBudget::Grant> grant = budget.Take(bytes, {}, kNever);
          ASSERT_TRUE(grant.ok());
          const std::size_t now = held += bytes;
          std::size_t seen = most;
          while (seen < now && !most.compare_exchange_weak(seen, now)) {
          }
          held -= bytes;
        }
      });
    }
  }
  EXPECT_LE(most, kLimit);
  EXPECT_EQ(budget.held(), 0U);
}

}  // namespace
}  // namespace pixembed
