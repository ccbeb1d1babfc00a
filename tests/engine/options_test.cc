#include "src/engine/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "tests/model/fake_model.h"

namespace pixembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Models = std::vector<std::shared_ptr<const Model>>;

Models On(std::vector<Device> devices) {
  FakeModelOptions options;
  options.devices = std::move(devices);
  return {std::make_shared<FakeModel>(options)};
}
const Device kCpu{};
const Device kGpu0{Device::Kind::kCuda, 0};
const Device kGpu1{Device::Kind::kCuda, 1};

TEST(ShapeEngine, OnACpuAWorkerPerCoreAndSmallBatches) {
  const absl::StatusOr<EngineShape> shape = ShapeEngine(On({kCpu}), {}, 6);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->options.cores, 6);
  EXPECT_EQ(shape->options.decode_threads, 6);
  EXPECT_EQ(shape->options.workers_per_device, 6);
  EXPECT_EQ(shape->options.max_batch_size, 4);
  EXPECT_THAT(shape->options.warm_up_batch_sizes, ElementsAre(1));
  EXPECT_EQ(shape->workers, 6);
  EXPECT_TRUE(shape->count_cores);
  EXPECT_EQ(shape->cost, BatchCost::kPerItem);
}

TEST(ShapeEngine, OnGpusTwoWorkersEachAndLargeBatches) {
  const absl::StatusOr<EngineShape> shape = ShapeEngine(On({kGpu0, kGpu1}), {}, 6);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->options.workers_per_device, 2);
  EXPECT_EQ(shape->options.max_batch_size, 32);
  EXPECT_THAT(shape->options.warm_up_batch_sizes,
              ElementsAre(32, 32, 24, 24, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1));
  EXPECT_EQ(shape->workers, 4);
  EXPECT_FALSE(shape->count_cores);
  EXPECT_EQ(shape->cost, BatchCost::kPerBatch);
}

TEST(ShapeEngine, OnGpusAMaximumThatNothingIsPaddedToIsWarmedUpAsWell) {
  EngineOptions options;
  options.max_batch_size = 6;
  const absl::StatusOr<EngineShape> shape = ShapeEngine(On({kGpu0}), options, 6);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_THAT(shape->options.warm_up_batch_sizes, ElementsAre(6, 6, 4, 4, 2, 2, 1, 1));
}

TEST(ShapeEngine, OnACpuBatchesAreOfTheSizeThatAModelRunsBestIn) {
  FakeModelOptions fake;
  fake.best_batch_size = 1;
  Models models = {std::make_shared<FakeModel>(fake)};
  absl::StatusOr<EngineShape> shape = ShapeEngine(models, {}, 6);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->options.max_batch_size, 1);
  EXPECT_TRUE(shape->count_cores);
  // Of several each its own, and the options have the largest.
  fake.best_batch_size = 2;
  models.push_back(std::make_shared<FakeModel>(fake));
  shape = ShapeEngine(models, {}, 6);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->options.max_batch_size, 2);
  EXPECT_EQ(MaxBatchSize(*shape, models[0]->info()), 1U);
  EXPECT_EQ(MaxBatchSize(*shape, models[1]->info()), 2U);
}

TEST(ShapeEngine, ABatchSizeThatIsGivenIsThatOfEveryModel) {
  FakeModelOptions fake;
  fake.best_batch_size = 1;
  const Models models = {std::make_shared<FakeModel>(fake)};
  EngineOptions options;
  options.max_batch_size = 3;
  const absl::StatusOr<EngineShape> shape = ShapeEngine(models, options, 6);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(MaxBatchSize(*shape, models[0]->info()), 3U);
}

TEST(ShapeEngine, OnAGpuAndOneByOneEveryModelHasTheSameBatchSize) {
  FakeModelOptions fake;
  fake.best_batch_size = 2;
  fake.devices = {kGpu0};
  Models models = {std::make_shared<FakeModel>(fake)};
  absl::StatusOr<EngineShape> shape = ShapeEngine(models, {}, 6);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(MaxBatchSize(*shape, models[0]->info()), 32U);
  fake.devices = {kCpu};
  models = {std::make_shared<FakeModel>(fake)};
  EngineOptions options;
  options.one_by_one = true;
  shape = ShapeEngine(models, options, 6);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(MaxBatchSize(*shape, models[0]->info()), 1U);
}

