// The door: full by count, by bytes; who waits in line; what a refused caller is told; the memory
// that decodes may take.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "tests/engine/engine_fixture.h"

namespace pixembed {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class OverloadTest : public EngineTest {
 protected:
  void StartWithRoomFor(std::size_t images, std::size_t bytes = 1 << 20, int workers = 0) {
    EngineOptions options;
    options.workers_per_device = workers;
    options.max_queued_images = images;
    options.max_queued_bytes = bytes;
    Start(options);
  }

  // Items "0", "1", ... of one byte each that answer in the inbox.
  std::vector<Item> Items(int first, int count) {
    std::vector<Item> items;
    items.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
      items.push_back(inbox_.Expect(std::to_string(first + i), "1"));
    }
    return items;
  }

  // SubmitWhenRoom whose answer is recorded under `name`.
  void SubmitWhenRoom(const std::string& name, std::vector<Item> items) {
    engine_->SubmitWhenRoom(0, std::move(items), [this, name](const absl::Status& status) {
      const std::lock_guard lock(mutex_);
      const std::string reason(status.ok() ? "OK" : Describe(*ReasonOf(status)).name);
      answers_.push_back(name + " " + reason);
      answered_.notify_all();
    });
  }
  std::vector<std::string> AwaitAnswers(std::size_t count) {
    std::unique_lock lock(mutex_);
    answered_.wait(lock, [&] { return answers_.size() >= count; });
    return answers_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable answered_;
  std::vector<std::string> answers_;
};

TEST_F(OverloadTest, AFullQueueAnswersAtOnceAndTakesAllOrNothing) {
  StartWithRoomFor(4);
  OccupyWorkers();
  ASSERT_TRUE(engine_->Submit(0, Items(0, 2)).ok());
  // The workers are held: an answer that waited for them would never come.
  const absl::Status refused = engine_->Submit(0, Items(100, 2));
  EXPECT_EQ(ReasonOf(refused), Reason::kOverloaded);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("3 of 4 images"));
  EXPECT_TRUE(engine_->Submit(0, Items(2, 1)).ok());
  EXPECT_EQ(engine_->stats().queued_images, 4U);
  EXPECT_EQ(engine_->stats().refused, 2U);
  model().LetGo();
  inbox_.Await(4);
  EXPECT_FALSE(inbox_.Has("100"));
}

TEST_F(OverloadTest, FullByBytes) {
  StartWithRoomFor(100, 10);
  OccupyWorkers();
  const absl::Status refused = engine_->Submit(0, Call(inbox_.Expect("refused", "1         ")));
  EXPECT_EQ(ReasonOf(refused), Reason::kOverloaded);
  EXPECT_TRUE(engine_->Submit(0, Call(inbox_.Expect("fits", "1        "))).ok());
  EXPECT_EQ(engine_->stats().queued_bytes, 10U);
}

TEST_F(OverloadTest, WaitersAreAdmittedInOrder) {
  // Of two workers that make room at once, either may be the first to say so.
  StartWithRoomFor(2, 1 << 20, /*workers=*/1);
  OccupyWorkers();
  SubmitWhenRoom("a", Items(0, 2));
  SubmitWhenRoom("b", Items(10, 1));
  SubmitWhenRoom("c", Items(20, 1));
  EXPECT_EQ(ReasonOf(engine_->Submit(0, Items(30, 1))), Reason::kOverloaded);
  model().LetGo();
  inbox_.Await(5);
  EXPECT_THAT(AwaitAnswers(3), ElementsAre("a OK", "b OK", "c OK"));
}

TEST_F(OverloadTest, TheWordComesBeforeTheFirstResult) {
  StartWithRoomFor(1);
  for (int i = 0; i < 50; ++i) {
    std::vector<Item> items;
    Item item;
    item.image = Encoded("1");
    item.done = [this, i](const absl::StatusOr<Outcome>& outcome) {
      inbox_.Put("done" + std::to_string(i), outcome);
    };
    items.push_back(std::move(item));
    engine_->SubmitWhenRoom(0, std::move(items), [this, i](const absl::Status&) {
      EXPECT_FALSE(inbox_.Has("done" + std::to_string(i)));
    });
  }
  inbox_.Await(50);
}

