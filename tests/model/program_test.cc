#include "src/model/program.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Device.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/model/network.h"

namespace pixembed {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr Size kInput = {4, 6};

class FunctionProgram final : public Program {
 public:
  using Function = std::function<at::Tensor(const at::Tensor& images)>;
  explicit FunctionProgram(Function function) : function_(std::move(function)) {}
  at::Tensor Run(const at::Tensor& images) const override { return function_(images); }

 private:
  Function function_;
};

absl::StatusOr<std::unique_ptr<const Network>> Probe(FunctionProgram::Function function,
                                                     bool class_token = false) {
  return ProbeProgram({.program = std::make_unique<FunctionProgram>(std::move(function)),
                       .class_token = class_token,
                       .kind = "test"},
                      kInput, c10::kCPU);
}

std::unique_ptr<const Network> MustProbe(FunctionProgram::Function function,
                                         bool class_token = false) {
  auto network = Probe(std::move(function), class_token);
  EXPECT_TRUE(network.ok()) << network.status();
  return network.ok() ? *std::move(network) : nullptr;
}

void ExpectRefused(FunctionProgram::Function function, Reason reason,
                   const testing::Matcher<const std::string&>& text) {
  const auto network = Probe(std::move(function));
  ASSERT_FALSE(network.ok());
  EXPECT_EQ(ReasonOf(network.status()), reason) << network.status();
  EXPECT_THAT(std::string(network.status().message()), text);
}

// [N, 3, 4, 6] -> [N, 6]: the mean over channels and rows.
at::Tensor ColumnMeans(const at::Tensor& images) { return images.mean(c10::IntArrayRef({1, 2})); }

// [N, 3, 4, 6] -> [N, 4, 6]: a token for each row.
at::Tensor RowTokens(const at::Tensor& images) { return images.mean(1); }

// A program looks at nothing else.
PatchBatch Batch(const at::Tensor& patches) { return {.patches = patches, .grids = {}}; }

// Pixels as the runner gives them: [N, 1, 3 * 4 * 6].
at::Tensor SomePatches(std::int64_t count) {
  constexpr std::int64_t kPatch = std::int64_t{3} * 4 * 6;
  return at::zeros({count, 1, kPatch}).uniform_(-1.0, 1.0);
}

TEST(Program, TokensAndDimensionAreWhatItGives) {
  const auto network = MustProbe(RowTokens);
  ASSERT_NE(network, nullptr);
  EXPECT_EQ(network->info().patch, kInput);
  EXPECT_EQ(network->info().tokens, 4);
  EXPECT_EQ(network->info().dimension, 6);
  EXPECT_FALSE(network->info().has_cls);
  const at::Tensor patches = SomePatches(2);
  EXPECT_TRUE(
      network->Forward(Batch(patches), {}).last.equal(RowTokens(patches.view({2, 3, 4, 6}))));
}

TEST(Program, OneVectorAnImageIsOneToken) {
  const auto network = MustProbe(ColumnMeans, /*class_token=*/true);
  ASSERT_NE(network, nullptr);
  EXPECT_EQ(network->info().tokens, 1);
  EXPECT_EQ(network->info().dimension, 6);
  EXPECT_FALSE(network->info().has_cls) << "a lone token is the whole image";
  const at::Tensor patches = SomePatches(5);
  const at::Tensor hidden = network->Forward(Batch(patches), {}).last;
  EXPECT_EQ(hidden.sizes(), c10::IntArrayRef({5, 1, 6}));
  EXPECT_TRUE(hidden.mean(1).equal(ColumnMeans(patches.view({5, 3, 4, 6}))));
}

TEST(Program, AClassTokenIsOneThatTheFileNames) {
  EXPECT_TRUE(MustProbe(RowTokens, /*class_token=*/true)->info().has_cls);
}

TEST(Program, AShapeThatIsNoEmbeddingIsRefusedWithBothShapes) {
  ExpectRefused([](const at::Tensor& images) { return images; }, Reason::kTensorShape,
                AllOf(HasSubstr("[1, 3, 4, 6]"), HasSubstr("[1, tokens, dimension]")));
  ExpectRefused([](const at::Tensor& images) { return RowTokens(images).select(0, 0); },
                Reason::kTensorShape, AllOf(HasSubstr("[4, 6]"), HasSubstr("[1, 3, 4, 6]")));
  ExpectRefused([](const at::Tensor& images) { return RowTokens(images).narrow(2, 0, 0); },
                Reason::kTensorShape, HasSubstr("[1, 4, 0]"));
}

TEST(Program, OtherNumbersThanFloat32AreRefused) {
  ExpectRefused([](const at::Tensor& images) { return RowTokens(images).to(at::kHalf); },
                Reason::kUnsupportedModel, HasSubstr("Half"));
}

TEST(Program, WhatItThrowsIsTheText) {
  ExpectRefused(
      [](const at::Tensor& /*images*/) -> at::Tensor {
        throw std::runtime_error("mat1 and mat2 shapes cannot be multiplied");
      },
      Reason::kUnsupportedModel, AllOf(HasSubstr("mat1 and mat2"), HasSubstr("[1, 3, 4, 6]")));
}

TEST(Program, NumbersThatChangeFromRunToRunAreRefused) {
  int runs = 0;
  ExpectRefused(
      [runs](const at::Tensor& images) mutable { return ColumnMeans(images).add(++runs); },
      Reason::kUnsupportedModel, HasSubstr("second time"));
}

TEST(Program, NumbersThatDependOnNeighboursAreRefused) {
  ExpectRefused(
      [](const at::Tensor& images) {
        return ColumnMeans(images).sub(ColumnMeans(images).mean(0, /*keepdim=*/true));
      },
      Reason::kUnsupportedModel, HasSubstr("in a batch"));
}

TEST(Program, NumbersOfTheFirstImageForAllAreRefused) {
  ExpectRefused(
      [](const at::Tensor& images) {
        return ColumnMeans(images.narrow(0, 0, 1)).expand({images.size(0), -1});
      },
      Reason::kUnsupportedModel, HasSubstr("in a batch"));
}

TEST(Program, SmallNumbersAreComparedAsWell) {
  ExpectRefused(
      [](const at::Tensor& images) {
        return ColumnMeans(images.narrow(0, 0, 1)).mul(1e-6).expand({images.size(0), -1});
      },
      Reason::kUnsupportedModel, HasSubstr("in a batch"));
}

TEST(Program, OneThatTakesSingleImagesOnlyIsRunOnOneAfterTheOther) {
  // What a trace of one image often is: the batch size became a number of the graph.
  const auto network = MustProbe([](const at::Tensor& images) {
    TORCH_CHECK(images.size(0) == 1, "shape '[1, 4, 6]' is invalid");
    return RowTokens(images);
  });
  ASSERT_NE(network, nullptr);
  const at::Tensor patches = SomePatches(3);
  EXPECT_TRUE(
      network->Forward(Batch(patches), {}).last.equal(RowTokens(patches.view({3, 3, 4, 6}))));
}

TEST(Program, OneThatFoldsABatchIntoOneImageIsRunOnOneAfterTheOther) {
  const auto network =
      MustProbe([](const at::Tensor& images) { return images.mean(1).mean(0, true); });
  ASSERT_NE(network, nullptr);
  EXPECT_EQ(network->Forward(Batch(SomePatches(3)), {}).last.size(0), 3);
}

TEST(Program, AnotherShapeThanAtLoadFails) {
  auto loaded = std::make_shared<bool>(false);
  const auto network = MustProbe([loaded](const at::Tensor& images) {
    return *loaded ? RowTokens(images).narrow(1, 0, 2) : RowTokens(images);
  });
  ASSERT_NE(network, nullptr);
  *loaded = true;
  EXPECT_THROW(network->Forward(Batch(SomePatches(1)), {}), c10::Error);
}

TEST(Program, TheArchitectureIsPartOfTheFingerprint) {
  EXPECT_NE(MustProbe(RowTokens)->info().architecture, MustProbe(ColumnMeans)->info().architecture);
  EXPECT_NE(MustProbe(RowTokens)->info().architecture,
            MustProbe(RowTokens, /*class_token=*/true)->info().architecture);
}

}  // namespace
}  // namespace pixembed
