#include "src/model/elementwise.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "src/model/activation.h"
#include "tests/model/tensor_values.h"

namespace pixembed {
namespace {

auto Near(const std::vector<float>& expected) {
  constexpr float kTolerance = 1e-6F;
  return testing::Pointwise(testing::FloatNear(kTolerance), expected);
}

TEST(Activate, TakesTheFormulasOfTheReference) {
  const auto activate = [](Activation activation) {
    at::Tensor x = at::tensor({-1.0F, 0.0F, 2.0F});
    Activate(activation, x);
    return Values(x);
  };
  const auto each = [](auto formula) {
    return std::vector<float>{formula(-1.0F), formula(0.0F), formula(2.0F)};
  };
  EXPECT_THAT(activate(Activation::kNone), Near({-1.0F, 0.0F, 2.0F}));
  EXPECT_THAT(
      activate(Activation::kGelu),
      Near(each([](float x) { return 0.5F * x * (1.0F + std::erf(x / std::sqrt(2.0F))); })));
  EXPECT_THAT(activate(Activation::kGeluTanh), Near(each([](float x) {
                return 0.5F * x * (1.0F + std::tanh(0.7978845608F * (x + 0.044715F * x * x * x)));
              })));
  EXPECT_THAT(activate(Activation::kQuickGelu),
              Near(each([](float x) { return x / (1.0F + std::exp(-1.702F * x)); })));
  EXPECT_THAT(activate(Activation::kRelu), Near({0.0F, 0.0F, 2.0F}));
  EXPECT_THAT(activate(Activation::kSilu),
              Near(each([](float x) { return x / (1.0F + std::exp(-x)); })));
}

TEST(AddScaled, MultipliesTheLastDimension) {
  at::Tensor x = at::tensor({1.0F, 2.0F, 3.0F, 4.0F}).view({2, 2});
  const at::Tensor y = at::tensor({1.0F, 1.0F, 2.0F, 2.0F}).view({2, 2});
  AddScaled(x, y, at::tensor({10.0F, -1.0F}));
  EXPECT_THAT(Values(x), Near({11.0F, 1.0F, 23.0F, 2.0F}));
  AddScaled(x, y, {});
  EXPECT_THAT(Values(x), Near({12.0F, 2.0F, 25.0F, 4.0F}));
}

}  // namespace
}  // namespace pixembed
