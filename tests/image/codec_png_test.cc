#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/image/decode_files.h"

namespace pixembed {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int> Pixels(std::string_view file) {
  const absl::StatusOr<Image> image = Decode(AsBytes(file), {});
  EXPECT_TRUE(image.ok()) << image.status();
  if (!image.ok()) return {};
  return {image->pixels().begin(), image->pixels().end()};
}

std::string Row(const std::vector<int>& values) {
  std::string row;
  for (const int value : values) row.push_back(static_cast<char>(value));
  return row;
}

// 1 x 2 pixels of RGB.
std::string TwoPixels(std::string_view before = "") {
  return PngFile(1, 2, 8, 2, Row({0, 1, 2, 3, 0, 4, 5, 6}), before);
}

TEST(Png, FiltersAreUndone) {
  // Two gray pixels a row: none, left, up, average, Paeth.
  const std::string rows = Row({0, 10, 20, 1, 10, 20, 2, 1, 1, 3, 5, 5, 4, 1, 1});
  const std::vector<int> rgb = Pixels(PngFile(2, 5, 8, 0, rows));
  ASSERT_EQ(rgb.size(), 30U);
  const std::vector<int> gray = {10, 20, 10, 30, 11, 31, 10, 25, 11, 26};
  for (std::size_t i = 0; i < gray.size(); ++i) EXPECT_EQ(rgb[3 * i], gray[i]) << i;
}

TEST(Png, SixteenBitGrayIsClippedAsInPillow) {
  EXPECT_THAT(Pixels(PngFile(2, 1, 16, 0, Row({0, 0, 200, 1, 0}))),
              ElementsAre(200, 200, 200, 255, 255, 255));
}

TEST(Png, TransparencyIsIgnored) {
  const std::string extra = absl::StrCat(PngChunk("PLTE", Row({1, 2, 3, 4, 5, 6})),
                                         PngChunk("tRNS", std::string(1, '\0')));
  EXPECT_THAT(Pixels(PngFile(2, 1, 8, 3, Row({0, 1, 0}), extra)), ElementsAre(4, 5, 6, 1, 2, 3));
}

TEST(Png, AChecksumCountsBeforeTheImageDataAndNotAfter) {
  std::string wrong_end = TwoPixels();
  wrong_end.back() = static_cast<char>(wrong_end.back() ^ 1);
  EXPECT_THAT(Pixels(wrong_end), ElementsAre(1, 2, 3, 4, 5, 6));
  std::string wrong_header = TwoPixels();
  wrong_header[32] = static_cast<char>(wrong_header[32] ^ 1);
  const absl::Status status = Decode(AsBytes(wrong_header), {}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kCorruptImage);
  EXPECT_THAT(std::string(status.message()), HasSubstr("checksum"));
}

TEST(Png, AMissingEndDoesNotMatter) {
  const std::string file = TwoPixels();
  EXPECT_THAT(Pixels(file.substr(0, file.size() - 12)), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(Png, AnUnknownDepthIsUnsupported) {
  const std::string file = PngFile(1, 1, 3, 0, Row({0, 0}));
  EXPECT_EQ(ReasonOf(Decode(AsBytes(file), {}).status()), Reason::kUnsupportedFormat);
}

TEST(Png, ATextThatInflatesWithoutEndIsRefused) {
  // A zlib stream of 2 MiB of zeros, and room for none of it.
  std::string bomb("key\0\0\x78\x01", 7);
  const std::string block = absl::StrCat(std::string(1, '\0'), LittleEndian(0xFFFF, 2),
                                         LittleEndian(~0xFFFFU, 2), std::string(0xFFFF, 'x'));
  for (int i = 0; i < 32; ++i) bomb += block;
  const absl::Status status = Decode(AsBytes(TwoPixels(PngChunk("zTXt", bomb))), {}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kCorruptImage);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1 MiB"));
}

TEST(Png, AnUnknownFilterIsCorrupt) {
  const std::string file = PngFile(1, 1, 8, 0, Row({9, 0}));
  EXPECT_EQ(ReasonOf(Decode(AsBytes(file), {}).status()), Reason::kCorruptImage);
}

Transparency TransparentColor(Color color) {
  return {.kind = Transparency::Kind::kColor, .color = color};
}

// Of two pixels.
Transparency TransparencyOf(int depth, int color_type, std::string_view rows,
                            std::string_view before, const DecodePolicy& policy = {}) {
  const std::string file = PngFile(2, 1, depth, color_type, rows, before);
  const absl::StatusOr<Image> image = Decode(AsBytes(file), {}, policy);
  EXPECT_TRUE(image.ok()) << image.status();
  return image.ok() ? image->transparency() : Transparency();
}

TEST(Png, NamesTheTransparentColorAsPillowDoesAfterConversion) {
  const auto key = [](const std::vector<int>& bytes) { return PngChunk("tRNS", Row(bytes)); };
  const std::string gray = Row({0, 1, 2});
  EXPECT_EQ(TransparencyOf(8, 0, gray, ""), Transparency());
  EXPECT_EQ(TransparencyOf(8, 0, gray, key({0, 7})), TransparentColor({7, 7, 7}));
  EXPECT_EQ(TransparencyOf(8, 0, gray, key({1, 7})), TransparentColor({255, 255, 255}));
  // Pillow takes a number of these modes for a level of red.
  const std::string bits = Row({0, 64});
  EXPECT_EQ(TransparencyOf(1, 0, bits, key({0, 0})), TransparentColor({0, 0, 0}));
  EXPECT_EQ(TransparencyOf(1, 0, bits, key({0, 1})), TransparentColor({255, 0, 0}));
  EXPECT_EQ(TransparencyOf(16, 0, Row({0, 0, 1, 0, 2}), key({3, 9})), TransparentColor({9, 0, 0}));
  // Low bytes, even of samples of 16 bits.
  EXPECT_EQ(TransparencyOf(8, 2, Row({0, 1, 2, 3, 4, 5, 6}), key({1, 2, 3, 4, 5, 6})),
            TransparentColor({2, 4, 6}));
  // An alpha channel has nothing beside it.
  EXPECT_EQ(TransparencyOf(8, 4, Row({0, 1, 2, 3, 4}), key({0, 1})), Transparency());
}

TEST(Png, OfAPaletteOneIndexNamesAColorAndAlphasDoNot) {
  const std::string palette = PngChunk("PLTE", Row({1, 2, 3, 4, 5, 6}));
  const auto of = [](std::string_view before, const DecodePolicy& policy = {}) {
    return TransparencyOf(8, 3, Row({0, 1, 0}), before, policy);
  };
  const std::string index = absl::StrCat(palette, PngChunk("tRNS", Row({255, 0})));
  EXPECT_EQ(of(index), TransparentColor({4, 5, 6}));
  EXPECT_EQ(of(absl::StrCat(palette, PngChunk("tRNS", Row({255, 255, 0})))),
            TransparentColor({0, 0, 0}));
  EXPECT_EQ(of(absl::StrCat(palette, PngChunk("tRNS", Row({0, 0})))), Transparency());
  EXPECT_EQ(of(index, {.background = Color{}}), Transparency());
  const std::string none = PngFile(2, 1, 8, 3, Row({0, 1, 0}), PngChunk("tRNS", Row({255, 0})));
  EXPECT_EQ(ReasonOf(Decode(AsBytes(none), {}).status()), Reason::kCorruptImage);
}

// A text of this key takes tRNS's place in Image.info.
TEST(Png, ATextInPlaceOfATransparentColorIsRefusedWherePillowLooksAtIt) {
  const std::string text = PngChunk("tEXt", std::string("transparency\0x", 14));
  const std::string gray = PngFile(2, 1, 8, 0, Row({0, 1, 2}), text);
  EXPECT_EQ(ReasonOf(Decode(AsBytes(gray), {}).status()), Reason::kCorruptImage);
  const std::string rgb = PngFile(2, 1, 8, 2, Row({0, 1, 2, 3, 4, 5, 6}), text);
  const absl::StatusOr<Image> image = Decode(AsBytes(rgb), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->transparency().kind, Transparency::Kind::kUnreadable);
  EXPECT_EQ(ReasonOf(Decode(AsBytes(rgb), {}, {.background = Color{}}).status()),
            Reason::kCorruptImage);
}

}  // namespace
}  // namespace pixembed
