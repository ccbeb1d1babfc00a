#include "src/model/rotary.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>
#include <c10/core/Device.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numbers>
#include <vector>

#include "src/checkpoint/checkpoint.h"
#include "src/model/weights.h"
#include "tests/model/tensor_values.h"

namespace pixembed {
namespace {

constexpr float kTolerance = 1e-6F;
constexpr float kQuarter = std::numbers::pi_v<float> / 2;

auto Near(const std::vector<float>& expected) {
  return testing::Pointwise(testing::FloatNear(kTolerance), expected);
}

TEST(Rotary, TurnsEachPairOfHalvesByItsAngleAndLeavesLeadingTokensAlone) {
  const WeightReader reader(Weights(), c10::kCPU);
  // One token is turned: its first pair by a quarter turn, its second by half a turn.
  const Rotary rotary = MakeRotary(at::tensor({kQuarter, 2 * kQuarter}).view({1, 2}), reader);
  const at::Tensor points =
      at::tensor({1.0F, 2.0F, 3.0F, 4.0F, 1.0F, 2.0F, 3.0F, 4.0F}).view({1, 2, 4});
  rotary.Apply(points);
  EXPECT_THAT(Values(points), Near({1, 2, 3, 4, -3, -2, 1, -4}));
}

TEST(Rotary, WithoutAnglesDoesNothing) {
  const at::Tensor points = at::tensor({1.0F, 2.0F}).view({1, 1, 2});
  Rotary().Apply(points);
  EXPECT_THAT(Values(points), Near({1, 2}));
}

TEST(AxialAngles, AreThoseOfTheRowThenThoseOfTheColumn) {
  const at::Tensor angles = AxialAngles(at::tensor({1.0F, 2.0F}), at::tensor({0.0F, 3.0F, 5.0F}),
                                        at::tensor({1.0F, 10.0F}));
  EXPECT_THAT(Values(angles), Near({1, 10, 0, 0, 1, 10, 3, 30, 1, 10, 5, 50,  //
                                    2, 20, 0, 0, 2, 20, 3, 30, 2, 20, 5, 50}));
}

}  // namespace
}  // namespace pixembed
