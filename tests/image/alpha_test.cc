#include "src/image/alpha.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "src/image/image.h"

namespace pixembed {
namespace {

using testing::ElementsAre;

constexpr Color kBackground = {10, 100, 200};

TEST(CompositeOnto, ShowsTheBackgroundThroughTransparentPixelsAndNotThroughOpaqueOnes) {
  std::vector<std::uint8_t> rgb = {1, 2, 3, 1, 2, 3};
  CompositeOnto(kBackground, std::array<std::uint8_t, 2>{0, 255}, rgb);
  EXPECT_THAT(rgb, ElementsAre(10, 100, 200, 1, 2, 3));
}

TEST(CompositeOnto, RoundsTheWeightedMeanToTheNearestForEveryAlphaAndLevel) {
  for (int alpha = 0; alpha < 256; ++alpha) {
    for (int level = 0; level < 256; ++level) {
      const auto over = static_cast<std::uint8_t>(level);
      std::vector<std::uint8_t> rgb = {over, over, over};
      CompositeOnto(kBackground, std::array{static_cast<std::uint8_t>(alpha)}, rgb);
      const auto mean = [&](int under) { return (level * alpha + under * (255 - alpha)) / 255.0; };
      // Half way between two levels either may come out.
      EXPECT_LE(std::abs(rgb[0] - mean(kBackground.red)), 0.5) << alpha << " " << level;
      EXPECT_LE(std::abs(rgb[1] - mean(kBackground.green)), 0.5) << alpha << " " << level;
      EXPECT_LE(std::abs(rgb[2] - mean(kBackground.blue)), 0.5) << alpha << " " << level;
    }
  }
}

TEST(ReplaceColor, ReplacesExactlyThatColor) {
  std::vector<std::uint8_t> rgb = {1, 2, 3, 1, 2, 4, 1, 2, 3};
  ReplaceColor({1, 2, 3}, kBackground, rgb);
  EXPECT_THAT(rgb, ElementsAre(10, 100, 200, 1, 2, 4, 10, 100, 200));
}

}  // namespace
}  // namespace pixembed
