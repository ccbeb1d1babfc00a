// The walk of an image through the engine: what comes out, on what it ran, what fails alone.
#include "src/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/engine/start.h"
#include "src/error/error.h"
#include "src/model/model.h"
#include "tests/engine/engine_fixture.h"

namespace pixembed {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsSupersetOf;
using ::testing::Le;
using ::testing::SizeIs;

TEST_F(EngineTest, AnImageBecomesItsVectorWithTimings) {
  Start();
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("7"))).ok());
  const absl::StatusOr<Outcome> outcome = inbox_.Await("7");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(FirstValue(outcome), 7.0F);
  EXPECT_EQ(outcome->embedding.dimensions, 3);
  EXPECT_EQ(outcome->timings.batch_size, 1);
  EXPECT_GT(outcome->timings.decode.count(), 0);
  EXPECT_GT(outcome->timings.queue.count(), 0);
  EXPECT_GT(outcome->timings.compute.count(), 0);
}

TEST_F(EngineTest, WarmUpRunsEverySizeOnEveryWorkerBeforeStartReturns) {
  EngineOptions options;
  options.warm_up_batch_sizes = {1, 2, 3};
  Start(options);
  std::vector<std::size_t> sizes = model().batch_sizes();
  std::sort(sizes.begin(), sizes.end());
  EXPECT_THAT(sizes, ElementsAre(1, 1, 2, 2, 3, 3));
  EXPECT_EQ(model().runners_made(), 2);
  EXPECT_EQ(engine_->stats().batches, 0U);
}

TEST_F(EngineTest, ThreadsAreNamedAfterTheirStage) {
  EngineOptions options;
  options.decode_threads = 3;
  Start(options);
  std::vector<std::string> names;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(thread.path() / "comm");
    std::getline(file, names.emplace_back());
  }
  EXPECT_THAT(names, IsSupersetOf({"embed-0", "embed-1", "decode-0", "decode-1", "decode-2"}));
}

TEST_F(EngineTest, StartFailsWithTheErrorOfTheWarmUp) {
  model().FailNext(MakeError(Reason::kDeviceFailure, "not a device"));
  const auto engine = StartEngine({models_[0]}, {}, kCores, decoder_.decoder());
  EXPECT_EQ(ReasonOf(engine.status()), Reason::kDeviceFailure);
}

TEST_F(EngineTest, StartFailsWhereNotOneImageFits) {
  model().LimitMemoryTo(0);
  EngineOptions options;
  options.max_batch_size = 8;
  options.warm_up_batch_sizes = {8};
  const auto engine = StartEngine({models_[0]}, options, kCores, decoder_.decoder());
  EXPECT_EQ(ReasonOf(engine.status()), Reason::kOutOfMemory);
}

TEST_F(EngineTest, TheWarmUpFindsHowManyImagesFit) {
  model().LimitMemoryTo(2);
  EngineOptions options;
  options.max_batch_size = 8;
  options.warm_up_batch_sizes = {8};
  std::mutex mutex;
  std::vector<std::string> warnings;
  options.warn = [&](const std::string& line) {
    const std::lock_guard lock(mutex);
    warnings.push_back(line);
  };
  Start(options);
  EXPECT_THAT(warnings, SizeIs(4));
  EXPECT_THAT(warnings, Contains("cpu has no memory for 4 images at once (--max_batch_size): "
                                 "batches run in pieces of 2"));
  std::vector<std::size_t> sizes = model().batch_sizes();  // of two workers
  std::sort(sizes.begin(), sizes.end());
  EXPECT_THAT(sizes, ElementsAre(2, 2, 2, 2, 2, 2, 2, 2, 4, 4, 8, 8));
}

TEST_F(EngineTest, StartFailsWithTheErrorOfTheRunner) {
  model().FailRunners(MakeError(Reason::kDeviceFailure, "no such device"));
  const auto engine = StartEngine({models_[0]}, {}, kCores, decoder_.decoder());
  EXPECT_EQ(ReasonOf(engine.status()), Reason::kDeviceFailure);
}

TEST_F(EngineTest, StartFailsWhereTheModelGivesNoNumbers) {
  model().SpoilVectorsOf(0);  // the warm-up's image is black
  const auto engine = StartEngine({models_[0]}, {}, kCores, decoder_.decoder());
  EXPECT_EQ(ReasonOf(engine.status()), Reason::kNonFiniteVector);
}

TEST_F(EngineTest, AVectorThatIsNotFiniteFailsAlone) {
  Start();
  model().SpoilVectorsOf(2);
  OccupyWorkers();
  ASSERT_TRUE(
      engine_->Submit(0, Call(inbox_.Expect("1"), inbox_.Expect("2"), inbox_.Expect("3"))).ok());
  model().LetGo();
  EXPECT_EQ(FirstValue(inbox_.Await("1")), 1.0F);
  EXPECT_EQ(inbox_.AwaitReason("2"), Reason::kNonFiniteVector);
  EXPECT_EQ(FirstValue(inbox_.Await("3")), 3.0F);
}

