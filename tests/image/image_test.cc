#include "src/image/image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace pixembed {
namespace {

TEST(Image, RowsFollowOneAnotherWithoutPadding) {
  Image image(5, 3);
  EXPECT_EQ(image.size_bytes(), 45U);
  EXPECT_EQ(image.pixels().size(), 45U);
  EXPECT_EQ(image.row(2), image.pixels().data() + 30);
}

// See image.cc: a decoder would write rows that do past the caches.
TEST(Image, NoRowBeginsAtAMultipleOf16Bytes) {
  for (const int width : {16, 32, 640}) {
    Image image(width, 3);
    for (int y = 0; y < image.height(); ++y) {
      EXPECT_NE(reinterpret_cast<std::uintptr_t>(image.row(y)) % 16, 0U) << width << ", row " << y;
    }
  }
}

TEST(Image, MovesWithItsPixels) {
  Image image(1, 1);
  std::ranges::fill(image.pixels(), 7);
  const Image moved = std::move(image);
  EXPECT_EQ(moved.pixels()[2], 7);
}

TEST(Names, AreTheOnesThatFilesAndFlagsUse) {
  EXPECT_EQ(FormatName(Format::kWebp), "WebP");
  EXPECT_EQ(BackendName(Backend::kPil), "pil");
  EXPECT_EQ(FilterName(Filter::kBicubic), "bicubic");
}

}  // namespace
}  // namespace pixembed
