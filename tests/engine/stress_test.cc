// Everything at once, from several threads: every done exactly once, and the counts add up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "tests/engine/engine_fixture.h"

namespace pixembed {
namespace {

class StressTest : public EngineTest {
 protected:
  static constexpr int kThreads = 4;
  static constexpr int kCallsPerThread = 150;

  StressTest() { models_ = {std::make_shared<FakeModel>(), std::make_shared<FakeModel>()}; }

  // Calls of 1 to 9 images with random lanes, deadlines, cancels and broken bytes.
  void Produce(unsigned seed) {
    std::mt19937 random(seed);
    const auto below = [&random](int n) {
      return static_cast<int>(random() % static_cast<unsigned>(n));
    };
    for (int call = 0; call < kCallsPerThread; ++call) {
      std::stop_source stop;
      std::vector<Item> items;
      const int count = 1 + below(9);
      for (int i = 0; i < count; ++i) {
        Item item;
        item.image = Encoded(below(10) == 0 ? "corrupt" : std::to_string(below(256)) + " mb=1");
        item.stop = stop.get_token();
        if (below(3) == 0) item.lane = Lane::kBulk;
        if (below(5) == 0) {
          item.deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(below(2000));
        }
        item.done = [this, calls = std::make_shared<std::atomic<int>>(0)](
                        const absl::StatusOr<Outcome>& outcome) {
          EXPECT_EQ(calls->fetch_add(1), 0);
          Count(outcome.status());
        };
        items.push_back(std::move(item));
      }
      const auto model = static_cast<std::size_t>(below(2));
      if (below(2) == 0) {
        const absl::Status status = engine_->Submit(model, std::move(items));
        (status.ok() ? admitted_ : refused_) += count;
      } else {
        engine_->SubmitWhenRoom(model, std::move(items), [this, count](const absl::Status& status) {
          (status.ok() ? admitted_ : refused_) += count;
        });
      }
      if (below(4) == 0) stop.request_stop();
    }
  }

  void Count(const absl::Status& status) {
    ++done_;
    if (status.ok()) {
      ++completed_;
      return;
    }
    const std::optional<Reason> reason = ReasonOf(status);
    EXPECT_TRUE(reason == Reason::kCancelled || reason == Reason::kDeadlineExceeded ||
                reason == Reason::kCorruptImage || reason == Reason::kDraining)
        << status;
  }

  void ProduceFromAllThreads() {
    std::vector<std::jthread> threads;
    threads.reserve(kThreads);
    for (unsigned seed = 0; seed < kThreads; ++seed) {
      threads.emplace_back([this, seed] { Produce(seed); });
    }
  }

  void ExpectCountsToAddUp() {
    const EngineStats stats = engine_->stats();
    EXPECT_EQ(done_, admitted_);
    EXPECT_EQ(stats.admitted, static_cast<std::uint64_t>(admitted_));
    EXPECT_EQ(stats.refused, static_cast<std::uint64_t>(refused_));
    EXPECT_EQ(stats.completed, static_cast<std::uint64_t>(completed_));
    EXPECT_EQ(stats.completed + stats.failed, stats.admitted);
    EXPECT_EQ(stats.queued_images, 0U);
    EXPECT_EQ(stats.queued_bytes, 0U);
    EXPECT_EQ(stats.decoding_bytes, 0U);
    for (const auto& model : models_) EXPECT_LE(model->max_threads_at_once(), kCores);
  }

  static EngineOptions SmallLimits() {
    EngineOptions options;
    options.max_queued_images = 40;
    options.max_decoded_bytes = std::size_t{2} << 20;
    options.max_queue_delay = std::chrono::microseconds(100);
    return options;
  }

  std::atomic<int> admitted_ = 0;
  std::atomic<int> refused_ = 0;
  std::atomic<int> done_ = 0;
  std::atomic<int> completed_ = 0;
};

TEST_F(StressTest, EveryDoneExactlyOnce) {
  Start(SmallLimits());
  ProduceFromAllThreads();
  ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  ExpectCountsToAddUp();
  EXPECT_GT(completed_, 0);
  EXPECT_EQ(engine_->RetryDelay(), std::chrono::milliseconds(1));
}

TEST_F(StressTest, EveryDoneExactlyOnceThoughADrainCutsIn) {
  Start(SmallLimits());
  std::jthread producers([this] { ProduceFromAllThreads(); });
  const absl::Status status =
      engine_->Drain(std::chrono::steady_clock::now() + std::chrono::milliseconds(3));
  EXPECT_TRUE(status.ok() || ReasonOf(status) == Reason::kDeadlineExceeded) << status;
  producers.join();
  ExpectCountsToAddUp();
}

TEST_F(StressTest, EveryDoneExactlyOnceWithAModelThatFailsNowAndThen) {
  Start(SmallLimits());
  models_[0]->LimitMemoryTo(1);
  ProduceFromAllThreads();
  ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  ExpectCountsToAddUp();
}

}  // namespace
}  // namespace pixembed