TEST_F(EngineTest, OneBrokenImageAmong64FailsAlone) {
  Start();
  std::vector<Item> items;
  items.reserve(64);
  for (int i = 0; i < 64; ++i) {
    const std::string name = std::to_string(i);
    items.push_back(inbox_.Expect(name, i == 17 ? "broken" : i == 40 ? "corrupt" : name));
  }
  ASSERT_TRUE(engine_->Submit(0, std::move(items)).ok());
  inbox_.Await(64);
  for (int i = 0; i < 64; ++i) {
    const absl::StatusOr<Outcome> outcome = inbox_.Await(std::to_string(i));
    if (i == 17) {
      EXPECT_EQ(ReasonOf(outcome.status()), Reason::kUnsupportedFormat);
    } else if (i == 40) {
      EXPECT_EQ(ReasonOf(outcome.status()), Reason::kCorruptImage);
    } else {
      EXPECT_EQ(FirstValue(outcome), static_cast<float>(i));
    }
  }
  ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  EXPECT_EQ(engine_->stats().completed, 62U);
  EXPECT_EQ(engine_->stats().failed, 2U);
}

TEST_F(EngineTest, EachItemGetsTheOutputThatItAskedFor) {
  Start();
  Item truncated = inbox_.Expect("truncated", "5");
  truncated.output.dimensions = 2;
  Item quantized = inbox_.Expect("quantized", "5");
  quantized.output.data_type = DataType::kInt8;
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(truncated), std::move(quantized))).ok());
  EXPECT_EQ(inbox_.Await("truncated")->embedding.dimensions, 2);
  EXPECT_EQ(inbox_.Await("quantized")->embedding.data_type, DataType::kInt8);
}

TEST_F(EngineTest, EachItemIsDecodedUnderItsOwnPolicy) {
  Start();
  Item plain = inbox_.Expect("plain", "5");
  Item composited = inbox_.Expect("composited", "5");
  composited.policy.background = Color{.red = 9};
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(plain), std::move(composited))).ok());
  EXPECT_EQ(FirstValue(inbox_.Await("plain")), 5.0F);
  EXPECT_EQ(FirstValue(inbox_.Await("composited")), 9.0F);
}

TEST_F(EngineTest, AnItemThatIsToBeDescribedEndsAfterTheDecodeStage) {
  Start();
  Item described = inbox_.Expect("described", "7");
  described.describe = true;
  Item broken = inbox_.Expect("broken");
  broken.describe = true;
  const std::size_t warm_up = model().calls().size();
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(described), std::move(broken))).ok());
  const absl::StatusOr<Outcome> outcome = inbox_.Await("described");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_TRUE(outcome->description.has_value());
  EXPECT_EQ(outcome->description->decoded_sha256, "7");
  EXPECT_TRUE(outcome->embedding.values.empty());
  EXPECT_EQ(inbox_.AwaitReason("broken"), Reason::kUnsupportedFormat);
  ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  EXPECT_EQ(model().calls().size(), warm_up);
  EXPECT_EQ(engine_->stats().completed, 1U);
}

TEST_F(EngineTest, ADescriptionIsNotRefusedForAnInferenceThatItDoesNotNeed) {
  Start();
  model().Hold();
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("first", "1"))).ok());
  model().AwaitHeld(1);
  Item described = inbox_.Expect("described", "7");
  described.describe = true;
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(described))).ok());
  EXPECT_TRUE(inbox_.Await("described").ok());  // while the model is busy
  model().LetGo();
  EXPECT_TRUE(inbox_.Await("first").ok());
}

TEST_F(EngineTest, AnEmptyCallIsNothing) {
  Start();
  EXPECT_TRUE(engine_->Submit(0, {}).ok());
  std::atomic<bool> admitted = false;
  engine_->SubmitWhenRoom(0, {}, [&](const absl::Status& status) { admitted = status.ok(); });
  EXPECT_TRUE(admitted);
}

TEST_F(EngineTest, AFailingBatchFailsItsItemsOnly) {
  Start();
  OccupyWorkers();
  model().FailNext(MakeError(Reason::kDeviceFailure, "the device fell over"));
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("2"))).ok());
  model().LetGo();
  EXPECT_EQ(inbox_.AwaitReason("2"), Reason::kDeviceFailure);
  EXPECT_TRUE(inbox_.Await("busy").ok());
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("3"))).ok());
  EXPECT_TRUE(inbox_.Await("3").ok());
}

