#include "src/image/image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace pixembed {
namespace {

TEST(Image, RowsFollowOneAnotherWithoutPadding) {
  Image image(5, 3);
  EXPECT_EQ(image.size_bytes(), 45U);
  EXPECT_EQ(image.pixels().size(), 45U);
  EXPECT_EQ(image.row(2), image.pixels().data() + 30);
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
