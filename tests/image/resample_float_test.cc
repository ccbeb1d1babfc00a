#include "src/image/resample_float.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <numeric>
#include <random>
#include <vector>

#include "src/image/image.h"
#include "src/image/resample.h"
#include "src/image/taps.h"
#include "tests/image/random_image.h"

namespace pixembed {
namespace {

constexpr float kFactor = static_cast<float>(1.0 / 255.0);
constexpr float kUnitTolerance = 1e-6F;  // of the sum of an output's weights
constexpr Filter kFilters[] = {Filter::kBilinear, Filter::kBicubic};

std::vector<float> Resampled(const Image& image, Filter filter, Size size, const Window& window,
                             const FloatKernels& kernels) {
  std::vector<float> out(static_cast<std::size_t>(window.height) * window.width * 3);
  ResampleFloat(image, kFactor, filter, size, window, kernels, out.data(),
                std::ptrdiff_t{window.width} * 3);
  return out;
}

Window Whole(Size size) { return {0, 0, size.height, size.width}; }

TEST(FloatTaps, OfOneOutputSumToOneAndStayWithinTheInput) {
  std::mt19937 random(TestSeed());
  for (int round = 0; round < 300; ++round) {
    const int input = Draw(random, 1, 5000);
    const int output = Draw(random, 1, 600);
    for (const Filter filter : kFilters) {
      const FloatTaps taps = ComputeFloatTaps(filter, input, output, 0, output);
      for (int i = 0; i < output; ++i) {
        ASSERT_GE(taps.first[i], i == 0 ? 0 : taps.first[i - 1]);
        ASSERT_LE(taps.first[i] + taps.count[i], input);
        ASSERT_GE(taps.count[i], 1);
        ASSERT_LE(taps.count[i], taps.stride);
        const auto begin = taps.weights.begin() + std::ptrdiff_t{i} * taps.stride;
        ASSERT_NEAR(std::accumulate(begin, begin + taps.count[i], 0.0F), 1.0F,
                    kUnitTolerance * static_cast<float>(taps.count[i]))
            << input << " to " << output << ", output " << i;
      }
    }
  }
}

TEST(FloatTaps, OfAPartAreThoseOfTheWhole) {
  for (const Filter filter : kFilters) {
    const FloatTaps whole = ComputeFloatTaps(filter, 1000, 224, 0, 224);
    const FloatTaps part = ComputeFloatTaps(filter, 1000, 224, 100, 50);
    for (int i = 0; i < 50; ++i) {
      ASSERT_EQ(part.first[i], whole.first[100 + i]);
      ASSERT_EQ(part.count[i], whole.count[100 + i]);
      for (int t = 0; t < part.count[i]; ++t) {
        ASSERT_EQ(part.weights[static_cast<std::size_t>(i * part.stride + t)],
                  whole.weights[static_cast<std::size_t>((100 + i) * whole.stride + t)]);
      }
    }
    const InputRange range = ComputeFloatInputRange(filter, 1000, 224, 100, 50);
    EXPECT_EQ(range.begin, part.first.front());
    EXPECT_EQ(range.end, part.first.back() + part.count.back());
  }
}

TEST(ResampleFloat, AnAxisWhoseSizeStaysKeepsItsValues) {
  std::mt19937 random(TestSeed());
  const Image image = RandomImage(random, 37, 21);
  for (const Filter filter : kFilters) {
    const Size size = {image.height(), image.width()};
    const std::vector<float> values =
        Resampled(image, filter, size, Whole(size), ScalarFloatKernels());
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(values[i], static_cast<float>(image.pixels()[i]) * kFactor);
    }
  }
}

TEST(ResampleFloat, AWindowHoldsTheBitsOfTheWhole) {
  std::mt19937 random(TestSeed());
  const Image image = RandomImage(random, 300, 200);
  const Size size = {90, 110};
  for (const Filter filter : kFilters) {
    const std::vector<float> whole =
        Resampled(image, filter, size, Whole(size), BestFloatKernels());
    const Window window = {13, 29, 41, 53};
    const std::vector<float> part = Resampled(image, filter, size, window, BestFloatKernels());
    for (int y = 0; y < window.height; ++y) {
      for (int x = 0; x < window.width * 3; ++x) {
        ASSERT_EQ(
            part[static_cast<std::size_t>(y * window.width * 3 + x)],
            whole[static_cast<std::size_t>(((window.top + y) * size.width + window.left) * 3 + x)]);
      }
    }
  }
}

TEST(ResampleFloat, KernelsOfThisProcessorGiveTheBitsOfTheScalarOnes) {
  if (FmaFloatKernels() == nullptr) GTEST_SKIP() << "this processor has no AVX2 with FMA";
  const std::uint32_t seed = TestSeed();
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    const Size from = RandomSize(random, 300);
    const Size to = RandomTarget(random, from, 200);
    const Image image = RandomImage(random, from.width, from.height);
    for (const Filter filter : kFilters) {
      ASSERT_EQ(Resampled(image, filter, to, Whole(to), ScalarFloatKernels()),
                Resampled(image, filter, to, Whole(to), *FmaFloatKernels()))
          << "PIXEMBED_SEED=" << seed << ", " << FilterName(filter) << ", from " << from.height
          << "x" << from.width << " to " << to.height << "x" << to.width;
    }
  }
}

}  // namespace
}  // namespace pixembed
