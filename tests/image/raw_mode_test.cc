#include "src/image/raw_mode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "src/image/image.h"

namespace pixembed {
namespace {

using testing::ElementsAre;

std::vector<int> ToRgb(std::string_view mode, std::string_view raw_mode, int pixels,
                       const std::vector<std::uint8_t>& in, const Palette& palette = {}) {
  const RawMode* const row = FindRawMode(mode, raw_mode);
  if (row == nullptr) return {};
  EXPECT_EQ(in.size(), row->RowBytes(pixels));
  std::vector<std::uint8_t> rgb(static_cast<std::size_t>(pixels) * 3);
  row->to_rgb(in.data(), rgb.data(), pixels, palette);
  return {rgb.begin(), rgb.end()};
}

TEST(RawMode, BitsAreBlackOrWhiteHighestFirst) {
  EXPECT_THAT(ToRgb("1", "1", 3, {0b10100000}), ElementsAre(255, 255, 255, 0, 0, 0, 255, 255, 255));
  EXPECT_THAT(ToRgb("1", "1;I", 2, {0b10000000}), ElementsAre(0, 0, 0, 255, 255, 255));
  EXPECT_THAT(ToRgb("1", "1;R", 2, {0b00000001}), ElementsAre(255, 255, 255, 0, 0, 0));
}

TEST(RawMode, FewBitsOfGrayReachTheWholeRange) {
  EXPECT_THAT(ToRgb("L", "L;2", 2, {0b01110000}), ElementsAre(85, 85, 85, 255, 255, 255));
  EXPECT_THAT(ToRgb("L", "L;4I", 2, {0x0F}), ElementsAre(255, 255, 255, 0, 0, 0));
}

TEST(RawMode, WideGrayIsClippedNotScaled) {
  EXPECT_THAT(ToRgb("I;16", "I;16B", 2, {0, 200, 1, 0}), ElementsAre(200, 200, 200, 255, 255, 255));
  EXPECT_THAT(ToRgb("I", "I;16S", 2, {0xFF, 0xFF, 9, 0}), ElementsAre(0, 0, 0, 9, 9, 9));
  // 12 bits: 0x0FF and 0x100.
  EXPECT_THAT(ToRgb("I;16", "I;12", 2, {0x0F, 0xF1, 0x00}),
              ElementsAre(255, 255, 255, 255, 255, 255));
  EXPECT_THAT(ToRgb("F", "F;32BF", 1, {0x42, 0x28, 0x66, 0x66}), ElementsAre(42, 42, 42));
  EXPECT_THAT(ToRgb("F", "F;32BF", 1, {0x7F, 0xC0, 0, 0}), ElementsAre(0, 0, 0));  // NaN
}

TEST(RawMode, WideColoursKeepTheirHighByte) {
  EXPECT_THAT(ToRgb("RGB", "RGB;16B", 1, {1, 99, 2, 99, 3, 99}), ElementsAre(1, 2, 3));
  EXPECT_THAT(ToRgb("RGB", "RGB;16L", 1, {99, 1, 99, 2, 99, 3}), ElementsAre(1, 2, 3));
}

TEST(RawMode, AlphaIsDroppedUnlessTheColoursCarryIt) {
  EXPECT_THAT(ToRgb("RGBA", "RGBA", 1, {10, 20, 30, 0}), ElementsAre(10, 20, 30));
  EXPECT_THAT(ToRgb("RGBA", "RGBa", 1, {10, 20, 30, 128}), ElementsAre(19, 39, 59));
  EXPECT_THAT(ToRgb("RGBA", "RGBa", 1, {10, 20, 30, 0}), ElementsAre(0, 0, 0));
}

TEST(RawMode, PackedColoursFillTheRange) {
  EXPECT_THAT(ToRgb("RGB", "BGR;15", 1, {0x1F, 0x00}), ElementsAre(0, 0, 255));
  EXPECT_THAT(ToRgb("RGB", "BGR;16", 1, {0xE0, 0x07}), ElementsAre(0, 255, 0));
}

TEST(RawMode, CmykIsLightTimesInk) {
  EXPECT_THAT(ToRgb("CMYK", "CMYK", 2, {0, 255, 128, 0, 0, 0, 0, 255}),
              ElementsAre(255, 0, 127, 0, 0, 0));
  EXPECT_THAT(ToRgb("CMYK", "CMYK;I", 1, {255, 255, 255, 255}), ElementsAre(255, 255, 255));
}

TEST(RawMode, IndicesTakeTheirColourFromThePalette) {
  Palette palette = {};
  palette[9] = 1;
  palette[10] = 2;
  palette[11] = 3;
  EXPECT_THAT(ToRgb("P", "P;2", 2, {0b11000000}, palette), ElementsAre(1, 2, 3, 0, 0, 0));
  EXPECT_THAT(ToRgb("PA", "PA", 1, {3, 77}, palette), ElementsAre(1, 2, 3));
}

TEST(RawMode, WhatPillowCannotReadIsNotThere) {
  EXPECT_EQ(FindRawMode("P", "P;4R"), nullptr);
  EXPECT_EQ(FindRawMode("La", "La"), nullptr);
  EXPECT_EQ(FindBand("YCbCr", "Y"), std::nullopt);
  EXPECT_EQ(FindBand("CMYK", "K"), 3);
}

TEST(RawMode, BlankIsWhatZerosMeanInTheMode) {
  Palette palette = {};
  palette[0] = 7;
  EXPECT_THAT(BlankPixel("RGB", palette), ElementsAre(0, 0, 0));
  EXPECT_THAT(BlankPixel("P", palette), ElementsAre(7, 0, 0));
  EXPECT_THAT(BlankPixel("CMYK", palette), ElementsAre(255, 255, 255));
  EXPECT_THAT(BlankPixel("YCbCr", palette), ElementsAre(0, 135, 0));
  Image image(2, 1);
  FillBlank("P", palette, image);
  EXPECT_EQ(image.row(0)[3], 7);
}

}  // namespace
}  // namespace pixembed