TEST_F(OverloadTest, AWaiterWhoseStopIsRequestedLeavesTheLineWhileAllIsBusy) {
  StartWithRoomFor(1);
  OccupyWorkers();
  std::stop_source stop;
  std::vector<Item> items = Items(0, 3);
  for (Item& item : items) item.stop = stop.get_token();
  SubmitWhenRoom("a", std::move(items));
  stop.request_stop();
  EXPECT_THAT(AwaitAnswers(1), ElementsAre("a CANCELLED"));
  EXPECT_EQ(inbox_.size(), 0U);
}

TEST_F(OverloadTest, ACallLargerThanTheLimitIsAdmittedAlone) {
  StartWithRoomFor(2);
  OccupyWorkers();
  SubmitWhenRoom("large", Items(0, 9));
  model().LetGo();
  inbox_.Await(10);
  EXPECT_THAT(AwaitAnswers(1), ElementsAre("large OK"));
}

TEST_F(OverloadTest, BulkStreamsDoNotMakeTheEngineRefuseOnline) {
  StartWithRoomFor(8);
  OccupyWorkers();
  for (int i = 0; i < 10; ++i) {
    std::vector<Item> bulk = Items(10 * i, 2);
    for (Item& item : bulk) item.lane = Lane::kBulk;
    SubmitWhenRoom("bulk", std::move(bulk));
  }
  EXPECT_TRUE(engine_->Submit(0, Items(1000, 3)).ok());
  model().LetGo();
  inbox_.Await(1 + 20 + 3);
}

TEST_F(OverloadTest, AWaitersWordMaySubmitAgain) {
  StartWithRoomFor(2);
  std::function<void(int)> next = [&](int n) {
    if (n == 50) return;
    std::vector<Item> items = Items(n, 1);
    engine_->SubmitWhenRoom(0, std::move(items), [&next, n](const absl::Status& status) {
      EXPECT_TRUE(status.ok());
      next(n + 1);
    });
  };
  next(0);
  inbox_.Await(50);
}

TEST_F(OverloadTest, RetryDelayGrowsWithTheQueue) {
  StartWithRoomFor(1000);
  EXPECT_EQ(engine_->RetryDelay(), milliseconds(1));
  OccupyWorkers();
  ASSERT_TRUE(engine_->Submit(0, Items(0, 100)).ok());
  const milliseconds some = engine_->RetryDelay();
  ASSERT_TRUE(engine_->Submit(0, Items(100, 800)).ok());
  const milliseconds more = engine_->RetryDelay();
  EXPECT_GT(some, milliseconds(1));
  EXPECT_GT(more, some);
  model().LetGo();
  ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  EXPECT_EQ(engine_->RetryDelay(), milliseconds(1));
}

TEST_F(OverloadTest, TheMemoryBudgetBoundsConcurrentDecodes) {
  EngineOptions options;
  options.decode_threads = 4;
  options.max_decoded_bytes = std::size_t{2} << 20;
  Start(options);
  decoder_.gate().Hold();
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect(std::to_string(i), "1 mb=1"))).ok());
  }
  decoder_.gate().AwaitHeld(2);
  for (int i = 0; i < 4; ++i) {
    EXPECT_LE(decoder_.decodes(), 2 + i);
    EXPECT_LE(engine_->stats().decoding_bytes, options.max_decoded_bytes);
    decoder_.gate().LetGoOne();
    decoder_.gate().AwaitHeld(2);
  }
  decoder_.gate().LetGo();
  inbox_.Await(6);
  EXPECT_EQ(engine_->stats().decoding_bytes, 0U);
}

TEST_F(OverloadTest, AnImageLargerThanTheMemoryBudgetIsDecodedAlone) {
  EngineOptions options;
  options.max_decoded_bytes = 1 << 20;
  Start(options);
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("1 mb=100"), inbox_.Expect("2 mb=1"))).ok());
  EXPECT_TRUE(inbox_.Await("1 mb=100").ok());
  EXPECT_TRUE(inbox_.Await("2 mb=1").ok());
}

}  // namespace
}  // namespace pixembed
