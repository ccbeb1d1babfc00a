// The kernels of a GPU against LibTorch in float64. Needs one: see tests/gpu/run.sh.
#include "src/model/device_kernels.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <c10/core/Device.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/ScalarType.h>
#include <c10/core/StreamGuard.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "src/image/image.h"
#include "src/model/cuda/cuda_module.h"
#include "src/model/linear.h"
#include "src/model/model.h"
#include "src/model/runner.h"
#include "tests/model/test_device.h"

namespace pixembed {
namespace {

constexpr double kEpsilon = 1e-6;
// Of float32 sums of some thousand numbers about 1 in size.
constexpr double kFloatTolerance = 2e-5;
// Of products: at every step of the depth matrix units cut off what their sums have no bits for.
constexpr double kProductTolerance = 1e-4;
// Half of the distance of two bfloat16, as a part of the number.
constexpr double kHalfUnit = 1.0 / 256;
// The tanh form of GELU against itself: the hardware's tanh is exact to 11 bits.
constexpr double kTanhTolerance = 2e-3;

class DeviceKernelsTest : public testing::Test {
 protected:
  void SetUp() override {
    const Device device = TestDevice();
    if (device.kind == Device::Kind::kCpu) GTEST_SKIP() << "there is no GPU to test";
    const auto module = LoadCudaModule();
    ASSERT_TRUE(module.ok()) << module.status();
    module_ = *module;
    const auto kernels = module_->Kernels(device.index);
    ASSERT_TRUE(kernels.ok()) << kernels.status();
    kernels_ = *kernels;
    options_ =
        at::TensorOptions(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device.index)));
  }

  at::Tensor Noise(at::IntArrayRef sizes) const { return at::randn(sizes, options_); }

  // `actual` is `expected`, rounded to its type and a little more.
  static void ExpectNear(const at::Tensor& actual, const at::Tensor& expected, double tolerance) {
    const at::Tensor distance = actual.to(at::kDouble).sub(expected).abs();
    const double unit = actual.scalar_type() == at::kBFloat16 ? 1.01 * kHalfUnit : 0.0;
    const at::Tensor allowed = expected.abs().mul(unit).add(tolerance);
    EXPECT_TRUE(distance.le(allowed).all().item<bool>())
        << "by " << distance.sub(allowed).max().item<double>() << " too far";
  }

  const CudaModule* module_ = nullptr;
  const DeviceKernels* kernels_ = nullptr;
  at::TensorOptions options_;
};

TEST_F(DeviceKernelsTest, AddAndNormalize) {
  for (const std::int64_t width : {4, 32, 100, 192, 384, 768, 1152, 1280, 2048}) {
    ASSERT_TRUE(kernels_->Normalizes(width)) << width;
    for (const std::int64_t rows : {1, 5, 197, 1000}) {
      for (const bool adds : {false, true}) {
        for (const bool scales : {false, true}) {
          for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
            SCOPED_TRACE(testing::Message() << rows << " rows of " << width << ", adds " << adds
                                            << ", scales " << scales << ", " << type);
            const at::Tensor x = Noise({1, rows, width}).mul(3).add(1);
            const at::Tensor branch = Noise({1, rows, width}).to(at::kBFloat16);
            const at::Tensor scale = Noise({width});
            const at::Tensor weight = Noise({width});
            const at::Tensor bias = Noise({width});
            at::Tensor sum = x.to(at::kDouble);
            if (adds) sum.add_(scales ? branch.to(at::kDouble).mul(scale) : branch.to(at::kDouble));
            const at::Tensor expected = at::layer_norm(sum, {width}, weight.to(at::kDouble),
                                                       bias.to(at::kDouble), kEpsilon);
            const at::Tensor y = kernels_->AddAndNormalize({.x = x,
                                                            .branch = adds ? branch : at::Tensor(),
                                                            .scale = scales ? scale : at::Tensor(),
                                                            .weight = weight,
                                                            .bias = bias,
                                                            .epsilon = kEpsilon,
                                                            .out = type});
            EXPECT_EQ(y.scalar_type(), type);
            ExpectNear(x, sum, kFloatTolerance);
            ExpectNear(y, expected, kFloatTolerance);
          }
        }
      }
    }
  }
}

TEST_F(DeviceKernelsTest, NormalizesNoOtherWidths) {
  for (const std::int64_t width : {1, 2, 30, 2052, 4096}) {
    EXPECT_FALSE(kernels_->Normalizes(width)) << width;
  }
}

TEST_F(DeviceKernelsTest, Multiply) {
  struct Shape {
    std::int64_t in;
    std::int64_t out;
  };
  for (const Shape shape : {Shape{192, 576}, Shape{768, 768}, Shape{768, 3072}, Shape{3072, 768},
                            Shape{32, 40}, Shape{37, 10}}) {
    for (const std::int64_t rows : {1, 197, 6304}) {
      for (const bool transposed : {false, true}) {
        for (const bool gelu : {false, true}) {
          for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
            for (const bool biased : {true, false}) {
              SCOPED_TRACE(testing::Message()
                           << rows << " rows, " << shape.in << " -> " << shape.out
                           << ", transposed " << transposed << ", gelu " << gelu << ", bias "
                           << biased << ", " << type);
              const at::Tensor x = Noise({rows, shape.in}).to(at::kBFloat16);
              at::Tensor weight = Noise({shape.out, shape.in})
                                      .div(std::sqrt(static_cast<double>(shape.in)))
                                      .to(at::kBFloat16);
              if (transposed) weight = weight.t().contiguous().t();
              const at::Tensor bias = Noise({shape.out}).to(type);
              at::Tensor expected =
                  at::linear(x.to(at::kDouble), weight.to(at::kDouble),
                             biased ? std::optional(bias.to(at::kDouble)) : std::nullopt);
              if (gelu) expected = at::gelu(expected, "tanh");
              const at::Tensor y = kernels_->Multiply({.x = x,
                                                       .weight = weight,
                                                       .bias = biased ? bias : at::Tensor(),
                                                       .gelu = gelu,
                                                       .out = type});
              EXPECT_EQ(y.scalar_type(), type);
              ExpectNear(y, expected, gelu ? kTanhTolerance : kProductTolerance);
            }
          }
        }
      }
    }
  }
}

