#include "src/image/alpha.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "src/error/error.h"
#include "src/image/image.h"

namespace pixembed {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

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

Image TwoPixels(const Transparency& transparency) {
  Image image(2, 1);
  std::ranges::copy(std::array<std::uint8_t, 6>{1, 2, 3, 4, 5, 6}, image.pixels().begin());
  image.set_transparency(transparency);
  return image;
}

PreprocessSpec Converting(bool convert_rgb) {
  PreprocessSpec spec;
  spec.convert_rgb = convert_rgb;
  return spec;
}

constexpr Transparency kSecondPixel = {.kind = Transparency::Kind::kColor, .color = {4, 5, 6}};

TEST(ConvertToRgb, PutsTheTransparentColorOnWhiteOnce) {
  Image image = TwoPixels(kSecondPixel);
  ASSERT_TRUE(ConvertToRgb(Converting(true), image).ok());
  EXPECT_THAT(image.pixels(), ElementsAre(1, 2, 3, 255, 255, 255));
  EXPECT_EQ(image.transparency(), Transparency());
}

TEST(ConvertToRgb, WhereTheProcessorDoesNotTransparencyIsForgotten) {
  for (const Transparency& transparency :
       {kSecondPixel, Transparency{.kind = Transparency::Kind::kUnreadable}}) {
    Image image = TwoPixels(transparency);
    ASSERT_TRUE(ConvertToRgb(Converting(false), image).ok());
    EXPECT_THAT(image.pixels(), ElementsAre(1, 2, 3, 4, 5, 6));
    EXPECT_EQ(image.transparency(), Transparency());
  }
}

TEST(ConvertToRgb, LeavesAnOpaqueImageAsItIs) {
  Image image = TwoPixels({});
  ASSERT_TRUE(ConvertToRgb(Converting(true), image).ok());
  EXPECT_THAT(image.pixels(), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(ConvertToRgb, RefusesATransparencyThatIsNoColor) {
  Image image = TwoPixels({.kind = Transparency::Kind::kUnreadable});
  const absl::Status status = ConvertToRgb(Converting(true), image);
  EXPECT_EQ(ReasonOf(status), Reason::kUnsupportedFormat);
  EXPECT_THAT(std::string(status.message()), HasSubstr("do_convert_rgb"));
}

}  // namespace
}  // namespace pixembed
