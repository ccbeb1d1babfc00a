#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
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

// Colours 0..3: (1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12).
constexpr std::string_view kPalette("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c", 12);
// Codes of 3 bits: clear, 1, 2, end.
constexpr std::string_view kOneTwo("\x02\x02\x8c\x0a\x00", 5);

std::vector<int> PixelAt(const Image& image, int x, int y) {
  const std::uint8_t* const rgb = image.row(y) + static_cast<std::ptrdiff_t>(3) * x;
  return {rgb[0], rgb[1], rgb[2]};
}

TEST(Gif, AFrameLiesAtItsOffsetAndTheRestIsTheFirstColour) {
  const auto image = Decode(AsBytes(GifFile(4, 3, kPalette, 1, 2, 2, 1, kOneTwo)), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->width(), 4);
  EXPECT_EQ(image->height(), 3);
  EXPECT_THAT(PixelAt(*image, 1, 2), ElementsAre(4, 5, 6));
  EXPECT_THAT(PixelAt(*image, 2, 2), ElementsAre(7, 8, 9));
  EXPECT_THAT(PixelAt(*image, 0, 0), ElementsAre(1, 2, 3));
}

TEST(Gif, AFrameOutsideTheScreenEnlargesIt) {
  const auto header = ReadHeader(AsBytes(GifFile(1, 1, kPalette, 5, 0, 2, 1, kOneTwo)), {});
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->width, 7);
  EXPECT_EQ(header->height, 1);
}

TEST(Gif, WithoutAPaletteIndicesAreGray) {
  const auto image = Decode(AsBytes(GifFile(2, 1, "", 0, 0, 2, 1, kOneTwo)), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_THAT(PixelAt(*image, 1, 0), ElementsAre(2, 2, 2));
}

TEST(Gif, TooFewIndicesAreTruncated) {
  const std::string file = GifFile(3, 1, kPalette, 0, 0, 3, 1, kOneTwo);
  EXPECT_EQ(ReasonOf(Decode(AsBytes(file), {}).status()), Reason::kTruncatedImage);
}

TEST(Gif, AnEmptyFrameAndAnImpossibleCodeAreCorrupt) {
  const std::string empty = GifFile(3, 1, kPalette, 0, 0, 0, 1, kOneTwo);
  EXPECT_EQ(ReasonOf(Decode(AsBytes(empty), {}).status()), Reason::kCorruptImage);
  // Clear, then a string that no code has made yet.
  const std::string impossible =
      GifFile(3, 1, kPalette, 0, 0, 3, 1, std::string_view("\x02\x02\x3c\x00\x00", 5));
  EXPECT_EQ(ReasonOf(Decode(AsBytes(impossible), {}).status()), Reason::kCorruptImage);
  const std::string no_frame = std::string("GIF89a\x01\x00\x01\x00\x00\x00\x00;", 14);
  EXPECT_EQ(ReasonOf(Decode(AsBytes(no_frame), {}).status()), Reason::kCorruptImage);
}

// A file whose screen has a palette of four colours, or none.
Transparency WithTransparentIndex(std::string file, std::size_t palette_size, char index,
                                  const DecodePolicy& policy = {}) {
  std::string control("!\xf9\x04\x01\x00\x00?\x00", 8);
  control[6] = index;
  file.insert(13 + palette_size, control);
  const auto image = Decode(AsBytes(file), {}, policy);
  EXPECT_TRUE(image.ok()) << image.status();
  return image.ok() ? image->transparency() : Transparency();
}

TEST(Gif, TheTransparentIndexNamesAColor) {
  const std::string file = GifFile(2, 1, kPalette, 0, 0, 2, 1, kOneTwo);
  const auto color = [](Color named) {
    return Transparency{.kind = Transparency::Kind::kColor, .color = named};
  };
  EXPECT_EQ(WithTransparentIndex(file, kPalette.size(), 2), color({7, 8, 9}));
  EXPECT_EQ(WithTransparentIndex(file, kPalette.size(), 4), color({0, 0, 0}));
  EXPECT_EQ(WithTransparentIndex(file, kPalette.size(), 2, {.background = Color{}}),
            Transparency());
  EXPECT_EQ(WithTransparentIndex(GifFile(2, 1, "", 0, 0, 2, 1, kOneTwo), 0, 9), color({9, 9, 9}));
  EXPECT_EQ(Decode(AsBytes(file), {})->transparency(), Transparency());
}

}  // namespace
}  // namespace pixembed
