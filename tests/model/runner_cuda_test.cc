// The runner of CUDA devices on a module whose only device is the CPU: everything but the device.
#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Stream.h>
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
#include "src/model/cuda/cuda_module.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/pixels.h"
#include "src/model/runner.h"
#include "tests/model/fake_graphs.h"
#include "tests/model/tiny_model.h"

namespace pixembed {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr Size kInput{.height = 4, .width = 6};
constexpr Size kPatch{.height = 2, .width = 2};

class FakeCudaModule final : public CudaModule {
 public:
  explicit FakeCudaModule(FakeGraphLog* graphs) : graphs_(*graphs) {}

  absl::StatusOr<std::vector<std::string>> Devices() const override {
    return std::vector<std::string>{"fake"};
  }
  absl::StatusOr<bool> MultipliesBFloat16(int /*ordinal*/) const override { return false; }
  absl::StatusOr<c10::Stream> NewStream(int /*ordinal*/) const override {
    return c10::Stream(c10::Stream::DEFAULT, c10::Device(c10::kCPU));
  }
  void ReleaseUnusedMemory() const override { ++releases_; }
  absl::StatusOr<std::unique_ptr<GraphRecorder>> NewGraphRecorder() const override {
    return std::make_unique<FakeRecorder>(&graphs_);
  }

  int releases() const { return releases_; }

 private:
  FakeGraphLog& graphs_;
  mutable int releases_ = 0;
};

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
    passes_.push_back(batch.patches.size(0));
    EXPECT_EQ(batch.grids.size(), static_cast<std::size_t>(batch.patches.size(0)));
    if (batch.patches.size(0) > room) {
      C10_THROW_ERROR(OutOfMemoryError, "CUDA out of memory");
    }
    HiddenStates states{.last = batch.patches.mul(0.5)};
    for (const int layer : layers) states.layers.push_back(batch.patches.add(layer));
    return states;
  }

  // The sizes of the passes since the last call.
  std::vector<std::int64_t> TakePasses() const { return std::exchange(passes_, {}); }

  std::int64_t room = 1024;

 private:
  NetworkInfo info_;
  mutable std::vector<std::int64_t> passes_;
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

  // The vectors of `count` pictures of noise, of which the first has this seed.
  static std::vector<std::vector<float>> Embed(Runner& runner, std::size_t count,
                                               std::uint32_t seed, const OutputSpec& spec = {}) {
    std::vector<Image> images;
    std::vector<const Image*> pointers;
    images.reserve(count);
    pointers.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      images.push_back(NoiseImage(kInput, seed + static_cast<std::uint32_t>(i)));
    }
    for (const Image& image : images) pointers.push_back(&image);
    const std::vector<OutputSpec> specs(count, spec);
    const auto embeddings = runner.Embed(pointers, specs, 1);
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
    for (const std::size_t count : {1U, 3U, 4U}) {
      for (const Pooling pooling : {Pooling::kMean, Pooling::kCls, Pooling::kMax}) {
        EXPECT_EQ(Embed(*graphed, count, seed, {.pooling = pooling}),
                  Embed(*eager, count, seed, {.pooling = pooling}));
      }
    }
  }
  EXPECT_EQ(graphs_.records, 2);
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(CudaRunnerTest, WithoutGraphsNothingIsRecorded) {
  const std::unique_ptr<Runner> runner = NewRunner(false);
  for (int i = 0; i < 3; ++i) Embed(*runner, 2, 1);
  EXPECT_EQ(graphs_.records, 0);
}

TEST_F(CudaRunnerTest, BatchesThatWantOtherLayersRunEagerly) {
  const std::unique_ptr<Runner> eager = NewRunner(false);
  const std::unique_ptr<Runner> graphed = NewRunner(true);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Embed(*graphed, 2, 1, {.layers = {0, 1}}), Embed(*eager, 2, 1, {.layers = {0, 1}}));
  }
  EXPECT_EQ(graphs_.records, 0);
}

TEST_F(CudaRunnerTest, AFailedRecordingLeavesTheVectorsAsTheyAre) {
  graphs_.record_status = MakeError(Reason::kDeviceFailure, "capture failed");
  const std::unique_ptr<Runner> eager = NewRunner(false);
  const std::unique_ptr<Runner> graphed = NewRunner(true);
  for (const std::uint32_t seed : {1U, 2U, 3U, 4U}) {
    EXPECT_EQ(Embed(*graphed, 2, seed), Embed(*eager, 2, seed));
  }
  EXPECT_EQ(graphs_.records, 1);
  EXPECT_EQ(warnings_.size(), 1U);
}

TEST_F(CudaRunnerTest, WhatTheDeviceHasNoMemoryForRunsInHalves) {
  const std::unique_ptr<Runner> runner = NewRunner(false);
  const auto expected = Embed(*runner, 6, 1);
  network_->room = 3;
  network_->TakePasses();
  EXPECT_EQ(Embed(*runner, 6, 1), expected);
  EXPECT_THAT(network_->TakePasses(), ElementsAre(6, 3, 3));
  EXPECT_EQ(module_.releases(), 1);
}

}  // namespace
}  // namespace pixembed
