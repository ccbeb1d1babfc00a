#include "src/image/resample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "src/image/image.h"
#include "tests/image/random_image.h"

namespace pixembed {
namespace {

constexpr Filter kFilters[] = {Filter::kNearest, Filter::kBox,     Filter::kBilinear,
                               Filter::kHamming, Filter::kBicubic, Filter::kLanczos};

std::vector<Filter> FiltersOf(Backend backend) {
  if (backend == Backend::kPil) return {std::begin(kFilters), std::end(kFilters)};
  return {Filter::kBilinear, Filter::kBicubic};
}

std::vector<std::uint8_t> Resized(const Image& image, Backend backend, Filter filter, Size size,
                                  const Window& window, const ResampleKernels& kernels) {
  std::vector<std::uint8_t> out(static_cast<std::size_t>(window.height) * window.width * 3);
  Resample(image, backend, filter, size, window, kernels, out.data(),
           std::ptrdiff_t{window.width} * 3);
  return out;
}

std::vector<std::uint8_t> ResizedWhole(const Image& image, Backend backend, Filter filter,
                                       Size size) {
  return Resized(image, backend, filter, size, {0, 0, size.height, size.width}, ScalarKernels());
}

std::string Describe(Backend backend, Filter filter, Size from, Size to) {
  return std::string(BackendName(backend)) + " " + std::string(FilterName(filter)) + " " +
         std::to_string(from.height) + "x" + std::to_string(from.width) + " to " +
         std::to_string(to.height) + "x" + std::to_string(to.width) + " (height x width)";
}

class ResampleBackend : public testing::TestWithParam<Backend> {};

INSTANTIATE_TEST_SUITE_P(Both, ResampleBackend,
                         testing::Values(Backend::kTorchvision, Backend::kPil),
                         [](const auto& backend) {
                           return std::string(BackendName(backend.param));
                         });

TEST_P(ResampleBackend, Avx2GivesTheBitsOfScalar) {
  const ResampleKernels& best = BestKernels();
  if (Avx2Kernels() != nullptr) {
    EXPECT_EQ(&best, Avx2Kernels());
  }
  const std::uint32_t seed = TestSeed();
  std::mt19937 random(seed);
  for (int round = 0; round < 60; ++round) {
    const Size from = RandomSize(random, 300);
    const Size to = RandomTarget(random, from, 260);
    const Image image = RandomImage(random, from.width, from.height);
    const Window window = {0, 0, to.height, to.width};
    for (const Filter filter : FiltersOf(GetParam())) {
      ASSERT_EQ(Resized(image, GetParam(), filter, to, window, ScalarKernels()),
                Resized(image, GetParam(), filter, to, window, best))
          << "seed " << seed << ": " << Describe(GetParam(), filter, from, to);
    }
  }
}

TEST_P(ResampleBackend, AWindowIsThatPartOfTheWhole) {
  const std::uint32_t seed = TestSeed();
  std::mt19937 random(seed);
  for (int round = 0; round < 60; ++round) {
    const Size from = RandomSize(random, 200);
    const Size to = RandomTarget(random, from, 200);
    const Image image = RandomImage(random, from.width, from.height);
    Window window;
    window.height = Draw(random, 1, to.height);
    window.width = Draw(random, 1, to.width);
    window.top = Draw(random, 0, to.height - window.height);
    window.left = Draw(random, 0, to.width - window.width);
    for (const Filter filter : FiltersOf(GetParam())) {
      const std::vector<std::uint8_t> whole = ResizedWhole(image, GetParam(), filter, to);
      const std::vector<std::uint8_t> part =
          Resized(image, GetParam(), filter, to, window, BestKernels());
      const std::size_t row_bytes = static_cast<std::size_t>(window.width) * 3;
      for (int y = 0; y < window.height; ++y) {
        const auto row = part.begin() + static_cast<std::ptrdiff_t>(y * row_bytes);
        const auto want =
            whole.begin() + (std::ptrdiff_t{window.top + y} * to.width + window.left) * 3;
        ASSERT_TRUE(std::equal(row, row + static_cast<std::ptrdiff_t>(row_bytes), want))
            << "seed " << seed << ": " << Describe(GetParam(), filter, from, to) << " row " << y;
      }
    }
  }
}

TEST_P(ResampleBackend, TheSameSizeIsACopy) {
  std::mt19937 random(1);
  const Image image = RandomImage(random, 37, 21);
  for (const Filter filter : FiltersOf(GetParam())) {
    const std::vector<std::uint8_t> out = ResizedWhole(image, GetParam(), filter, {21, 37});
    EXPECT_TRUE(std::ranges::equal(out, image.pixels())) << FilterName(filter);
  }
}

TEST_P(ResampleBackend, AFlatPictureStaysFlat) {
  for (const int level : {0, 1, 127, 254, 255}) {
    Image image(53, 31);
    std::ranges::fill(image.pixels(), static_cast<std::uint8_t>(level));
    for (const Size to : {Size{7, 5}, Size{224, 224}, Size{31, 90}, Size{1, 1}}) {
      for (const Filter filter : FiltersOf(GetParam())) {
        const std::vector<std::uint8_t> out = ResizedWhole(image, GetParam(), filter, to);
        const auto [low, high] = std::ranges::minmax(out);
        EXPECT_EQ(low, level) << Describe(GetParam(), filter, {31, 53}, to);
        EXPECT_EQ(high, level) << Describe(GetParam(), filter, {31, 53}, to);
      }
    }
  }
}

TEST_P(ResampleBackend, OnePixelFillsAnySize) {
  Image image(1, 1);
  image.row(0)[0] = 3;
  image.row(0)[1] = 141;
  image.row(0)[2] = 255;
  for (const Filter filter : FiltersOf(GetParam())) {
    const std::vector<std::uint8_t> out =
        Resized(image, GetParam(), filter, {33, 65}, {0, 0, 33, 65}, BestKernels());
    for (std::size_t i = 0; i < out.size(); i += 3) {
      ASSERT_EQ(out[i], 3);
      ASSERT_EQ(out[i + 1], 141);
      ASSERT_EQ(out[i + 2], 255);
    }
  }
}

// Two levels, two pixels: (0 + 255) / 2 = 127.5 rounds up.
TEST_P(ResampleBackend, HalvesRoundUp) {
  Image image(2, 1);
  std::ranges::fill(image.pixels().first(3), std::uint8_t{0});
  std::ranges::fill(image.pixels().last(3), std::uint8_t{255});
  EXPECT_EQ(ResizedWhole(image, GetParam(), Filter::kBilinear, {1, 1}),
            (std::vector<std::uint8_t>{128, 128, 128}));
}

// The result of each pass is rounded to 8 bits, so the order of passes shows: a picture and its
// transpose differ after an equal resize wherever the order is fixed.
TEST(Resample, PillowShrinksTheHeightFirstWhereThatSavesMost) {
  const std::uint32_t seed = TestSeed();
  std::mt19937 random(seed);
  Image tall(40, 200);
  for (std::uint8_t& level : tall.pixels()) level = random() % 2 == 0 ? 0 : 255;
  Image wide(200, 40);
  for (int y = 0; y < 200; ++y) {
    for (int x = 0; x < 40; ++x) {
      std::copy_n(PixelAt(tall, x, y), 3, PixelAt(wide, y, x));
    }
  }
  const auto transposed_resize = [&](Backend backend) {
    const std::vector<std::uint8_t> out = ResizedWhole(wide, backend, Filter::kBicubic, {20, 30});
    std::vector<std::uint8_t> back(out.size());
    for (int y = 0; y < 30; ++y) {
      for (int x = 0; x < 20; ++x) {
        std::copy_n(&out[(static_cast<std::size_t>(x) * 30 + y) * 3], 3,
                    &back[(static_cast<std::size_t>(y) * 20 + x) * 3]);
      }
    }
    return back;
  };
  // Vertical first on the tall picture is horizontal first on its transpose.
  EXPECT_EQ(ResizedWhole(tall, Backend::kPil, Filter::kBicubic, {30, 20}),
            transposed_resize(Backend::kPil))
      << "seed " << seed;
  EXPECT_NE(ResizedWhole(tall, Backend::kTorchvision, Filter::kBicubic, {30, 20}),
            transposed_resize(Backend::kTorchvision))
      << "seed " << seed;
}

}  // namespace
}  // namespace pixembed
