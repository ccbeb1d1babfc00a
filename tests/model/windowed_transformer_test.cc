#include "src/model/windowed_transformer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "src/image/image.h"
#include "tests/model/tensor_values.h"

namespace pixembed {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

constexpr float kTolerance = 1e-6F;

// One image whose tokens are 1, 2, 3, ...: [1, count, 1].
at::Tensor Numbered(std::int64_t count) {
  return at::arange(1, count + 1, at::TensorOptions().dtype(at::kFloat)).view({1, count, 1});
}

TEST(PartitionOrder, CutsTheGridIntoWindowsRowByRow) {
  const Windows windows{.grid = {.height = 2, .width = 4}, .window = 2};
  EXPECT_THAT(Values(PartitionOrder(windows).Forward(Numbered(8))),
              ElementsAre(1, 2, 5, 6, 3, 4, 7, 8));
}

TEST(PartitionOrder, PadsWithZerosAtTheBottomAndTheRight) {
  const Windows windows{.grid = {.height = 1, .width = 3}, .window = 2};
  EXPECT_EQ(windows.count(), 2);
  EXPECT_THAT(Values(PartitionOrder(windows).Forward(Numbered(3))),
              ElementsAre(1, 2, 0, 0, 3, 0, 0, 0));
}

TEST(PartitionOrder, ShiftsUpAndLeftAndWrapsAround) {
  const Windows windows{.grid = {.height = 4, .width = 4}, .window = 2, .shift = 1};
  EXPECT_THAT(Values(PartitionOrder(windows).Forward(Numbered(16))),
              ElementsAre(6, 7, 10, 11, 8, 5, 12, 9, 14, 15, 2, 3, 16, 13, 4, 1));
}

TEST(ReverseOrder, PutsEveryTokenBackWhereItWas) {
  for (const Windows& windows : {Windows{{4, 4}, 2, 0}, Windows{{4, 4}, 2, 1},
                                 Windows{{5, 7}, 3, 1}, Windows{{2, 9}, 4, 2}}) {
    const std::int64_t tokens = std::int64_t{windows.grid.height} * windows.grid.width;
    const at::Tensor there = PartitionOrder(windows).Forward(Numbered(tokens));
    EXPECT_EQ(there.size(1), windows.count() * windows.window_tokens());
    EXPECT_THAT(Values(ReverseOrder(windows).Forward(there)),
                ElementsAreArray(Values(Numbered(tokens))));
  }
}

TEST(MergeOrder, TakesColumnsBeforeRowsAndZerosBeyondAnOddSide) {
  const Size grid{.height = 2, .width = 3};
  EXPECT_EQ(MergedGrid(grid), (Size{.height = 1, .width = 2}));
  EXPECT_THAT(Values(MergeOrder(grid).Forward(Numbered(6))), ElementsAre(1, 4, 2, 5, 3, 6, 0, 0));
}

TEST(ShiftMask, BlocksTokensThatAreNoNeighboursWithoutTheShift) {
  const Windows windows{.grid = {.height = 4, .width = 4}, .window = 2, .shift = 1};
  const std::vector<float> mask = Values(ShiftMask(windows, -100.0));
  ASSERT_EQ(mask.size(), 4 * 4 * 4);
  // The first window lies in the middle; the last one holds the four corners of the grid.
  EXPECT_THAT(std::vector<float>(mask.begin(), mask.begin() + 16), testing::Each(0.0F));
  EXPECT_THAT(std::vector<float>(mask.end() - 16, mask.end()),
              ElementsAre(0, -100, -100, -100, -100, 0, -100, -100,  //
                          -100, -100, 0, -100, -100, -100, -100, 0));
}

TEST(ShiftMask, IsNothingWithoutAShift) {
  EXPECT_FALSE(ShiftMask({.grid = {.height = 4, .width = 4}, .window = 2}, -100.0).defined());
}

TEST(RelativePositionIndex, CountsDisplacementsRowByRow) {
  const at::Tensor index = RelativePositionIndex(2);
  const std::vector<std::int64_t> values(index.const_data_ptr<std::int64_t>(),
                                         index.const_data_ptr<std::int64_t>() + index.numel());
  // From each token of the window to each: (0, 0) is 4 of the 3 x 3 displacements.
  EXPECT_THAT(values, ElementsAre(4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4));
}

// Windows of one row of two tokens of width 1, one head; queries and keys are 0, so that only the
// bias decides, and values are the tokens.
WindowAttention BiasOnly(const at::Tensor& bias) {
  WindowAttention attention;
  attention.qkv = Linear(at::tensor({0.0F, 0.0F, 1.0F}).view({3, 1}));
  attention.output = Linear(at::eye(1, at::kFloat));
  attention.heads = 1;
  attention.head_dim = 1;
  attention.window_tokens = 2;
  attention.bias = bias;
  return attention;
}

TEST(WindowAttention, MixesTheTokensOfAWindowOnly) {
  const WindowAttention attention = BiasOnly(at::zeros({1, 1, 2, 2}, at::kFloat));
  EXPECT_THAT(Values(attention.Forward(Numbered(4))),
              testing::Pointwise(testing::FloatNear(kTolerance), {1.5F, 1.5F, 3.5F, 3.5F}));
}

TEST(WindowAttention, GivesEachWindowOfEveryImageItsOwnBias) {
  // The second window of an image attends to itself only.
  at::Tensor bias = at::zeros({2, 1, 2, 2}, at::kFloat);
  bias[1][0][0][1].fill_(-1000.0);
  bias[1][0][1][0].fill_(-1000.0);
  const at::Tensor images = Numbered(8).view({2, 4, 1});
  EXPECT_THAT(Values(BiasOnly(bias).Forward(images)),
              testing::Pointwise(testing::FloatNear(kTolerance),
                                 {1.5F, 1.5F, 3.0F, 4.0F, 5.5F, 5.5F, 7.0F, 8.0F}));
}

TEST(WindowAttention, ScoresAreCosinesTimesTheScaleWhereThereIsOne) {
  WindowAttention attention = BiasOnly(at::zeros({1, 1, 2, 2}, at::kFloat));
  attention.qkv = Linear(at::ones({3, 1}, at::kFloat));
  attention.cosine_scale = at::full({1, 1, 1}, 50.0, at::kFloat);
  // Every cosine is 1, however long the tokens are.
  EXPECT_THAT(Values(attention.Forward(Numbered(2))),
              testing::Pointwise(testing::FloatNear(kTolerance), {1.5F, 1.5F}));
}

}  // namespace
}  // namespace pixembed
