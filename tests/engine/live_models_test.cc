// Models that come and go while others are served.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <future>
#include <memory>
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

class LiveModelsTest : public EngineTest {
 protected:
  // Its number.
  std::size_t Add(std::shared_ptr<FakeModel> model) {
    const absl::StatusOr<std::size_t> number = engine_->Add(std::move(model));
    EXPECT_TRUE(number.ok()) << number.status();
    return number.value_or(0);
  }

  absl::Status SubmitOne(std::size_t model, const std::string& name) {
    return engine_->Submit(model, Call(inbox_.Expect(name, "5")));
  }

  void AwaitGone(std::size_t model) {
    while (engine_->model(model) != nullptr) std::this_thread::yield();
  }
};

TEST_F(LiveModelsTest, AModelThatWasAddedIsServedBesideTheOther) {
  Start();
  const auto added = std::make_shared<FakeModel>();
  EXPECT_EQ(Add(added), 1U);
  EXPECT_EQ(engine_->model(1), added);
  ASSERT_TRUE(SubmitOne(0, "old").ok());
  ASSERT_TRUE(SubmitOne(1, "new").ok());
  EXPECT_EQ(FirstValue(inbox_.Await("old")), 5);
  EXPECT_EQ(FirstValue(inbox_.Await("new")), 5);
  EXPECT_EQ(added->calls().back().first_means.size(), 1U);
}

// Its queue, which another model may have had, is of its size.
TEST_F(LiveModelsTest, AModelThatWasAddedHasBatchesOfItsOwnSize) {
  FakeModelOptions options;
  options.best_batch_size = 1;
  models_ = {std::make_shared<FakeModel>(options)};
  EngineOptions engine_options;
  engine_options.decode_threads = 1;
  Start(engine_options);
  for (const int size : {4, 1, 2}) {
    options.best_batch_size = size;
    const auto added = std::make_shared<FakeModel>(options);
    const std::size_t number = Add(added);
    added->Hold();
    const std::string name = std::to_string(size);
    constexpr int kImages = 32;
    std::vector<Item> items;
    items.reserve(kImages);
    for (int i = 0; i < kImages; ++i) {
      items.push_back(inbox_.Expect(name + " " + std::to_string(i), "1"));
    }
    ASSERT_TRUE(engine_->Submit(number, std::move(items)).ok());
    // The decode thread, which is one, has done the others when it comes to this.
    ASSERT_TRUE(engine_->Submit(number, Call(inbox_.Expect("broken " + name, "broken"))).ok());
    EXPECT_FALSE(inbox_.Await("broken " + name).ok());
    added->LetGo();
    ASSERT_TRUE(engine_->Remove(number).ok());  // when they are done
    const std::vector<std::size_t> sizes = added->batch_sizes();
    EXPECT_EQ(*std::max_element(sizes.begin(), sizes.end()), static_cast<std::size_t>(size));
  }
}

TEST_F(LiveModelsTest, EveryWorkerIsWarmBeforeItIsServedOnOneCoreAtATime) {
  EngineOptions options;
  options.max_batch_size = 3;
  options.warm_up_batch_sizes = {1, 3};
  Start(options);
  const auto added = std::make_shared<FakeModel>();
  Add(added);
  EXPECT_EQ(added->runners_made(), kCores);
  EXPECT_THAT(added->batch_sizes(), ::testing::ElementsAre(1, 3, 1, 3));
  EXPECT_EQ(added->max_threads_at_once(), 1);
}

TEST_F(LiveModelsTest, OthersAreServedWhileOneWarmsUp) {
  Start();
  const auto added = std::make_shared<FakeModel>();
  added->Hold();
  auto adding = std::async(std::launch::async, [&] { return engine_->Add(added); });
  added->AwaitHeld(1);
  ASSERT_TRUE(SubmitOne(0, "meanwhile").ok());
  EXPECT_TRUE(inbox_.Await("meanwhile").ok());
  EXPECT_EQ(Calls().back().threads, kCores - 1);
  EXPECT_EQ(SubmitOne(1, "too early").code(), absl::StatusCode::kNotFound);
  added->LetGo();
  EXPECT_TRUE(adding.get().ok());
}