TEST_F(DeviceKernelsTest, SplitPatches) {
  const at::Tensor table = Noise({std::int64_t{3} * 256}).mul(2);
  for (const Size patch : {Size{16, 16}, Size{14, 14}, Size{32, 32}, Size{1, 2}, Size{3, 4}}) {
    ASSERT_TRUE(kernels_->Splits(patch));
    // With pixels left over beyond the last whole patches.
    const at::Tensor images = at::randint(
        256, {3, std::int64_t{4} * patch.height + 1, std::int64_t{3} * patch.width + 1, 3},
        options_.dtype(at::kByte));
    const at::Tensor expected = GatherPatches(images, table, patch);
    const at::Tensor split = kernels_->SplitPatches(images, table, patch);
    const std::int64_t values = expected.size(2);
    ASSERT_EQ(split.sizes(), (at::IntArrayRef{3, 12, SplitWidth(values)}));
    const at::Tensor rounded = split.narrow(2, 0, values);
    EXPECT_TRUE(rounded.equal(expected.to(at::kBFloat16)));
    EXPECT_TRUE(split.narrow(2, 2 * values, values).equal(rounded));
    const at::Tensor rest = expected.sub(rounded.to(at::kFloat)).to(at::kBFloat16);
    EXPECT_TRUE(split.narrow(2, values, values).equal(rest));
    EXPECT_FALSE(split.narrow(2, 3 * values, SplitWidth(values) - 3 * values).any().item<bool>());
  }
  EXPECT_FALSE(kernels_->Splits({16, 15}));
}

TEST_F(DeviceKernelsTest, ASplitLinearIsTheOneInFloat32) {
  for (const std::int64_t in : {768, 588}) {  // of patches of 16 x 16 pixels, and of 14 x 14
    const at::Tensor x = Noise({300, in});
    const at::Tensor weight = Noise({768, in}).div(std::sqrt(static_cast<double>(in)));
    const at::Tensor bias = Noise({768});
    const Linear split = Linear::Split(weight, bias, *kernels_);
    const at::Tensor expected =
        at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
    ExpectNear(split.Forward(x), expected, kProductTolerance);
  }
}

// As a worker does, while another one meets products of other sizes.
TEST_F(DeviceKernelsTest, WhatIsRecordedComputesWhatComesLater) {
  constexpr Size kPatch{.height = 16, .width = 16};
  constexpr std::int64_t kWidth = 768;
  const std::int64_t values = std::int64_t{3} * kPatch.height * kPatch.width;
  const auto pictures = [&] { return at::randint(256, {4, 64, 64, 3}, options_.dtype(at::kByte)); };
  const c10::InferenceMode inference;
  at::Tensor images = pictures();
  const at::Tensor later = pictures();
  const at::Tensor table = Noise({std::int64_t{3} * 256});
  const at::Tensor weight =
      Noise({kWidth, SplitWidth(values)}).div(std::sqrt(3.0 * values)).to(at::kBFloat16);
  const at::Tensor bias = Noise({kWidth});
  const auto work = [&] {
    const at::Tensor patches = kernels_->SplitPatches(images, table, kPatch);
    const at::Tensor x =
        kernels_->Multiply({.x = patches, .weight = weight, .bias = bias, .out = at::kFloat});
    return kernels_->AddAndNormalize({.x = x,
                                      .branch = {},
                                      .scale = {},
                                      .weight = bias,
                                      .bias = bias,
                                      .epsilon = kEpsilon,
                                      .out = at::kFloat});
  };
  std::vector<ProductOperands> others;
  for (const std::int64_t rows : {10, 300, 3000}) {
    others.push_back({.x = Noise({rows, kWidth}).to(at::kBFloat16),
                      .weight = Noise({kWidth, kWidth}).to(at::kBFloat16),
                      .bias = bias.to(at::kBFloat16)});
  }
  const auto stream = module_->NewStream(options_.device().index());
  ASSERT_TRUE(stream.ok()) << stream.status();
  const auto recorder = module_->NewGraphRecorder();
  ASSERT_TRUE(recorder.ok()) << recorder.status();
  images.sum().item();  // all of the above is done, whatever the stream
  const c10::StreamGuard guard(*stream);
  work();  // what is recorded is neither compiled nor searched for
  std::jthread another([&] {
    const c10::InferenceMode inference_there;
    for (const ProductOperands& operands : others) kernels_->Multiply(operands);
  });
  const auto graph = (*recorder)->Record(work);
  another.join();
  ASSERT_TRUE(graph.ok()) << graph.status();
  images.copy_(later);
  ASSERT_TRUE((*graph)->Replay().ok());
  ExpectNear((*graph)->output(), work().to(at::kDouble), kProductTolerance);
}

}  // namespace
}  // namespace pixembed
