#include "src/image/taps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "src/image/image.h"
#include "tests/image/random_image.h"

namespace pixembed {
namespace {

constexpr Filter kPilFilters[] = {Filter::kBox, Filter::kBilinear, Filter::kHamming,
                                  Filter::kBicubic, Filter::kLanczos};
constexpr Filter kTorchvisionFilters[] = {Filter::kBilinear, Filter::kBicubic};

int Weight(const AxisTaps& taps, int i, int t) {
  const std::size_t at = static_cast<std::size_t>(i) * taps.stride + t;
  return taps.split() ? taps.coarse[at] * (1 << AxisTaps::kFineBits) + taps.fine[at]
                      : taps.coarse[at];
}

// Weights are at least this near to adding up to 1: one rounding each.
void ExpectSumsToOne(const AxisTaps& taps) {
  for (int i = 0; i < taps.outputs(); ++i) {
    int sum = 0;
    for (int t = 0; t < taps.count[i]; ++t) sum += Weight(taps, i, t);
    ASSERT_NEAR(sum, 1 << taps.precision, taps.count[i]) << "output " << i;
  }
}

TEST(Taps, OfEveryOutputAddUpToOneAndStayInside) {
  const std::uint32_t seed = TestSeed();
  std::mt19937 random(seed);
  for (int round = 0; round < 50; ++round) {
    const int input = Draw(random, 1, 900);
    const int output = Draw(random, 1, 600);
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + std::to_string(input) + " to " +
                 std::to_string(output));
    const auto check = [&](Backend backend, Filter filter) {
      const AxisTaps taps = ComputeTaps(backend, filter, input, output, 0, output);
      ASSERT_EQ(taps.outputs(), output);
      ASSERT_EQ(taps.stride % AxisTaps::kGroup, 0);
      for (int i = 0; i < output; ++i) {
        ASSERT_GE(taps.first[i], i == 0 ? 0 : taps.first[i - 1]);
        ASSERT_GE(taps.count[i], 1);
        ASSERT_LE(taps.count[i], taps.stride);
        ASSERT_LE(taps.first[i] + taps.count[i], input);
      }
      ExpectSumsToOne(taps);
    };
    for (const Filter filter : kPilFilters) check(Backend::kPil, filter);
    for (const Filter filter : kTorchvisionFilters) check(Backend::kTorchvision, filter);
  }
}

// The torchvision backend's precision depends on the largest weight of the whole axis, whichever
// part of it is asked for.
TEST(Taps, OfAWindowAreThoseOfTheWholeAxis) {
  const std::uint32_t seed = TestSeed();
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    const int input = Draw(random, 1, 700);
    const int output = Draw(random, 1, 700);
    const int begin = Draw(random, 0, output - 1);
    const int outputs = Draw(random, 1, output - begin);
    const Backend backend = round % 2 == 0 ? Backend::kTorchvision : Backend::kPil;
    const Filter filter = round % 4 < 2 ? Filter::kBilinear : Filter::kBicubic;
    SCOPED_TRACE("seed " + std::to_string(seed) + " round " + std::to_string(round));
    const AxisTaps whole = ComputeTaps(backend, filter, input, output, 0, output);
    const AxisTaps part = ComputeTaps(backend, filter, input, output, begin, outputs);
    ASSERT_EQ(part.precision, whole.precision);
    for (int i = 0; i < outputs; ++i) {
      ASSERT_EQ(part.first[i], whole.first[begin + i]);
      ASSERT_EQ(part.count[i], whole.count[begin + i]);
      for (int t = 0; t < part.count[i]; ++t) {
        ASSERT_EQ(Weight(part, i, t), Weight(whole, begin + i, t));
      }
    }
  }
}

TEST(Taps, OfTorchvisionUseAsManyBitsAsTheLargestWeightLeaves) {
  const std::uint32_t seed = TestSeed();
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    const int input = Draw(random, 1, 3000);
    const int output = Draw(random, 1, 700);
    const Filter filter = round % 2 == 0 ? Filter::kBilinear : Filter::kBicubic;
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + std::to_string(input) + " to " +
                 std::to_string(output));
    const AxisTaps taps = ComputeTaps(Backend::kTorchvision, filter, input, output, 0, output);
    const int largest = *std::max_element(taps.coarse.begin(), taps.coarse.end());
    ASSERT_GE(taps.precision, 14);
    // With one bit more it would be 2^15 or above, up to the rounding of both.
    if (taps.precision < 22) {
      ASSERT_GE(2 * largest + 1, (1 << 15) - 1);
    }
  }
}

TEST(Taps, HalvingAveragesWithATriangle) {
  const AxisTaps taps = ComputeTaps(Backend::kPil, Filter::kBilinear, 8, 4, 0, 4);
  EXPECT_EQ(taps.precision, 22);
  EXPECT_EQ(taps.first[1], 1);
  ASSERT_EQ(taps.count[1], 4);
  EXPECT_EQ(Weight(taps, 1, 0), (1 << 22) / 8);
  EXPECT_EQ(Weight(taps, 1, 1), (1 << 22) / 8 * 3);
  EXPECT_EQ(Weight(taps, 1, 2), (1 << 22) / 8 * 3);
  EXPECT_EQ(Weight(taps, 1, 3), (1 << 22) / 8);
}

TEST(Taps, AThinAxisThatGrowsHugeIsCheapWhereAWindowIsAskedFor) {
  const AxisTaps taps =
      ComputeTaps(Backend::kTorchvision, Filter::kBicubic, 65535, 14'680'064, 7'339'920, 224);
  EXPECT_EQ(taps.precision, 14);
  EXPECT_EQ(taps.outputs(), 224);
  ExpectSumsToOne(taps);
}

TEST(NearestInputs, TakeThePixelUnderTheMiddleOfTheOutput) {
  EXPECT_EQ(NearestInputs(4, 2, 0, 2), (std::vector<int>{1, 3}));
  EXPECT_EQ(NearestInputs(2, 4, 0, 4), (std::vector<int>{0, 0, 1, 1}));
  EXPECT_EQ(NearestInputs(2, 4, 2, 2), (std::vector<int>{1, 1}));
  EXPECT_EQ(NearestInputs(3, 3, 0, 3), (std::vector<int>{0, 1, 2}));
}

}  // namespace
}  // namespace pixembed
