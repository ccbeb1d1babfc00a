#include "src/model/splitting_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

using testing::Each;
using testing::ElementsAre;

// A device that has memory for so many images at once, and what was asked of it.
struct FakeDevice {
  std::size_t room = 8;
  Reason refusal = Reason::kOutOfMemory;  // what a batch that does not fit comes back as
  std::vector<std::size_t> batches;       // the size of each
  std::vector<int> threads;               // what each may use
  int releases = 0;
};

// A vector's `values` are the width of its image and the dimensions that its spec asks for.
class FakeRunner final : public Runner {
 public:
  explicit FakeRunner(FakeDevice* device) : device_(*device) {}

  absl::StatusOr<std::vector<Embedding>> Embed(std::span<const Image* const> images,
                                               std::span<const OutputSpec> specs,
                                               int threads) override {
    device_.batches.push_back(images.size());
    device_.threads.push_back(threads);
    if (images.size() > device_.room) return MakeError(device_.refusal, "too little room");
    std::vector<Embedding> embeddings;
    for (std::size_t i = 0; i < images.size(); ++i) {
      Embedding embedding;
      embedding.values = absl::StrCat(images[i]->width(), "/", specs[i].dimensions);
      embeddings.push_back(std::move(embedding));
    }
    return embeddings;
  }

 private:
  FakeDevice& device_;
};

class SplittingRunnerTest : public testing::Test {
 protected:
  // The vectors' values, of `count` images that are 1, 2, ... pixels wide.
  absl::StatusOr<std::vector<std::string>> Embed(std::size_t count) {
    std::vector<Image> images;
    std::vector<const Image*> pointers;
    std::vector<OutputSpec> specs(count);
    pointers.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      images.emplace_back(static_cast<int>(i) + 1, 1);
      specs[i].dimensions = static_cast<int>(i) + 101;
    }
    for (const Image& image : images) pointers.push_back(&image);
    device_.batches.clear();
    device_.threads.clear();
    const auto embeddings = runner_->Embed(pointers, specs, /*threads=*/3);
    if (!embeddings.ok()) return embeddings.status();
    std::vector<std::string> values;
    values.reserve(count);
    for (const Embedding& embedding : *embeddings) values.push_back(embedding.values);
    return values;
  }

  // The sizes of the batches that the device got for one of `count` images, which must succeed.
  std::vector<std::size_t> BatchesFor(std::size_t count) {
    const auto vectors = Embed(count);
    EXPECT_TRUE(vectors.ok()) << vectors.status();
    return device_.batches;
  }

  FakeDevice device_;
  std::unique_ptr<Runner> runner_ =
      NewSplittingRunner(std::make_unique<FakeRunner>(&device_), [this] { ++device_.releases; });
};

TEST_F(SplittingRunnerTest, WhatFitsRunsAsItIs) {
  EXPECT_THAT(BatchesFor(8), ElementsAre(8));
  EXPECT_THAT(device_.threads, ElementsAre(3));
  EXPECT_EQ(device_.releases, 0);
}

TEST_F(SplittingRunnerTest, WhatDoesNotFitRunsInHalvesAndKeepsItsOrder) {
  device_.room = 3;
  const auto vectors = Embed(7);
  ASSERT_TRUE(vectors.ok()) << vectors.status();
  EXPECT_THAT(*vectors, ElementsAre("1/101", "2/102", "3/103", "4/104", "5/105", "6/106", "7/107"));
  EXPECT_THAT(device_.batches, ElementsAre(7, 4, 2, 2, 2, 1));
  EXPECT_THAT(device_.threads, Each(3));
}

TEST_F(SplittingRunnerTest, MemoryIsGivenBackBeforeEachNewTry) {
  device_.room = 3;
  BatchesFor(7);
  EXPECT_EQ(device_.releases, 2);
}

TEST_F(SplittingRunnerTest, LaterBatchesAreCutFromTheStart) {
  device_.room = 4;
  EXPECT_THAT(BatchesFor(8), ElementsAre(8, 4, 4));
  EXPECT_THAT(BatchesFor(10), ElementsAre(4, 4, 2));
  EXPECT_THAT(BatchesFor(3), ElementsAre(3));
  EXPECT_EQ(device_.releases, 1);
}

TEST_F(SplittingRunnerTest, AnImageThatDoesNotFitAloneIsOutOfMemory) {
  device_.room = 0;
  EXPECT_EQ(ReasonOf(Embed(1).status()), Reason::kOutOfMemory);
  EXPECT_THAT(device_.batches, ElementsAre(1));
  EXPECT_EQ(device_.releases, 0);
  EXPECT_EQ(ReasonOf(Embed(4).status()), Reason::kOutOfMemory);
  EXPECT_THAT(device_.batches, ElementsAre(4, 2, 1));
}

TEST_F(SplittingRunnerTest, AfterAFailureTheNextBatchIsServed) {
  device_.room = 0;
  EXPECT_FALSE(Embed(4).ok());
  device_.room = 8;
  EXPECT_THAT(BatchesFor(3), ElementsAre(1, 1, 1));
}

TEST_F(SplittingRunnerTest, OtherErrorsAreNotTriedAgain) {
  device_.room = 4;
  device_.refusal = Reason::kDeviceFailure;
  EXPECT_EQ(ReasonOf(Embed(8).status()), Reason::kDeviceFailure);
  EXPECT_THAT(device_.batches, ElementsAre(8));
  EXPECT_EQ(device_.releases, 0);
}

TEST_F(SplittingRunnerTest, WhereMemoryComesBackPiecesGrowAgain) {
  device_.room = 2;
  EXPECT_THAT(BatchesFor(8), ElementsAre(8, 4, 2, 2, 2, 2));
  device_.room = 8;
  for (int batch = 0; batch < 64; ++batch) EXPECT_THAT(BatchesFor(8), ElementsAre(2, 2, 2, 2));
  for (int batch = 0; batch < 65; ++batch) EXPECT_THAT(BatchesFor(8), ElementsAre(4, 4));
  EXPECT_THAT(BatchesFor(8), ElementsAre(8));
}

TEST_F(SplittingRunnerTest, WhereItDoesNotEachAttemptIsTwiceAsFarAway) {
  device_.room = 2;
  EXPECT_THAT(BatchesFor(4), ElementsAre(4, 2, 2));
  for (const int patience : {64, 128, 256}) {
    for (int batch = 0; batch < patience; ++batch) EXPECT_THAT(BatchesFor(4), ElementsAre(2, 2));
    EXPECT_THAT(BatchesFor(4), ElementsAre(4, 2, 2));
  }
  EXPECT_EQ(device_.releases, 4);
}

TEST_F(SplittingRunnerTest, BatchesThatAreNotCutAreNoReasonToTryMore) {
  device_.room = 2;
  BatchesFor(4);
  for (int batch = 0; batch < 1000; ++batch) BatchesFor(2);
  EXPECT_THAT(BatchesFor(4), ElementsAre(2, 2));
}

}  // namespace
}  // namespace pixembed
