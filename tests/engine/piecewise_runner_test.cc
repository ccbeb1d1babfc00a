#include "src/engine/piecewise_runner.h"

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
using testing::Pair;

// A device that has memory for so many images at once, and what was asked of it.
struct FakeDevice {
  std::size_t room = 8;
  Reason refusal = Reason::kOutOfMemory;  // what a batch that does not fit comes back as
  int too_wide = 0;                       // an image of this width never fits
  std::size_t missing = 0;                // vectors that are not given
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
      if (images[i]->width() == device_.too_wide) return MakeError(device_.refusal, "too wide");
      Embedding embedding;
      embedding.values = absl::StrCat(images[i]->width(), "/", specs[i].dimensions);
      embeddings.push_back(std::move(embedding));
    }
    embeddings.resize(embeddings.size() - device_.missing);
    return embeddings;
  }

  void ReleaseUnusedMemory() override { ++device_.releases; }

 private:
  FakeDevice& device_;
};

class PiecewiseRunnerTest : public testing::Test {
 protected:
  // For each of `count` images that are 1, 2, ... pixels wide its vector's values, or the name of
  // the reason why there is none.
  std::vector<std::string> Embed(std::size_t count) {
    std::vector<Image> images;
    std::vector<const Image*> pointers;
    std::vector<OutputSpec> specs(count);
    images.reserve(count);
    pointers.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      images.emplace_back(static_cast<int>(i) + 1, 1);
      specs[i].dimensions = static_cast<int>(i) + 101;
    }
    for (const Image& image : images) pointers.push_back(&image);
    device_.batches.clear();
    device_.threads.clear();
    std::vector<std::string> values;
    runner_.Embed(pointers, specs, /*threads=*/3, [&](const PiecewiseRunner::Piece& piece) {
      EXPECT_EQ(piece.first, values.size());
      for (std::size_t i = 0; i < piece.size; ++i) {
        values.push_back(piece.embeddings.ok()
                             ? piece.embeddings->at(i).values
                             : std::string(Describe(*ReasonOf(piece.embeddings.status())).name));
      }
    });
    EXPECT_EQ(values.size(), count);
    return values;
  }

  // The sizes of the batches that the device got for one of `count` images.
  std::vector<std::size_t> BatchesFor(std::size_t count) {
    Embed(count);
    return device_.batches;
  }

  FakeDevice device_;
  std::vector<std::pair<std::size_t, std::size_t>> cuts_;
  PiecewiseRunner runner_{
      std::make_unique<FakeRunner>(&device_),
      [this](std::size_t images, std::size_t piece) { cuts_.emplace_back(images, piece); }};
};

TEST_F(PiecewiseRunnerTest, WhatFitsRunsAsItIs) {
  EXPECT_THAT(BatchesFor(8), ElementsAre(8));
  EXPECT_THAT(device_.threads, ElementsAre(3));
  EXPECT_EQ(device_.releases, 0);
}

TEST_F(PiecewiseRunnerTest, WhatDoesNotFitRunsInHalvesAndKeepsItsOrder) {
  device_.room = 3;
  EXPECT_THAT(Embed(7), ElementsAre("1/101", "2/102", "3/103", "4/104", "5/105", "6/106", "7/107"));
  EXPECT_THAT(device_.batches, ElementsAre(7, 4, 2, 2, 2, 1));
  EXPECT_THAT(device_.threads, Each(3));
}

TEST_F(PiecewiseRunnerTest, MemoryIsGivenBackBeforeEachNewTry) {
  device_.room = 3;
  BatchesFor(7);
  EXPECT_EQ(device_.releases, 2);
}

TEST_F(PiecewiseRunnerTest, EachCutIsTold) {
  device_.room = 3;
  BatchesFor(7);
  BatchesFor(7);
  EXPECT_THAT(cuts_, ElementsAre(Pair(7, 4), Pair(4, 2)));
}

