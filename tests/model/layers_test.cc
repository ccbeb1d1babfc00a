#include "src/model/layers.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "src/model/int8_kernel.h"
#include "src/model/linear.h"
#include "src/model/model.h"
#include "tests/model/tensor_values.h"

namespace pixembed {
namespace {

constexpr float kTolerance = 1e-6F;

auto Near(const std::vector<float>& expected) {
  return testing::Pointwise(testing::FloatNear(kTolerance), expected);
}

Linear Identity(std::int64_t width) { return Linear(at::eye(width, at::kFloat)); }

TEST(LayerNorm, CentersScalesAndShiftsEachToken) {
  const LayerNorm norm{at::tensor({1.0F, 2.0F}), at::tensor({0.0F, 1.0F}), 1.0};
  // Mean 2, variance 1: (x - 2) / sqrt(1 + epsilon).
  const float unit = 1.0F / std::sqrt(2.0F);
  EXPECT_THAT(Values(norm.Forward(at::tensor({1.0F, 3.0F}).view({1, 1, 2}))),
              Near({-unit, 2.0F * unit + 1.0F}));
}

TEST(Attention, MixesValuesByTheSoftmaxOfScaledProducts) {
  // One head of width 1, queries = keys = values = x.
  Attention attention;
  attention.heads = 1;
  attention.head_dim = 1;
  attention.qkv = Linear(at::tensor({1.0F, 1.0F, 1.0F}).view({3, 1}));
  attention.output = Identity(1);
  const at::Tensor y = attention.Forward(at::tensor({0.0F, 1.0F}).view({1, 2, 1}));
  const float e = std::exp(1.0F);
  EXPECT_THAT(Values(y), Near({0.5F, e / (1.0F + e)}));
}

TEST(Attention, LooksPastWhatIsMasked) {
  Attention attention;
  attention.heads = 1;
  attention.head_dim = 1;
  attention.qkv = Linear(at::tensor({1.0F, 1.0F, 1.0F}).view({3, 1}));
  attention.output = Identity(1);
  // Two images of three tokens, the last of the first image masked; a bias comes on top.
  const at::Tensor x = at::tensor({0.0F, 1.0F, 9.0F, 0.0F, 1.0F, 9.0F}).view({2, 3, 1});
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  const at::Tensor mask = at::tensor({0.0F, 0.0F, kNever, 0.0F, kNever, kNever}).view({2, 1, 1, 3});
  const float e = std::exp(1.0F);
  const float e9 = std::exp(9.0F);
  EXPECT_THAT(Values(attention.Forward(x, mask)),
              Near({0.5F, e / (1.0F + e), e9 / (1.0F + e9), 0.0F, 0.0F, 0.0F}));
  attention.bias = at::tensor({0.0F, 1.0F, 0.0F}).view({1, 1, 1, 3}).expand({1, 1, 3, 3});
  EXPECT_NEAR(Values(attention.Forward(x, mask)).front(), e / (1.0F + e), 1e-6F);
}

TEST(Attention, KeepsHeadsApart) {
  // Two heads of width 1; the second sees zeros only and averages.
  Attention attention;
  attention.heads = 2;
  attention.head_dim = 1;
  attention.qkv = Linear(at::tensor({1.0F, 0.0F, 0.0F, 0.0F,  //
                                     1.0F, 0.0F, 0.0F, 0.0F,  //
                                     1.0F, 0.0F, 0.0F, 1.0F})
                             .view({6, 2}));
  attention.output = Identity(2);
  const at::Tensor y = attention.Forward(at::tensor({0.0F, 4.0F, 1.0F, 8.0F}).view({1, 2, 2}));
  const float e = std::exp(1.0F);
  EXPECT_THAT(Values(y), Near({0.5F, 6.0F, e / (1.0F + e), 6.0F}));
}

TEST(Attention, AddsTheBiasOfAHeadToItsProducts) {
  // Queries and keys are zero, so that the bias alone decides; the second head has none.
  Attention attention;
  attention.heads = 2;
  attention.head_dim = 1;
  attention.qkv = Linear(at::tensor({0.0F, 0.0F, 0.0F, 0.0F,  //
                                     0.0F, 0.0F, 0.0F, 0.0F,  //
                                     1.0F, 0.0F, 0.0F, 1.0F})
                             .view({6, 2}));
  attention.output = Identity(2);
  const float three = std::log(3.0F);
  attention.bias = at::tensor({0.0F, three, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F}).view({1, 2, 2, 2});
  const at::Tensor y = attention.Forward(at::tensor({0.0F, 4.0F, 1.0F, 8.0F}).view({1, 2, 2}));
  EXPECT_THAT(Values(y), Near({0.75F, 6.0F, 0.5F, 6.0F}));
}

TEST(Mlp, GatesTheSecondHalfByTheFirst) {
  Mlp mlp;
  mlp.gated = true;
  mlp.activation = Activation::kSilu;
  mlp.up = Linear(at::tensor({1.0F, 3.0F}).view({2, 1}));  // gate = x, value = 3x
  mlp.down = Identity(1);
  const float silu = 2.0F / (1.0F + std::exp(-2.0F));
  EXPECT_THAT(Values(mlp.Forward(at::tensor({2.0F}).view({1, 1, 1}))), Near({6.0F * silu}));
}

TEST(Mlp, OfInt8IsNearFloat32WithEveryActivation) {
  if (NativeInt8Kernel() == nullptr) GTEST_SKIP() << "this CPU does not multiply int8";
  const at::Tensor up = at::randn({40, 20});
  const at::Tensor down = at::randn({20, 40});
  const at::Tensor x = at::randn({2, 9, 20});
  for (const Activation activation :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu}) {
    const Mlp exact{.up = Linear(up), .down = Linear(down), .activation = activation};
    const Mlp rounded{.up = Linear(up, {}, Precision::kInt8),
                      .down = Linear(down, {}, Precision::kInt8),
                      .activation = activation};
    EXPECT_TRUE(at::allclose(rounded.Forward(x), exact.Forward(x), /*rtol=*/0.02, /*atol=*/1.5))
        << ActivationName(activation);
  }
}

TEST(Block, AddsScaledBranches) {
  // Norms that give their bias, attention and Mlp that pass on: x + 2 * 5, then + 3 * relu(7).
  Block block;
  block.norm1 = {at::tensor({0.0F}), at::tensor({5.0F}), 1e-6};
  block.attention.heads = 1;
  block.attention.head_dim = 1;
  block.attention.qkv = Linear(at::tensor({1.0F, 1.0F, 1.0F}).view({3, 1}));
  block.attention.output = Identity(1);
  block.scale1 = at::tensor({2.0F});
  block.norm2 = {at::tensor({0.0F}), at::tensor({7.0F}), 1e-6};
  block.mlp = {.up = Identity(1), .down = Identity(1), .activation = Activation::kRelu};
  block.scale2 = at::tensor({3.0F});
  at::Tensor x = at::tensor({1.0F}).view({1, 1, 1});
  block.Forward(x);
  EXPECT_THAT(Values(x), Near({32.0F}));
  block.scale1 = block.scale2 = at::Tensor();
  x = at::tensor({1.0F}).view({1, 1, 1});
  block.Forward(x);
  EXPECT_THAT(Values(x), Near({13.0F}));
}

}  // namespace
}  // namespace pixembed
