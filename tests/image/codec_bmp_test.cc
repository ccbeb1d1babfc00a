#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/image/decode_files.h"

namespace pixembed {
namespace {

using testing::ElementsAre;

std::vector<int> Pixels(std::string_view file) {
  const absl::StatusOr<Image> image = Decode(AsBytes(file), {});
  EXPECT_TRUE(image.ok()) << image.status();
  if (!image.ok()) return {};
  return {image->pixels().begin(), image->pixels().end()};
}

// Entries of blue, green, red, 0: no gray ramp.
std::string ColorPalette(int entries) {
  std::string palette;
  for (int i = 0; i < entries; ++i) {
    palette += {static_cast<char>(i + 2), static_cast<char>(i + 1), static_cast<char>(i), 0};
  }
  return palette;
}

constexpr std::string_view kTwoRows("\x01\x02\x03\0\x04\x05\x06\0", 8);

TEST(Bmp, RowsRunFromTheBottomUnlessTheHeightIsNegative) {
  EXPECT_THAT(Pixels(BmpFile(1, 2, 24, 0, "", kTwoRows)), ElementsAre(6, 5, 4, 3, 2, 1));
  EXPECT_THAT(Pixels(BmpFile(1, -2, 24, 0, "", kTwoRows)), ElementsAre(3, 2, 1, 6, 5, 4));
}

TEST(Bmp, APaletteThatIsAGrayRampMakesTheIndicesValues) {
  std::string ramp;
  for (int i = 0; i < 256; ++i) ramp += std::string(3, static_cast<char>(i)) + '\0';
  EXPECT_THAT(Pixels(BmpFile(1, 1, 8, 0, ramp, std::string("\x2a\0\0\0", 4))),
              ElementsAre(42, 42, 42));
}

TEST(Bmp, RunsLiteralsAndMovesAreUndone) {
  // 4 x 2: three of colour 5, end of line; one literal run 1 2 3 and its padding, end of bitmap.
  const std::string_view stream("\x03\x05\0\0\0\x03\x01\x02\x03\0\x01\x07\0\x01", 14);
  const std::vector<int> rgb = Pixels(BmpFile(4, -2, 8, 1, ColorPalette(256), stream));
  ASSERT_EQ(rgb.size(), 24U);
  const std::vector<int> indices = {5, 5, 5, 0, 1, 2, 3, 7};
  for (std::size_t i = 0; i < indices.size(); ++i) EXPECT_EQ(rgb[3 * i], indices[i]) << i;
}

TEST(Bmp, RunsThatEndEarlyAreTruncated) {
  const std::string file =
      BmpFile(4, 2, 8, 1, ColorPalette(256), std::string_view("\x03\x05\0\x01", 4));
  EXPECT_EQ(ReasonOf(Decode(AsBytes(file), {}).status()), Reason::kTruncatedImage);
}

TEST(Bmp, AMissingPixelIsTruncatedAndMissingPaddingIsNot) {
  EXPECT_THAT(Pixels(BmpFile(1, 2, 24, 0, "", kTwoRows.substr(0, 7))),
              ElementsAre(6, 5, 4, 3, 2, 1));
  const std::string file = BmpFile(1, 2, 24, 0, "", kTwoRows.substr(0, 6));
  EXPECT_EQ(ReasonOf(Decode(AsBytes(file), {}).status()), Reason::kTruncatedImage);
}

TEST(Bmp, OtherDepthsAndCompressionsAreUnsupported) {
  EXPECT_EQ(ReasonOf(Decode(AsBytes(BmpFile(1, 1, 2, 0, "", "abcd")), {}).status()),
            Reason::kUnsupportedFormat);
  EXPECT_EQ(ReasonOf(Decode(AsBytes(BmpFile(1, 1, 24, 4, "", "abcd")), {}).status()),
            Reason::kUnsupportedFormat);
  // Runs of indices in an image that has none.
  EXPECT_EQ(ReasonOf(Decode(AsBytes(BmpFile(1, 1, 24, 1, "", "abcd")), {}).status()),
            Reason::kUnsupportedFormat);
}

TEST(Bmp, AZeroSideIsCorrupt) {
  EXPECT_EQ(ReasonOf(Decode(AsBytes(BmpFile(0, 1, 24, 0, "", "")), {}).status()),
            Reason::kCorruptImage);
}

}  // namespace
}  // namespace pixembed