TEST_F(PiecewiseRunnerTest, LaterBatchesAreCutFromTheStart) {
  device_.room = 4;
  EXPECT_THAT(BatchesFor(8), ElementsAre(8, 4, 4));
  EXPECT_THAT(BatchesFor(10), ElementsAre(4, 4, 2));
  EXPECT_THAT(BatchesFor(3), ElementsAre(3));
  EXPECT_EQ(device_.releases, 1);
}

TEST_F(PiecewiseRunnerTest, AnImageThatDoesNotFitFailsAlone) {
  device_.too_wide = 2;
  EXPECT_THAT(Embed(4), ElementsAre("1/101", "OUT_OF_MEMORY", "3/103", "4/104"));
}

TEST_F(PiecewiseRunnerTest, WhereNoneFitsEachIsOutOfMemory) {
  device_.room = 0;
  EXPECT_THAT(Embed(1), ElementsAre("OUT_OF_MEMORY"));
  EXPECT_THAT(device_.batches, ElementsAre(1));
  EXPECT_EQ(device_.releases, 0);
  EXPECT_THAT(Embed(4), Each("OUT_OF_MEMORY"));
  EXPECT_THAT(device_.batches, ElementsAre(4, 2, 1, 1, 1, 1));
}

TEST_F(PiecewiseRunnerTest, AfterAFailureTheNextBatchIsServed) {
  device_.room = 0;
  Embed(4);
  device_.room = 8;
  EXPECT_THAT(Embed(3), ElementsAre("1/101", "2/102", "3/103"));
  EXPECT_THAT(device_.batches, ElementsAre(1, 1, 1));
}

TEST_F(PiecewiseRunnerTest, OtherErrorsAreNotTriedAgain) {
  device_.room = 4;
  device_.refusal = Reason::kDeviceFailure;
  EXPECT_THAT(Embed(8), Each("DEVICE_FAILURE"));
  EXPECT_THAT(device_.batches, ElementsAre(8));
  EXPECT_EQ(device_.releases, 0);
}

TEST_F(PiecewiseRunnerTest, AVectorTooFewIsADeviceFailure) {
  device_.missing = 1;
  EXPECT_THAT(Embed(2), Each("DEVICE_FAILURE"));
}

TEST_F(PiecewiseRunnerTest, WhereMemoryComesBackPiecesGrowAgain) {
  device_.room = 2;
  EXPECT_THAT(BatchesFor(8), ElementsAre(8, 4, 2, 2, 2, 2));
  device_.room = 8;
  for (std::size_t batch = 0; batch < PiecewiseRunner::kFirstPatience; ++batch) {
    EXPECT_THAT(BatchesFor(8), ElementsAre(2, 2, 2, 2));
  }
  for (std::size_t batch = 0; batch <= PiecewiseRunner::kFirstPatience; ++batch) {
    EXPECT_THAT(BatchesFor(8), ElementsAre(4, 4));
  }
  EXPECT_THAT(BatchesFor(8), ElementsAre(8));
}

TEST_F(PiecewiseRunnerTest, WhereItDoesNotEachAttemptIsTwiceAsFarAway) {
  device_.room = 2;
  EXPECT_THAT(BatchesFor(4), ElementsAre(4, 2, 2));
  for (const std::size_t times : {1, 2, 4}) {
    for (std::size_t batch = 0; batch < times * PiecewiseRunner::kFirstPatience; ++batch) {
      EXPECT_THAT(BatchesFor(4), ElementsAre(2, 2));
    }
    EXPECT_THAT(BatchesFor(4), ElementsAre(4, 2, 2));
  }
  EXPECT_EQ(device_.releases, 4);
}

TEST_F(PiecewiseRunnerTest, BatchesThatAreNotCutAreNoReasonToTryMore) {
  device_.room = 2;
  BatchesFor(4);
  for (int batch = 0; batch < 1000; ++batch) BatchesFor(2);
  EXPECT_THAT(BatchesFor(4), ElementsAre(2, 2));
}

}  // namespace
}  // namespace pixembed