TEST_F(EngineTest, ABatchTooLargeForTheMemoryRunsInParts) {
  EngineOptions options;
  options.max_batch_size = 8;
  Start(options);
  model().LimitMemoryTo(2);
  OccupyWorkers();
  std::vector<Item> items;
  for (int i = 10; i < 18; ++i) items.push_back(inbox_.Expect(std::to_string(i)));
  ASSERT_TRUE(engine_->Submit(0, std::move(items)).ok());
  model().LetGo();
  for (int i = 10; i < 18; ++i) {
    const absl::StatusOr<Outcome> outcome = inbox_.Await(std::to_string(i));
    EXPECT_EQ(FirstValue(outcome), static_cast<float>(i));
    EXPECT_LE(outcome->timings.batch_size, 2);
  }
}

TEST_F(EngineTest, EachModelHasBatchesOfTheSizeThatItRunsBestIn) {
  FakeModelOptions options;
  options.best_batch_size = 1;
  models_ = {std::make_shared<FakeModel>(options)};
  options.best_batch_size = 3;
  models_.push_back(std::make_shared<FakeModel>(options));
  EngineOptions engine_options;
  engine_options.decode_threads = 1;
  Start(engine_options);
  OccupyWorkers();
  constexpr int kImages = 12;
  for (const std::size_t index : {0U, 1U}) {
    std::vector<Item> items;
    items.reserve(kImages);
    for (int i = 0; i < kImages; ++i) {
      items.push_back(inbox_.Expect(std::to_string(100 * index + i), "1"));
    }
    ASSERT_TRUE(engine_->Submit(index, std::move(items)).ok());
  }
  // The decode thread, which is one, has done the others when it comes to this.
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("broken"))).ok());
  EXPECT_FALSE(inbox_.Await("broken").ok());
  model().LetGo();
  inbox_.Await(2 * kImages + 2);
  EXPECT_THAT(model(0).batch_sizes(), Each(1U));
  EXPECT_THAT(model(1).batch_sizes(), Contains(3U));
  EXPECT_THAT(model(1).batch_sizes(), Each(Le(3U)));
}

TEST_F(EngineTest, AnImageTooLargeForTheMemoryFailsWithOutOfMemory) {
  Start();
  model().LimitMemoryTo(0);
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("1"), inbox_.Expect("2"))).ok());
  EXPECT_EQ(inbox_.AwaitReason("1"), Reason::kOutOfMemory);
  EXPECT_EQ(inbox_.AwaitReason("2"), Reason::kOutOfMemory);
}

TEST_F(EngineTest, TheBatchGrowsWhileTheWorkersAreBusy) {
  EngineOptions options;
  options.decode_threads = 1;
  Start(options);
  OccupyWorkers();
  std::vector<Item> items;
  items.reserve(8);
  for (int i = 0; i < 8; ++i) items.push_back(inbox_.Expect(std::to_string(i)));
  ASSERT_TRUE(engine_->Submit(0, std::move(items)).ok());
  // The decode thread, which is one, has done the eight when it comes to this.
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("broken"))).ok());
  EXPECT_FALSE(inbox_.Await("broken").ok());
  model().LetGoOne();
  model().AwaitHeld(2);  // the two workers, idle now, share them, each its half in two turns
  EXPECT_EQ(Calls().at(1).first_means.size(), 2U);
  EXPECT_EQ(Calls().at(2).first_means.size(), 2U);
}

TEST_F(EngineTest, ALoneImageGetsEveryCore) {
  Start();
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("1"))).ok());
  inbox_.Await(1);
  EXPECT_EQ(Calls().at(0).threads, kCores);
}

TEST_F(EngineTest, ThreadsNeverExceedTheCores) {
  Start();
  std::vector<Item> items;
  items.reserve(200);
  for (int i = 0; i < 200; ++i) items.push_back(inbox_.Expect(std::to_string(i), "1"));
  for (Item& item : items) ASSERT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  inbox_.Await(200);
  EXPECT_LE(model().max_threads_at_once(), kCores);
}

TEST_F(EngineTest, ABatchOnAGpuTakesNoCoreAndOneWorkerTakesAll) {
  FakeModelOptions on_gpu;
  on_gpu.devices = {{Device::Kind::kCuda, 0}, {Device::Kind::kCuda, 1}};
  models_ = {std::make_shared<FakeModel>(on_gpu)};
  EngineOptions options;
  options.decode_threads = 1;
  Start(options);
  EXPECT_EQ(engine_->options().workers_per_device, 2);
  EXPECT_EQ(model().runners_made(), 4);
  model().Hold();
  for (int worker = 1; worker <= 4; ++worker) {
    ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect(std::to_string(worker)))).ok());
    model().AwaitHeld(worker);
    EXPECT_EQ(Calls().back().threads, 1);
  }
  std::vector<Item> items;
  for (int i = 10; i < 16; ++i) items.push_back(inbox_.Expect(std::to_string(i)));
  ASSERT_TRUE(engine_->Submit(0, std::move(items)).ok());
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("broken"))).ok());
  EXPECT_FALSE(inbox_.Await("broken").ok());
  model().LetGo();
  EXPECT_EQ(inbox_.Await("10")->timings.batch_size, 6);
}

