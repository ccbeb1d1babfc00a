#include "src/model/int8_kernel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "tests/model/kernel_operands.h"

namespace pixembed {
namespace {

// Of sums of a few hundred products of numbers up to 2, against the same in float64.
constexpr double kTolerance = 2e-4;

struct Case {
  std::size_t rows;
  std::size_t depth;
  std::size_t columns;
  bool bias = true;
  bool gelu = false;
};

struct Operands {
  explicit Operands(const Case& shape)
      : x(Noise(shape.rows * shape.depth, 1)),
        weight(Noise(shape.columns * shape.depth, 2)),
        bias(Noise(shape.columns, 3)) {}
  std::vector<float> x;
  std::vector<float> weight;
  std::vector<float> bias;
};

std::vector<float> Multiply(const Int8Kernel& kernel, const Case& shape, const Operands& operands) {
  const Bytes packed = Aligned(kernel.packed_bytes(shape.depth, shape.columns));
  kernel.pack(operands.weight.data(), shape.depth, shape.columns, packed.get());
  const Bytes scratch = Aligned(kernel.scratch_bytes(shape.rows, shape.depth));
  std::vector<float> out(shape.rows * shape.columns);
  kernel.run({.x = operands.x.data(),
              .x_stride = static_cast<std::ptrdiff_t>(shape.depth),
              .rows = shape.rows,
              .depth = shape.depth,
              .columns = shape.columns,
              .weight = packed.get(),
              .bias = shape.bias ? operands.bias.data() : nullptr,
              .gelu = shape.gelu,
              .out = out.data(),
              .out_stride = static_cast<std::ptrdiff_t>(shape.columns)},
             scratch.get());
  return out;
}

// The numbers of a group that int8 leaves, by the words of the header.
std::vector<double> RoundedWeights(const float* weights, std::size_t count) {
  float largest = 0.0F;
  for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(weights[i]));
  std::vector<double> rounded(count);
  if (largest == 0.0F) return rounded;
  for (std::size_t i = 0; i < count; ++i) {
    rounded[i] = std::nearbyint(weights[i] * (127.0F / largest)) * (double{largest} / 127.0);
  }
  return rounded;
}

std::vector<double> RoundedRow(std::vector<float> row) {
  const float low = *std::ranges::min_element(row);
  const float range = *std::ranges::max_element(row) - low;
  std::vector<double> rounded;
  for (const float number : row) {
    const float level = range > 0.0F ? (number - low) * (255.0F / range) : 0.0F;
    rounded.push_back(low + std::nearbyint(std::min(level, 255.0F)) * (double{range} / 255.0));
  }
  return rounded;
}

std::vector<float> Expected(const Case& shape, const Operands& operands) {
  std::vector<float> out;
  for (std::size_t r = 0; r < shape.rows; ++r) {
    for (std::size_t c = 0; c < shape.columns; ++c) {
      double sum = shape.bias ? operands.bias[c] : 0.0;
      for (std::size_t first = 0; first < shape.depth; first += kInt8Group) {
        const std::size_t count = std::min(kInt8Group, shape.depth - first);
        const float* x = operands.x.data() + r * shape.depth + first;
        const std::vector<double> row = RoundedRow({x, x + count});
        const std::vector<double> weights =
            RoundedWeights(operands.weight.data() + c * shape.depth + first, count);
        for (std::size_t i = 0; i < count; ++i) sum += row[i] * weights[i];
      }
      out.push_back(static_cast<float>(sum));
    }
  }
  return out;
}

class Int8KernelTest : public testing::TestWithParam<const Int8Kernel* (*)()> {
 protected:
  void SetUp() override {
    if (GetParam()() == nullptr) GTEST_SKIP() << "this CPU cannot run it";
  }
  static const Int8Kernel& kernel() { return *GetParam()(); }
};

// Whole and broken registers, groups, panels and blocks of rows, in every direction.
TEST_P(Int8KernelTest, MultipliesWhatRoundingLeaves) {
  for (const std::size_t rows : {1, 5, 6, 7, 13, 14, 15, 29}) {
    for (const std::size_t depth : {1, 3, 4, 15, 16, 17, 63, 64, 65, 100, 192, 200}) {
      for (const std::size_t columns : {1, 15, 16, 17, 64, 65, 130}) {
        for (const bool bias : {false, true}) {
          const Case shape{rows, depth, columns, bias};
          const Operands operands(shape);
          const std::vector<float> out = Multiply(kernel(), shape, operands);
          const std::vector<float> expected = Expected(shape, operands);
          for (std::size_t i = 0; i < out.size(); ++i) {
            ASSERT_NEAR(out[i], expected[i], kTolerance)
                << rows << " x " << depth << " x " << columns << ", number " << i;
          }
        }
      }
    }
  }
}

TEST_P(Int8KernelTest, OfOneRowGivesTheBitsOfMany) {
  const Case shape{13, 100, 70};
  const Operands operands(shape);
  const std::vector<float> all = Multiply(kernel(), shape, operands);
  Operands last = operands;
  last.x.erase(last.x.begin(), last.x.end() - 100);
  const std::vector<float> one = Multiply(kernel(), {1, 100, 70}, last);
  EXPECT_EQ(one, std::vector<float>(all.end() - 70, all.end()));
}

TEST_P(Int8KernelTest, AppliesGeluBeforeItRounds) {
  Case shape{9, 200, 33};
  Operands operands(shape);
  shape.gelu = true;
  const std::vector<float> fused = Multiply(kernel(), shape, operands);
  shape.gelu = false;
  for (float& x : operands.x) {
    x = static_cast<float>(0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2)));
  }
  const std::vector<float> apart = Multiply(kernel(), shape, operands);
  // A number within 1e-6 of the middle between two steps may fall to the other one.
  constexpr double kStep = 2.1 / 255.0 * 2.0;
  for (std::size_t i = 0; i < fused.size(); ++i) EXPECT_NEAR(fused[i], apart[i], 2.0 * kStep);
}

