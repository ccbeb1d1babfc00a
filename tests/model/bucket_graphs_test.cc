#include "src/model/bucket_graphs.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <c10/core/Device.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "src/error/error.h"
#include "tests/model/fake_graphs.h"

namespace pixembed {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Images of 2 x 2 pixels. A pass gives an image one token of one number: its first sample.
class BucketGraphsTest : public testing::Test {
 protected:
  // What Run gives for images whose samples are all `first`, all `first` + 1, ...; empty where it
  // leaves the batch to the eager path.
  std::vector<float> Run(std::int64_t count, int first = 1) {
    const c10::InferenceMode inference;
    at::Tensor images = at::full({count, 2, 2, 3}, 0, at::kByte);
    for (std::int64_t i = 0; i < count; ++i) images[i].fill_(first + i);
    passes_.clear();
    const at::Tensor last = graphs_.Run(images);
    if (!last.defined()) return {};
    EXPECT_EQ(last.sizes(), (std::vector<std::int64_t>{count, 1, 1}));
    std::vector<float> numbers;
    numbers.reserve(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) numbers.push_back(last[i].item<float>());
    return numbers;
  }

  at::Tensor Forward(const at::Tensor& images) {
    passes_.push_back(images.size(0));
    TORCH_CHECK(images.size(0) <= room_, "no room");
    return images.select(3, 0).select(2, 0).select(1, 0).to(at::kFloat).view({-1, 1, 1});
  }

  FakeGraphLog log_;
  std::vector<std::int64_t> passes_;  // the sizes of those of the latest Run
  std::vector<std::string> warnings_;
  std::int64_t room_ = 1024;
  BucketGraphs graphs_{std::make_unique<FakeRecorder>(&log_), c10::kCPU,
                       [this](const at::Tensor& images) { return Forward(images); },
                       [this](const std::string& line) { warnings_.push_back(line); }};
};

TEST_F(BucketGraphsTest, TheFirstBatchOfABucketIsLeftToTheEagerPath) {
  EXPECT_THAT(Run(4), IsEmpty());
  EXPECT_THAT(passes_, IsEmpty());
  EXPECT_EQ(log_.records, 0);
}

TEST_F(BucketGraphsTest, TheSecondIsRecordedAndTheThirdReplayed) {
  Run(2);
  EXPECT_THAT(Run(2, 10), ElementsAre(10, 11));
  EXPECT_EQ(log_.records, 1);
  EXPECT_EQ(log_.replays, 1);  // to be held against the pass
  EXPECT_THAT(Run(2, 20), ElementsAre(20, 21));
  EXPECT_THAT(Run(2, 30), ElementsAre(30, 31));
  EXPECT_EQ(log_.records, 1);
  EXPECT_EQ(log_.replays, 3);
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(BucketGraphsTest, BatchesArePadded) {
  Run(16);  // no batch is padded to more than the largest so far
  Run(3);
  EXPECT_THAT(Run(3, 10), ElementsAre(10, 11, 12));
  EXPECT_THAT(passes_, ElementsAre(4, 4, 4));  // the pass, its recording, its replay
  EXPECT_THAT(Run(4, 20), ElementsAre(20, 21, 22, 23));
  EXPECT_THAT(Run(3, 30), ElementsAre(30, 31, 32));
  EXPECT_EQ(log_.records, 1);
}

TEST_F(BucketGraphsTest, EveryBucketHasItsGraph) {
  for (const std::int64_t count : {1, 2, 4, 8, 1, 2, 4, 8}) Run(count);
  EXPECT_EQ(log_.records, 4);
  EXPECT_EQ(log_.alive, 4);
  EXPECT_THAT(Run(1, 7), ElementsAre(7));
  EXPECT_THAT(Run(2, 8), ElementsAre(8, 9));
}

TEST_F(BucketGraphsTest, NoBatchIsPaddedToMoreThanTheLargestSoFar) {
  for (int i = 0; i < 2; ++i) Run(100);
  EXPECT_THAT(passes_, Each(100));
  for (const std::int64_t count : {97, 99}) {
    EXPECT_EQ(Run(count).size(), static_cast<std::size_t>(count));
    EXPECT_THAT(passes_, ElementsAre(100));
  }
  EXPECT_EQ(log_.records, 1);
}

TEST_F(BucketGraphsTest, WhatCannotBeRecordedEndsAllGraphsAndIsToldOnce) {
  Run(1);
  Run(1);
  Run(2);
  log_.record_status = MakeError(Reason::kDeviceFailure, "operation not permitted");
  EXPECT_THAT(Run(2, 5), ElementsAre(5, 6));  // the eager pass had its answer
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("operation not permitted")));
  EXPECT_EQ(log_.alive, 0);
  log_.record_status = absl::OkStatus();
  for (const std::int64_t count : {1, 1, 2, 2, 2}) EXPECT_THAT(Run(count), IsEmpty());
  EXPECT_EQ(log_.records, 2);
  EXPECT_EQ(warnings_.size(), 1U);
}

TEST_F(BucketGraphsTest, APassThatThrowsIsLeftToTheEagerPath) {
  Run(4);
  room_ = 3;
  EXPECT_THAT(Run(3), IsEmpty());  // its bucket is 4
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("no room")));
}

TEST_F(BucketGraphsTest, AReplayThatFailsIsLeftToTheEagerPath) {
  Run(1);
  Run(1);
  log_.replay_status = MakeError(Reason::kOutOfMemory, "launch failed");
  EXPECT_THAT(Run(1), IsEmpty());
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("launch failed")));
  EXPECT_EQ(log_.alive, 0);
}

TEST_F(BucketGraphsTest, AGraphThatGivesOtherNumbersIsNotUsed) {
  Run(1);
  log_.replay_error = 0.5;
  EXPECT_THAT(Run(1, 9), ElementsAre(9));
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("other numbers")));
  EXPECT_EQ(log_.alive, 0);
  EXPECT_THAT(Run(1), IsEmpty());
}

TEST_F(BucketGraphsTest, AGraphThatGivesNoNumbersIsNotUsed) {
  Run(1);
  log_.replay_error = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(Run(1, 9), ElementsAre(9));
  EXPECT_EQ(log_.alive, 0);
}

}  // namespace
}  // namespace pixembed