TEST_F(LiveModelsTest, OfOneThatCannotBeAddedNothingIsLeft) {
  Start();
  auto added = std::make_shared<FakeModel>();
  added->FailRunners(MakeError(Reason::kOutOfMemory, "no room"));
  EXPECT_EQ(ReasonOf(engine_->Add(added).status()), Reason::kOutOfMemory);
  added->FailRunners(absl::OkStatus());
  added->FailNext(MakeError(Reason::kDeviceFailure, "no luck"));
  EXPECT_EQ(ReasonOf(engine_->Add(added).status()), Reason::kDeviceFailure);
  EXPECT_EQ(added->runners_alive(), 0);
  const std::weak_ptr<FakeModel> seen = added;
  added.reset();
  EXPECT_TRUE(seen.expired());
  ASSERT_TRUE(SubmitOne(0, "as before").ok());
  EXPECT_TRUE(inbox_.Await("as before").ok());
}

TEST_F(LiveModelsTest, AModelOfOtherDevicesIsRefused) {
  Start();
  const auto added = std::make_shared<FakeModel>(
      FakeModelOptions{.devices = {Device{.kind = Device::Kind::kCuda, .index = 0}}});
  EXPECT_EQ(ReasonOf(engine_->Add(added).status()), Reason::kInvalidOption);
}

TEST_F(LiveModelsTest, NothingIsAddedOnceADrainHasBegun) {
  Start();
  ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  EXPECT_EQ(ReasonOf(engine_->Add(std::make_shared<FakeModel>()).status()), Reason::kDraining);
}

TEST_F(LiveModelsTest, AnEngineMayBeginWithoutModels) {
  models_.clear();
  EngineOptions options;
  options.devices = {Device{}};
  auto engine = StartEngine({}, options, kCores, decoder_.decoder());
  ASSERT_TRUE(engine.ok()) << engine.status();
  engine_ = *std::move(engine);
  EXPECT_EQ(ReasonOf(SubmitOne(0, "nobody")), Reason::kUnknownModel);
  const auto added = std::make_shared<FakeModel>();
  EXPECT_EQ(Add(added), 0U);
  ASSERT_TRUE(SubmitOne(0, "one").ok());
  EXPECT_TRUE(inbox_.Await("one").ok());
}

TEST_F(LiveModelsTest, ARemovedModelIsUnknownAndItsNumberIsNotUsedAgain) {
  Start();
  ASSERT_TRUE(engine_->Remove(0).ok());
  EXPECT_EQ(engine_->model(0), nullptr);
  EXPECT_EQ(ReasonOf(SubmitOne(0, "refused")), Reason::kUnknownModel);
  absl::Status answer;
  engine_->SubmitWhenRoom(0, Call(inbox_.Expect("refused too", "5")),
                          [&answer](absl::Status status) { answer = std::move(status); });
  EXPECT_EQ(ReasonOf(answer), Reason::kUnknownModel);
  EXPECT_EQ(engine_->stats().refused, 2U);
  EXPECT_EQ(ReasonOf(engine_->Remove(0)), Reason::kUnknownModel);
  EXPECT_EQ(ReasonOf(engine_->Remove(9)), Reason::kUnknownModel);
  EXPECT_EQ(Add(std::make_shared<FakeModel>()), 1U);
}

TEST_F(LiveModelsTest, RemoveGivesRunnersAndModelBack) {
  Start();
  auto added = std::make_shared<FakeModel>();
  const std::size_t number = Add(added);
  ASSERT_TRUE(SubmitOne(number, "one").ok());
  EXPECT_TRUE(inbox_.Await("one").ok());
  EXPECT_EQ(added->runners_alive(), kCores);
  ASSERT_TRUE(engine_->Remove(number).ok());
  EXPECT_EQ(added->runners_alive(), 0);
  EXPECT_EQ(added.use_count(), 1);
}

// That of Start, too.
TEST_F(LiveModelsTest, TheEngineKeepsNoModelForItself) {
  Start();
  const std::weak_ptr<FakeModel> seen = models_.front();
  models_.clear();
  ASSERT_TRUE(engine_->Remove(0).ok());
  EXPECT_TRUE(seen.expired());
}

TEST_F(LiveModelsTest, WhatWasSubmittedIsFinishedInLineAsWellAsInside) {
  EngineOptions options;
  options.max_queued_images = 3;
  options.max_batch_size = 1;
  Start(options);
  model().Hold();
  for (const char* const name : {"1", "2", "3"}) ASSERT_TRUE(SubmitOne(0, name).ok());
  std::atomic<int> admitted = 0;
  engine_->SubmitWhenRoom(0, Call(inbox_.Expect("in line", "5")),
                          [&admitted](const absl::Status& status) { admitted += status.ok(); });
  auto removal = std::async(std::launch::async, [&] { return engine_->Remove(0); });
  AwaitGone(0);
  EXPECT_EQ(ReasonOf(SubmitOne(0, "too late")), Reason::kUnknownModel);
  EXPECT_EQ(inbox_.size(), 0U);
  model().LetGo();
  EXPECT_TRUE(removal.get().ok());
  for (const char* const name : {"1", "2", "3", "in line"}) {
    EXPECT_TRUE(inbox_.Await(name).ok()) << name;
  }
  EXPECT_EQ(admitted, 1);
  EXPECT_EQ(engine_->RetryDelay(), std::chrono::milliseconds(1));  // nothing of it is counted
}