// Of one input channel, where there is nothing to round: x * 1, over the whole range.
TEST_P(Int8KernelTest, GeluIsWithinAMillionthOfTheDefinition) {
  for (int hundredths = -1200; hundredths <= 1200; ++hundredths) {
    const double x = hundredths / 100.0;
    Operands operands({1, 1, 1});
    operands.x = {static_cast<float>(x)};
    operands.weight = {1.0F};
    const std::vector<float> out = Multiply(kernel(), {1, 1, 1, false, true}, operands);
    const double exact = static_cast<float>(x);
    ASSERT_NEAR(out[0], 0.5 * exact * (1.0 + std::erf(exact / std::sqrt(2.0))), 1e-6) << x;
  }
}

TEST_P(Int8KernelTest, WhatIsLargeInOneGroupDoesNotCoarsenAnother) {
  const Case shape{1, 2 * kInt8Group, 8, false};
  const std::size_t last = shape.depth - 1;
  Operands operands(shape);
  const std::vector<float> before = Multiply(kernel(), shape, operands);
  // A large input channel that nothing looks at.
  for (std::size_t c = 0; c < shape.columns; ++c) operands.weight[c * shape.depth + last] = 0.0F;
  Operands without = operands;
  without.x[last] = 0.0F;
  operands.x[last] = 1000.0F;
  const std::vector<float> large = Multiply(kernel(), shape, operands);
  const std::vector<float> small = Multiply(kernel(), shape, without);
  double difference = 0.0;
  for (std::size_t i = 0; i < large.size(); ++i) {
    difference = std::max(difference, std::abs(double{large[i]} - small[i]));
  }
  EXPECT_GT(difference, 0.1);  // its own group, rounded to steps of 4
  for (std::size_t c = 0; c < shape.columns; ++c) {
    for (std::size_t i = kInt8Group; i < shape.depth; ++i)
      operands.weight[c * shape.depth + i] = 0.0F;
  }
  without.weight = operands.weight;
  EXPECT_EQ(Multiply(kernel(), shape, operands), Multiply(kernel(), shape, without));
}

TEST_P(Int8KernelTest, ZerosAndTheSmallestNumbersGiveZeroAndNoNumberGivesNone) {
  const Case shape{2, 70, 20, false};
  Operands operands(shape);
  std::ranges::fill(operands.x, 0.0F);
  EXPECT_EQ(Multiply(kernel(), shape, operands), std::vector<float>(40, 0.0F));
  operands = Operands(shape);
  std::ranges::fill(operands.weight, 1e-44F);
  for (const float y : Multiply(kernel(), shape, operands)) EXPECT_NEAR(y, 0.0F, 1e-36);
  operands = Operands(shape);
  for (const float none :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    operands.x[3] = none;
    const std::vector<float> out = Multiply(kernel(), shape, operands);
    for (std::size_t i = 0; i < 20; ++i) EXPECT_FALSE(std::isfinite(out[i])) << i;
    for (std::size_t i = 20; i < 40; ++i) EXPECT_TRUE(std::isfinite(out[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Of, Int8KernelTest, testing::Values(AvxVnniInt8Kernel, Avx512Int8Kernel),
                         [](const auto& kernel) {
                           return std::string(kernel.index == 0 ? "AvxVnni" : "Avx512");
                         });

TEST(NativeInt8Kernel, IsTheWidestThatThisCpuRuns) {
  const Int8Kernel* const widest =
      Avx512Int8Kernel() != nullptr ? Avx512Int8Kernel() : AvxVnniInt8Kernel();
  EXPECT_EQ(NativeInt8Kernel(), widest);
}

}  // namespace
}  // namespace pixembed
