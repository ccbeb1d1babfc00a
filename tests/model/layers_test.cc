#include "src/model/layers.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/ScalarType.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <optional>
#include <utility>
#include <vector>

#include "src/model/float_kernel.h"
#include "src/model/linear.h"
#include "src/model/model.h"
#include "src/model/precision.h"
#include "src/model/residual_stream.h"
#include "src/model/rotary.h"
#include "tests/model/tensor_values.h"

namespace pixembed {
namespace {

constexpr float kTolerance = 1e-6F;
// From one bfloat16 to the next, of numbers below 8.
constexpr float kBFloat16Step = 0x1p-5F;

auto Near(const std::vector<float>& expected) {
  return testing::Pointwise(testing::FloatNear(kTolerance), expected);
}

// What becomes of x.
at::Tensor After(const Block& block, const at::Tensor& x) {
  ResidualStream stream(x.clone());
  block.Forward(stream);
  return stream.Sum();
}

Linear Identity(std::int64_t width) { return Linear(at::eye(width, at::kFloat)); }

TEST(LayerNorm, CentersScalesAndShiftsEachToken) {
  const LayerNorm norm{at::tensor({1.0F, 2.0F}), at::tensor({0.0F, 1.0F}), 1.0};
  // Mean 2, variance 1: (x - 2) / sqrt(1 + epsilon).
  const float unit = 1.0F / std::numbers::sqrt2_v<float>;
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
  const float e = std::numbers::e_v<float>;
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
  const float e = std::numbers::e_v<float>;
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
  const float e = std::numbers::e_v<float>;
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

class MlpOfIntegers : public testing::TestWithParam<Precision> {};
INSTANTIATE_TEST_SUITE_P(Of, MlpOfIntegers, testing::Values(Precision::kInt16, Precision::kInt8),
                         [](const auto& precision) {
                           return std::string(PrecisionName(precision.param));
                         });

TEST_P(MlpOfIntegers, IsNearFloat32WithEveryActivation) {
  if (!CheckNative(GetParam(), std::vector<Device>{Device{}}).ok()) {
    GTEST_SKIP() << "this CPU does not multiply " << PrecisionName(GetParam());
  }
  const at::Tensor up = at::randn({40, 20});
  const at::Tensor down = at::randn({20, 40});
  const at::Tensor x = at::randn({2, 9, 20});
  for (const Activation activation :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu}) {
    const Mlp exact{.up = Linear(up), .down = Linear(down), .activation = activation};
    const Mlp rounded{.up = Linear(up, {}, GetParam()),
                      .down = Linear(down, {}, GetParam()),
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
  EXPECT_THAT(Values(After(block, at::tensor({1.0F}).view({1, 1, 1}))), Near({32.0F}));
  block.scale1 = block.scale2 = at::Tensor();
  EXPECT_THAT(Values(After(block, at::tensor({1.0F}).view({1, 1, 1}))), Near({13.0F}));
}

// Branches that are kept in bfloat16, as they are on a GPU.
class BFloat16Branch : public testing::Test {
 protected:
  static constexpr std::int64_t kWidth = 32;
  static constexpr std::int64_t kHeads = 4;
  static constexpr std::int64_t kTokens = 9;

  void SetUp() override {
    if (!CheckNative(Precision::kBFloat16, std::vector<Device>{Device{}}).ok()) {
      GTEST_SKIP() << "this CPU does not multiply bfloat16";
    }
    at::manual_seed(1);
  }

  // The same weights, with the branch in either type.
  static std::pair<Linear, Linear> Linears(std::int64_t out, std::int64_t in) {
    const at::Tensor weight = at::randn({out, in}).div_(std::sqrt(static_cast<double>(in)));
    const at::Tensor bias = at::randn({out}).mul_(0.1);
    return {Linear(weight, bias, Precision::kBFloat16),
            Linear(weight, bias, Precision::kBFloat16, BranchType::kAsProducts)};
  }

  static std::pair<Attention, Attention> Attentions() {
    const auto [qkv, rounded_qkv] = Linears(3 * kWidth, kWidth);
    const auto [output, rounded_output] = Linears(kWidth, kWidth);
    return {Attention{qkv, output, kHeads, kWidth / kHeads, {}, {}},
            Attention{rounded_qkv, rounded_output, kHeads, kWidth / kHeads, {}, {}}};
  }

  static std::pair<Mlp, Mlp> Mlps(Activation activation, bool gated) {
    const auto [up, rounded_up] = Linears(gated ? 4 * kWidth : 2 * kWidth, kWidth);
    const auto [down, rounded_down] = Linears(kWidth, 2 * kWidth);
    return {Mlp{up, down, activation, gated}, Mlp{rounded_up, rounded_down, activation, gated}};
  }

  // Both float32, and as near as rounding to 8 bits of mantissa lets them be.
  static void ExpectNear(const at::Tensor& actual, const at::Tensor& expected) {
    EXPECT_EQ(actual.scalar_type(), at::kFloat);
    EXPECT_GT(CosineSimilarity(Values(actual), Values(expected)), 0.9998);
  }

  static at::Tensor Tokens() { return at::randn({2, kTokens, kWidth}); }
};

TEST_F(BFloat16Branch, IsWhatALinearGivesInsideOne) {
  const auto [wide, narrow] = Linears(kWidth, kWidth);
  const at::Tensor x = Tokens();
  EXPECT_EQ(wide.ForwardWithin(x).scalar_type(), at::kFloat);
  EXPECT_EQ(narrow.ForwardWithin(x).scalar_type(), at::kBFloat16);
  // At its end both are float32, and without an activation the same, if for the rounding of the
  // sums, which tiles do not do.
  const auto rounded = [](const at::Tensor& y) {
    return Values(y.to(at::kBFloat16).to(at::kFloat));
  };
  EXPECT_EQ(Values(narrow.Forward(x)), Values(narrow.ForwardWithin(x).to(at::kFloat)));
  EXPECT_THAT(rounded(narrow.Forward(x)),
              testing::Pointwise(testing::FloatNear(kBFloat16Step), rounded(wide.Forward(x))));
  if (AmxBFloat16Kernel() == nullptr) {
    EXPECT_EQ(Values(narrow.Forward(x)), Values(wide.Forward(x)));
  }
  // Products in float32 leave it float32.
  const Linear exact(at::eye(kWidth), {}, Precision::kFloat32, BranchType::kAsProducts);
  EXPECT_EQ(exact.ForwardWithin(x).scalar_type(), at::kFloat);
}

TEST_F(BFloat16Branch, OfAttentionIsNearTheOneInFloat32) {
  const auto [wide, narrow] = Attentions();
  const at::Tensor x = Tokens();
  ExpectNear(narrow.Forward(x), wide.Forward(x));
  EXPECT_NE(Values(narrow.Forward(x)), Values(wide.Forward(x)));  // another kernel, which rounds
}

TEST_F(BFloat16Branch, OfAttentionTakesBiasMaskAndRotation) {
  auto [wide, narrow] = Attentions();
  const at::Tensor angles = at::randn({kTokens - 1, kWidth / kHeads / 2});
  const Rotary rotary{at::cat({angles.cos(), angles.cos()}, 1),
                      at::cat({angles.sin().neg(), angles.sin()}, 1)};
  const at::Tensor bias = at::randn({1, kHeads, kTokens, kTokens});
  at::Tensor mask = at::zeros({2, 1, 1, kTokens});
  mask[1].narrow(-1, kTokens - 2, 2).fill_(-std::numeric_limits<float>::infinity());
  for (Attention* attention : {&wide, &narrow}) {
    attention->rotary = rotary;
    attention->bias = bias;
  }
  const at::Tensor x = Tokens();
  ExpectNear(narrow.Forward(x, mask), wide.Forward(x, mask));
}

TEST_F(BFloat16Branch, OfAnMlpIsNearTheOneInFloat32) {
  for (const bool gated : {false, true}) {
    for (const Activation activation :
         {Activation::kGelu, Activation::kGeluTanh, Activation::kQuickGelu, Activation::kSilu}) {
      const auto [wide, narrow] = Mlps(activation, gated);
      const at::Tensor x = Tokens();
      ExpectNear(narrow.Forward(x), wide.Forward(x));
    }
  }
}

TEST_F(BFloat16Branch, LeavesTheResidualStreamInFloat32) {
  const auto [wide, narrow] = Attentions();
  const auto [wide_mlp, narrow_mlp] = Mlps(Activation::kGelu, false);
  const LayerNorm norm{at::ones({kWidth}), at::zeros({kWidth}), 1e-6};
  const at::Tensor scale = at::randn({kWidth});
  const at::Tensor x = Tokens();
  const at::Tensor expected = After({norm, wide, scale, norm, wide_mlp, {}}, x);
  const at::Tensor actual = After({norm, narrow, scale, norm, narrow_mlp, {}}, x);
  EXPECT_EQ(actual.scalar_type(), at::kFloat);
  ExpectNear(actual, expected);
}

}  // namespace
}  // namespace pixembed
