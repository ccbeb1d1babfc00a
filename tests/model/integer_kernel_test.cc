#include "src/model/integer_kernel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <numeric>
#include <ostream>
#include <string>
#include <vector>

#include "src/model/float_kernel.h"
#include "tests/model/kernel_operands.h"

namespace pixembed {
namespace {

// Of sums of a few hundred products of numbers up to 2, against the same in float64.
constexpr double kTolerance = 2e-4;

struct Format {
  const char* name;
  const IntegerKernel* (*kernel)();
  std::size_t group;
  float largest_weight;
  float largest;    // of an activation
  bool symmetric;   // activations are whole numbers times a scale; else above the least
  bool sums_of_16;  // see integer_kernel.h: no sum of four weights of one sign leaves 16 bits
};
void PrintTo(const Format& format, std::ostream* out) { *out << format.name; }

Format Int8(const char* name, const IntegerKernel* (*kernel)()) {
  return {name, kernel, kInt8Group, 127.0F, 255.0F, false, false};
}
Format Int8OfSevenBits(const char* name, const IntegerKernel* (*kernel)()) {
  return {name, kernel, kInt8Group, 127.0F, 127.0F, false, true};
}
Format Int16(const char* name, const IntegerKernel* (*kernel)()) {
  return {name, kernel, kInt16Group, 2047.0F, 4095.0F, true, false};
}

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

std::vector<float> Multiply(const IntegerKernel& kernel, const Case& shape,
                            const Operands& operands) {
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

// The numbers of a group that are left, by the words of the header.
std::vector<double> RoundedTo(float levels, const std::vector<float>& numbers, float least = 0.0F) {
  float largest = least;
  for (const float number : numbers) largest = std::max(largest, std::abs(number));
  std::vector<double> rounded(numbers.size());
  if (largest == 0.0F) return rounded;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    rounded[i] =
        std::nearbyint(numbers[i] * (levels / largest)) * (double{largest} / double{levels});
  }
  return rounded;
}

// What must become the largest whole number, lest the sums of four leave 16 bits: of those at the
// same two of four places in two quads.
float LeastOfSums(const std::vector<float>& weights) {
  std::vector<float> padded = weights;
  padded.resize((weights.size() + 7) / 8 * 8);
  float largest = 0.0F;
  for (std::size_t first = 0; first < padded.size(); first += 8) {
    for (const std::size_t half : {first, first + 2}) {
      float positive = 0.0F;
      float negative = 0.0F;
      for (const std::size_t i : {half, half + 1, half + 4, half + 5}) {
        (padded[i] > 0.0F ? positive : negative) += padded[i];
      }
      largest = std::max({largest, positive, -negative});
    }
  }
  return largest * (127.0F / 256.0F);  // 258 after each of the four is rounded up
}

std::vector<double> RoundedWeights(const Format& format, const std::vector<float>& weights) {
  return RoundedTo(format.largest_weight, weights, format.sums_of_16 ? LeastOfSums(weights) : 0.0F);
}

std::vector<double> RoundedRow(const Format& format, const std::vector<float>& row) {
  if (format.symmetric) return RoundedTo(format.largest, row);
  const float low = *std::ranges::min_element(row);
  const float range = *std::ranges::max_element(row) - low;
  std::vector<double> rounded;
  for (const float number : row) {
    const float level = range > 0.0F ? (number - low) * (format.largest / range) : 0.0F;
    rounded.push_back(low + std::nearbyint(std::min(level, format.largest)) *
                                (double{range} / double{format.largest}));
  }
  return rounded;
}

std::vector<float> Expected(const Format& format, const Case& shape, const Operands& operands) {
  const auto part = [&](const std::vector<float>& rows, std::size_t row, std::size_t first) {
    const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(row * shape.depth + first);
    const std::size_t count = std::min(format.group, shape.depth - first);
    return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(count));
  };
  std::vector<double> sums(shape.rows * shape.columns);
  for (std::size_t first = 0; first < shape.depth; first += format.group) {
    std::vector<std::vector<double>> weights;
    weights.reserve(shape.columns);
    for (std::size_t c = 0; c < shape.columns; ++c) {
      weights.push_back(RoundedWeights(format, part(operands.weight, c, first)));
    }
    for (std::size_t r = 0; r < shape.rows; ++r) {
      const std::vector<double> row = RoundedRow(format, part(operands.x, r, first));
      for (std::size_t c = 0; c < shape.columns; ++c) {
        sums[r * shape.columns + c] = std::inner_product(row.begin(), row.end(), weights[c].begin(),
                                                         sums[r * shape.columns + c]);
      }
    }
  }
  std::vector<float> out;
  out.reserve(sums.size());
  for (std::size_t i = 0; i < sums.size(); ++i) {
    out.push_back(
        static_cast<float>(sums[i] + (shape.bias ? operands.bias[i % shape.columns] : 0.0F)));
  }
  return out;
}

class IntegerKernelTest : public testing::TestWithParam<Format> {
 protected:
  void SetUp() override {
    if (GetParam().kernel() == nullptr) GTEST_SKIP() << "this CPU cannot run it";
  }
  static const IntegerKernel& kernel() { return *GetParam().kernel(); }
};

// Whole and broken registers, groups, panels and blocks of rows, in every direction.
TEST_P(IntegerKernelTest, MultipliesWhatRoundingLeaves) {
  for (const std::size_t rows : {1, 5, 6, 7, 13, 14, 15, 29}) {
    for (const std::size_t depth :
         {1, 3, 4, 15, 16, 17, 63, 64, 65, 100, 192, 200, 255, 256, 257, 300}) {
      for (const std::size_t columns : {1, 15, 16, 17, 24, 25, 64, 65, 130}) {
        for (const bool bias : {false, true}) {
          const Case shape{rows, depth, columns, bias};
          const Operands operands(shape);
          const std::vector<float> out = Multiply(kernel(), shape, operands);
          const std::vector<float> expected = Expected(GetParam(), shape, operands);
          for (std::size_t i = 0; i < out.size(); ++i) {
            ASSERT_NEAR(out[i], expected[i], kTolerance)
                << rows << " x " << depth << " x " << columns << ", number " << i;
          }
        }
      }
    }
  }
}

TEST_P(IntegerKernelTest, OfOneRowGivesTheBitsOfMany) {
  const Case shape{13, 100, 70};
  const Operands operands(shape);
  const std::vector<float> all = Multiply(kernel(), shape, operands);
  Operands last = operands;
  last.x.erase(last.x.begin(), last.x.end() - 100);
  const std::vector<float> one = Multiply(kernel(), {1, 100, 70}, last);
  EXPECT_EQ(one, std::vector<float>(all.end() - 70, all.end()));
}

TEST_P(IntegerKernelTest, AppliesGeluBeforeItRounds) {
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
  const double step = 2.1 / GetParam().largest * 2.0;
  for (std::size_t i = 0; i < fused.size(); ++i) EXPECT_NEAR(fused[i], apart[i], 2.0 * step);
}

// Of one input channel, where there is nothing to round: x * 1, over the whole range.
TEST_P(IntegerKernelTest, GeluIsWithinAMillionthOfTheDefinition) {
  for (int hundredths = -1200; hundredths <= 1200; ++hundredths) {
    const double x = hundredths / 100.0;
    Operands operands({1, 1, 1});
    operands.x = {static_cast<float>(x)};
    operands.weight = {1.0F};
    const std::vector<float> out = Multiply(kernel(), {1, 1, 1, false, true}, operands);
    const double exact = static_cast<float>(x);
    // The scales' own rounding, where there is one, is beside it.
    const double tolerance = 1e-6 + (GetParam().symmetric ? 2.5e-7 * std::abs(x) : 0.0);
    ASSERT_NEAR(out[0], 0.5 * exact * (1.0 + std::erf(exact / std::sqrt(2.0))), tolerance) << x;
  }
}

TEST_P(IntegerKernelTest, WhatIsLargeInOneGroupDoesNotCoarsenAnother) {
  const Case shape{1, 2 * GetParam().group, 8, false};
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
  EXPECT_GT(difference, 0.1);  // its own group, in coarse steps
  for (std::size_t c = 0; c < shape.columns; ++c) {
    for (std::size_t i = GetParam().group; i < shape.depth; ++i)
      operands.weight[c * shape.depth + i] = 0.0F;
  }
  without.weight = operands.weight;
  EXPECT_EQ(Multiply(kernel(), shape, operands), Multiply(kernel(), shape, without));
}

TEST_P(IntegerKernelTest, ZerosAndTheSmallestNumbersGiveZeroAndNoNumberGivesNone) {
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

TEST_P(IntegerKernelTest, AWeightThatIsNoNumberMakesItsColumnNone) {
  const Case shape{2, 300, 20, false};
  for (const float none :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Operands operands(shape);
    operands.weight[shape.depth + 299] = none;  // of column 1
    const std::vector<float> out = Multiply(kernel(), shape, operands);
    for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i % 20 == 1) << i;
  }
}

// Groups of the largest integers of either sign.
TEST_P(IntegerKernelTest, HoldsTheLargestSumsOfAGroup) {
  const std::size_t depth = 2 * GetParam().group;
  for (const float sign : {1.0F, -1.0F}) {
    Operands operands({1, depth, 2});
    std::ranges::fill(operands.x, 3.0F);
    operands.x.front() = GetParam().symmetric ? 3.0F : 0.0F;  // a range to round
    std::ranges::fill(operands.weight, 5.0F * sign);
    const std::vector<float> out = Multiply(kernel(), {1, depth, 2, false}, operands);
    const double expected =
        15.0 * sign * static_cast<double>(GetParam().symmetric ? depth : depth - 1);
    for (const float y : out) EXPECT_NEAR(y, expected, 1e-6 * std::abs(expected));
  }
}

// All of a row's activations are the largest whole number but the one that the others are above;
// weights have one sign, or are the largest there are.
TEST_P(IntegerKernelTest, HoldsTheLargestActivationsTimesWeightsOfAnySize) {
  const Case shape{3, GetParam().group, 96, false};
  for (const float power : {0.0F, 0.1F, 1.0F, 8.0F}) {
    for (const float sign : {1.0F, -1.0F}) {
      Operands operands(shape);
      for (std::size_t i = 0; i < operands.x.size(); ++i) {
        operands.x[i] = i % shape.depth == 0 && !GetParam().symmetric ? 0.0F : 1.0F;
      }
      for (float& weight : operands.weight) {
        weight = sign * std::pow(0.5F * std::abs(weight), power);
      }
      const std::vector<float> out = Multiply(kernel(), shape, operands);
      const std::vector<float> expected = Expected(GetParam(), shape, operands);
      for (std::size_t i = 0; i < out.size(); ++i) {
        ASSERT_NEAR(out[i], expected[i], kTolerance) << power << ", number " << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Of, IntegerKernelTest,
                         testing::Values(Int8OfSevenBits("Int8Avx2", Avx2Int8Kernel),
                                         Int8("Int8AvxVnni", AvxVnniInt8Kernel),
                                         Int8("Int8Avx512", Avx512Int8Kernel),
                                         Int16("Int16Avx2", Avx2Int16Kernel),
                                         Int16("Int16AvxVnni", AvxVnniInt16Kernel),
                                         Int16("Int16Avx512", Avx512Int16Kernel)),
                         [](const auto& format) { return std::string(format.param.name); });

TEST(NativeInt8Kernel, IsTheWidestThatThisCpuRunsWhereFloat32IsNotAsFast) {
  const IntegerKernel* const vnni =
      Avx512Int8Kernel() != nullptr ? Avx512Int8Kernel() : AvxVnniInt8Kernel();
  const IntegerKernel* const madd = Avx512FloatKernel() != nullptr ? nullptr : Avx2Int8Kernel();
  EXPECT_EQ(NativeInt8Kernel(), vnni != nullptr ? vnni : madd);
}

TEST(NativeInt16Kernel, IsTheWidestThatThisCpuRunsWhereFloat32IsNotAsFast) {
  const IntegerKernel* const vnni =
      Avx512Int16Kernel() != nullptr ? Avx512Int16Kernel() : AvxVnniInt16Kernel();
  const IntegerKernel* const madd = Avx512FloatKernel() != nullptr ? nullptr : Avx2Int16Kernel();
  EXPECT_EQ(NativeInt16Kernel(), vnni != nullptr ? vnni : madd);
}

}  // namespace
}  // namespace pixembed