TEST_F(LiveModelsTest, ADrainCutsOffWhatARemovalWaitsFor) {
  Start();
  model().Hold();
  ASSERT_TRUE(SubmitOne(0, "running").ok());
  model().AwaitHeld(1);
  ASSERT_TRUE(SubmitOne(0, "queued").ok());
  auto removal = std::async(std::launch::async, [&] { return engine_->Remove(0); });
  AwaitGone(0);
  auto drain = std::async(std::launch::async,
                          [&] { return engine_->Drain(std::chrono::steady_clock::now()); });
  EXPECT_EQ(inbox_.AwaitReason("queued"), Reason::kDraining);
  EXPECT_EQ(inbox_.AwaitReason("running"), Reason::kDraining);
  model().LetGo();
  EXPECT_TRUE(removal.get().ok());
  EXPECT_EQ(drain.get().code(), absl::StatusCode::kDeadlineExceeded);
}

// Models come and go under calls from several threads: what was taken is answered once and with a
// vector, what comes too late hears that the model is not there, and another is not disturbed.
TEST_F(LiveModelsTest, UnderLoadNothingIsLost) {
  constexpr int kThreads = 3;
  constexpr int kReloads = 40;
  EngineOptions options;
  options.max_queue_delay = std::chrono::microseconds(100);
  Start(options);
  std::atomic<std::size_t> current = Add(std::make_shared<FakeModel>());
  std::atomic<bool> enough = false;
  std::atomic<int> admitted = 0;
  std::atomic<int> done = 0;
  std::atomic<int> refused = 0;
  const auto produce = [&](int thread) {
    for (int call = 0; !enough; ++call) {
      const std::size_t number = call % 3 == 0 ? 0 : current.load();
      std::vector<Item> items;
      const int count = 1 + call % 5;
      for (int i = 0; i < count; ++i) {
        Item item;
        item.image = Encoded(std::to_string(call % 256));
        if (i % 2 == 1) item.lane = Lane::kBulk;
        item.done = [&done, expected = static_cast<float>(call % 256)](
                        const absl::StatusOr<Outcome>& outcome) {
          EXPECT_TRUE(outcome.ok()) << outcome.status();
          EXPECT_EQ(FirstValue(outcome), expected);
          ++done;
        };
        items.push_back(std::move(item));
      }
      const auto answer = [&, number, count](const absl::Status& status) {
        if (status.ok()) {
          admitted += count;
        } else {
          EXPECT_EQ(ReasonOf(status), Reason::kUnknownModel);
          EXPECT_NE(number, 0U);
          refused += count;
        }
      };
      std::promise<void> answered;
      engine_->SubmitWhenRoom(number, std::move(items), [&](const absl::Status& status) {
        answer(status);
        answered.set_value();
      });
      answered.get_future().wait();
      if (thread == 0) continue;
      Item lone;
      lone.image = Encoded("7");
      lone.done = [&done](const absl::StatusOr<Outcome>& outcome) {
        EXPECT_TRUE(outcome.ok()) << outcome.status();
        ++done;
      };
      const absl::Status status = engine_->Submit(0, Call(std::move(lone)));
      EXPECT_TRUE(status.ok() || ReasonOf(status) == Reason::kOverloaded) << status;
      if (status.ok()) ++admitted;
    }
  };
  {
    std::vector<std::jthread> threads;
    threads.reserve(kThreads);
    for (int thread = 0; thread < kThreads; ++thread) threads.emplace_back(produce, thread);
    for (int i = 0; i < kReloads; ++i) {
      auto next = std::make_shared<FakeModel>();
      const std::weak_ptr<FakeModel> seen = next;
      const std::size_t old = current.exchange(Add(std::move(next)));
      EXPECT_TRUE(engine_->Remove(old).ok());
      EXPECT_FALSE(seen.expired());
    }
    enough = true;
  }
  ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  EXPECT_EQ(done, admitted);
  EXPECT_EQ(engine_->stats().completed, static_cast<std::uint64_t>(admitted));
  EXPECT_LE(model().max_threads_at_once(), kCores);
}

}  // namespace
}  // namespace pixembed