TEST(ShapeEngine, AModelOneByOneRunsOneImageOnOneCoreAtATime) {
  FakeModelOptions fake;
  fake.one_by_one = true;
  const Models models = {std::make_shared<FakeModel>(fake)};
  const absl::StatusOr<EngineShape> shape = ShapeEngine(models, {}, 6);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->options.max_batch_size, 1);
  EXPECT_EQ(shape->workers, 6);
  EXPECT_FALSE(shape->count_cores);
  EngineOptions too_many;
  too_many.workers_per_device = 7;
  EXPECT_EQ(ReasonOf(ShapeEngine(models, too_many, 6).status()), Reason::kInvalidOption);
}

TEST(ShapeEngine, KeepsWhatIsGiven) {
  EngineOptions options;
  options.cores = 4;
  options.decode_threads = 3;
  options.workers_per_device = 2;
  options.max_batch_size = 1;
  const absl::StatusOr<EngineShape> shape = ShapeEngine(On({kCpu}), options, 64);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->options.cores, 4);
  EXPECT_EQ(shape->options.decode_threads, 3);
  EXPECT_EQ(shape->options.workers_per_device, 2);
  EXPECT_THAT(shape->options.warm_up_batch_sizes, ElementsAre(1));
}

struct Bad {
  std::string flag;
  void (*spoil)(EngineOptions&);
};

class ShapeEngineRefuses : public ::testing::TestWithParam<Bad> {};

TEST_P(ShapeEngineRefuses, AnOptionOutOfRangeByNameAndNumber) {
  EngineOptions options;
  GetParam().spoil(options);
  const absl::StatusOr<EngineShape> shape = ShapeEngine(On({kCpu}), options, 2);
  EXPECT_EQ(ReasonOf(shape.status()), Reason::kInvalidOption);
  EXPECT_THAT(std::string(shape.status().message()), HasSubstr("--" + GetParam().flag));
}

INSTANTIATE_TEST_SUITE_P(
    Options, ShapeEngineRefuses,
    ::testing::Values(
        Bad{"cores", [](EngineOptions& o) { o.cores = -1; }},
        Bad{"decode_threads", [](EngineOptions& o) { o.decode_threads = 100'000; }},
        Bad{"workers_per_device", [](EngineOptions& o) { o.workers_per_device = -1; }},
        Bad{"workers_per_device", [](EngineOptions& o) { o.workers_per_device = 3; }},
        Bad{"max_batch_size", [](EngineOptions& o) { o.max_batch_size = 1 << 20; }},
        Bad{"max_queue_delay",
            [](EngineOptions& o) { o.max_queue_delay = -std::chrono::seconds(1); }},
        Bad{"max_queue_delay", [](EngineOptions& o) { o.max_queue_delay = std::chrono::hours(1); }},
        Bad{"max_queued_images", [](EngineOptions& o) { o.max_queued_images = 0; }},
        Bad{"max_queued_bytes", [](EngineOptions& o) { o.max_queued_bytes = 0; }},
        Bad{"max_decoded_bytes", [](EngineOptions& o) { o.max_decoded_bytes = 0; }},
        Bad{"warm_up_batch_sizes", [](EngineOptions& o) { o.warm_up_batch_sizes = {5}; }},
        Bad{"warm_up_batch_sizes", [](EngineOptions& o) { o.warm_up_batch_sizes = {0}; }}),
    [](const auto& bad) { return absl::StrCat(bad.param.flag, "_", bad.index); });

TEST(ShapeEngine, RefusesModelsThatAreNowhereOrApart) {
  EXPECT_EQ(ReasonOf(ShapeEngine({}, {}, 2).status()), Reason::kInvalidOption);
  EXPECT_EQ(ReasonOf(ShapeEngine(On({}), {}, 2).status()), Reason::kInvalidOption);
  Models models = On({kCpu});
  models.push_back(On({kGpu0})[0]);
  EXPECT_EQ(ReasonOf(ShapeEngine(models, {}, 2).status()), Reason::kInvalidOption);
}

}  // namespace
}  // namespace pixembed