TEST_F(EngineTest, SeveralModelsShareTheWorkersByAge) {
  models_ = {std::make_shared<FakeModel>(), std::make_shared<FakeModel>()};
  EngineOptions options;
  options.cores = 1;
  options.max_batch_size = 1;
  Start(options);
  OccupyWorkers();
  int n = 0;
  for (const std::size_t m : {0U, 1U, 1U, 0U, 1U}) {
    ASSERT_TRUE(engine_->Submit(m, Call(inbox_.Expect(std::to_string(n++), "1"))).ok());
  }
  model().LetGo();
  inbox_.Await(6);
  EXPECT_THAT(inbox_.order(), ElementsAre("busy", "0", "1", "2", "3", "4"));
}

TEST_F(EngineTest, BulkWaitsForOnline) {
  EngineOptions options;
  options.cores = 1;
  options.max_batch_size = 1;
  Start(options);
  OccupyWorkers();
  Item bulk = inbox_.Expect("bulk", "1");
  bulk.lane = Lane::kBulk;
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(bulk))).ok());
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("online", "1"))).ok());
  // Both are decoded before the worker is free: the decoder is one thread, and this is the third.
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("broken"))).ok());
  EXPECT_FALSE(inbox_.Await("broken").ok());
  Item last = inbox_.Expect("corrupt");
  last.lane = Lane::kBulk;
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(last))).ok());
  EXPECT_FALSE(inbox_.Await("corrupt").ok());
  model().LetGo();
  inbox_.Await(5);
  EXPECT_THAT(inbox_.order(), ElementsAre("broken", "corrupt", "busy", "online", "bulk"));
}

TEST_F(EngineTest, DoneMaySubmitAgainEvenWhereTheQueueWasFull) {
  EngineOptions options;
  options.max_queued_images = 1;
  Start(options);
  constexpr int kRounds = 100;
  std::latch finished(1);
  std::function<void(int)> round = [&](int n) {
    if (n == kRounds) return finished.count_down();
    Item item;
    item.image = Encoded("1");
    item.done = [&, n](const absl::StatusOr<Outcome>& outcome) {
      EXPECT_TRUE(outcome.ok());
      round(n + 1);
    };
    EXPECT_TRUE(engine_->Submit(0, Call(std::move(item))).ok()) << n;
  };
  round(0);
  finished.wait();
}

TEST_F(EngineTest, DoneMayDestroyWhatTheItemHolds) {
  Start();
  struct Session {
    std::stop_source stop;
    std::string bytes = "1";
  };
  auto session = std::make_shared<Session>();
  std::weak_ptr<Session> watched = session;
  std::latch finished(1);
  Item item;
  item.image = {std::as_bytes(std::span(session->bytes)), session};
  item.stop = session->stop.get_token();
  item.done = [session, &finished](const absl::StatusOr<Outcome>&) mutable {
    session->stop.request_stop();
    session.reset();
    finished.count_down();
  };
  session.reset();
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  finished.wait();
  ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  EXPECT_TRUE(watched.expired());
}

TEST_F(EngineTest, TheEncodedBytesAreLetGoAfterTheDecode) {
  Start();
  OccupyWorkers();
  auto bytes = std::make_shared<const std::string>("9");
  const std::weak_ptr<const std::string> watched = bytes;
  Item item = inbox_.Expect("9");
  item.image = {std::as_bytes(std::span(*bytes)), std::move(bytes)};
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  model().LetGoOne();
  model().AwaitHeld(1);  // the batch with the image is running
  EXPECT_TRUE(watched.expired());
}

TEST_F(EngineTest, StatsCountImages) {
  Start();
  OccupyWorkers();
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("12"), inbox_.Expect("broken"))).ok());
  EXPECT_FALSE(inbox_.Await("broken").ok());
  const EngineStats busy = engine_->stats();
  EXPECT_EQ(busy.queued_images, 2U);
  EXPECT_EQ(busy.queued_bytes, 1U + 2U);
  EXPECT_EQ(busy.admitted, 3U);
  EXPECT_EQ(busy.failed, 1U);
  model().LetGo();
  ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  const EngineStats idle = engine_->stats();
  EXPECT_EQ(idle.queued_images, 0U);
  EXPECT_EQ(idle.queued_bytes, 0U);
  EXPECT_EQ(idle.completed, 2U);
  EXPECT_EQ(idle.decoding_bytes, 0U);
  EXPECT_EQ(idle.batches, 2U);
}

}  // namespace
}  // namespace pixembed
