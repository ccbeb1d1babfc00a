// The runner of CUDA devices on a module whose only device is the CPU: everything but the device.
#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/pixels.h"
#include "src/model/runner.h"
#include "tests/model/fake_cuda_module.h"
#include "tests/model/fake_graphs.h"
#include "tests/model/tiny_model.h"

namespace pixembed {
namespace {

using testing::IsEmpty;

constexpr Size kInput{.height = 4, .width = 6};
constexpr Size kPatch{.height = 2, .width = 2};

// Its tokens are the patches, halved. Has memory for so many images.
class FakeNetwork final : public Network {
 public:
  FakeNetwork() {
    info_.patch = kPatch;
    info_.tokens = 6;
    info_.dimension = 12;
    info_.hidden_states = 2;
  }

  const NetworkInfo& info() const override { return info_; }

  HiddenStates Forward(const PatchBatch& batch, std::span<const int> layers) const override {
    EXPECT_EQ(batch.grids.size(), static_cast<std::size_t>(batch.patches.size(0)));
    if (batch.patches.size(0) > room) {
      C10_THROW_ERROR(OutOfMemoryError, "CUDA out of memory");
    }
    HiddenStates states{.last = batch.patches.mul(0.5)};
    for (const int layer : layers) states.layers.push_back(batch.patches.add(layer));
    return states;
  }

  std::int64_t room = 1024;

 private:
  NetworkInfo info_;
};

class CudaRunnerTest : public testing::Test {
 protected:
  std::unique_ptr<Runner> NewRunner(bool graphs) {
    auto runner = NewCudaRunner(module_, {network_, pixels_}, 0,
                                {.allowed = graphs, .warn = [this](const std::string& line) {
                                   warnings_.push_back(line);
                                 }});
    EXPECT_TRUE(runner.ok()) << runner.status();
    return *std::move(runner);
  }

  // What becomes of `count` pictures of noise, of which the first has this seed.
  static absl::StatusOr<std::vector<Embedding>> Embed(Runner& runner, std::size_t count,
                                                      std::uint32_t seed, const OutputSpec& spec) {
    std::vector<Image> images;
    std::vector<const Image*> pointers;
    images.reserve(count);
    pointers.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      images.push_back(NoiseImage(kInput, seed + static_cast<std::uint32_t>(i)));
    }
    for (const Image& image : images) pointers.push_back(&image);
    const std::vector<OutputSpec> specs(count, spec);
    return runner.Embed(pointers, specs, 1);
  }

  // Their vectors.
  static std::vector<std::vector<float>> Vectors(Runner& runner, std::size_t count,
                                                 std::uint32_t seed, const OutputSpec& spec = {}) {
    const auto embeddings = Embed(runner, count, seed, spec);
    EXPECT_TRUE(embeddings.ok()) << embeddings.status();
    std::vector<std::vector<float>> vectors;
    if (!embeddings.ok()) return vectors;
    for (const Embedding& embedding : *embeddings) vectors.push_back(FloatValues(embedding));
    return vectors;
  }

  FakeGraphLog graphs_;
  FakeCudaModule module_{&graphs_};
  std::shared_ptr<FakeNetwork> network_ = std::make_shared<FakeNetwork>();
  std::shared_ptr<const PixelTable> pixels_ = std::make_shared<const PixelTable>(PreprocessSpec{});
  std::vector<std::string> warnings_;
};

TEST_F(CudaRunnerTest, ReplayedVectorsAreTheEagerOnes) {
  const std::unique_ptr<Runner> eager = NewRunner(false);
  const std::unique_ptr<Runner> graphed = NewRunner(true);
  for (const std::uint32_t seed : {1U, 2U, 3U, 4U}) {
    for (const std::size_t count : {4U, 3U, 1U}) {
      for (const Pooling pooling : {Pooling::kMean, Pooling::kCls, Pooling::kMax}) {
        EXPECT_EQ(Vectors(*graphed, count, seed, {.pooling = pooling}),
                  Vectors(*eager, count, seed, {.pooling = pooling}));
      }
    }
  }
  EXPECT_EQ(graphs_.records, 2);
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(CudaRunnerTest, WithoutGraphsNothingIsRecorded) {
  const std::unique_ptr<Runner> runner = NewRunner(false);
  for (int i = 0; i < 3; ++i) Vectors(*runner, 2, 1);
  EXPECT_EQ(graphs_.records, 0);
}

TEST_F(CudaRunnerTest, BatchesThatWantOtherLayersRunEagerly) {
  const std::unique_ptr<Runner> eager = NewRunner(false);
  const std::unique_ptr<Runner> graphed = NewRunner(true);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Vectors(*graphed, 2, 1, {.layers = {0, 1}}),
              Vectors(*eager, 2, 1, {.layers = {0, 1}}));
  }
  EXPECT_EQ(graphs_.records, 0);
}

TEST_F(CudaRunnerTest, AFailedRecordingLeavesTheVectorsAsTheyAre) {
  graphs_.record_status = MakeError(Reason::kDeviceFailure, "capture failed");
  const std::unique_ptr<Runner> eager = NewRunner(false);
  const std::unique_ptr<Runner> graphed = NewRunner(true);
  for (const std::uint32_t seed : {1U, 2U, 3U, 4U}) {
    EXPECT_EQ(Vectors(*graphed, 2, seed), Vectors(*eager, 2, seed));
  }
  EXPECT_EQ(graphs_.records, 1);
  EXPECT_EQ(warnings_.size(), 1U);
}

TEST_F(CudaRunnerTest, WhatTheDeviceHasNoMemoryForIsOutOfMemory) {
  const std::unique_ptr<Runner> runner = NewRunner(false);
  network_->room = 3;
  EXPECT_EQ(ReasonOf(Embed(*runner, 6, 1, {}).status()), Reason::kOutOfMemory);
  EXPECT_EQ(Vectors(*runner, 3, 1).size(), 3U);
}

TEST_F(CudaRunnerTest, UnusedMemoryIsTheModulesToGiveBack) {
  const std::unique_ptr<Runner> runner = NewRunner(false);
  runner->ReleaseUnusedMemory();
  EXPECT_EQ(module_.releases(), 1);
}

}  // namespace
}  // namespace pixembed
