#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/image/decode_files.h"
#include "tests/image/random_image.h"

namespace pixembed {
namespace {

using testing::AllOf;
using testing::HasSubstr;

void AppendNumber(std::vector<std::byte>& bytes, std::uint32_t number) {
  for (int shift = 0; shift < 32; shift += 8)
    bytes.push_back(static_cast<std::byte>(number >> shift & 0xFF));
}

// A 24-bit BMP.
std::vector<std::byte> Bmp(const Image& image) {
  const std::size_t row_bytes = (static_cast<std::size_t>(image.width()) * 3 + 3) / 4 * 4;
  const std::size_t size = row_bytes * static_cast<std::size_t>(image.height());
  std::vector<std::byte> bytes = {std::byte{'B'}, std::byte{'M'}};
  for (const std::size_t number : {54 + size, std::size_t{0}, std::size_t{54}, std::size_t{40}}) {
    AppendNumber(bytes, static_cast<std::uint32_t>(number));
  }
  AppendNumber(bytes, static_cast<std::uint32_t>(image.width()));
  AppendNumber(bytes, static_cast<std::uint32_t>(image.height()));
  AppendNumber(bytes, 1 | 24 << 16);
  for (const std::size_t number :
       {std::size_t{0}, size, std::size_t{0}, std::size_t{0}, std::size_t{0}, std::size_t{0}}) {
    AppendNumber(bytes, static_cast<std::uint32_t>(number));
  }
  for (int y = image.height() - 1; y >= 0; --y) {
    for (int x = 0; x < image.width(); ++x) {
      for (int c = 2; c >= 0; --c) bytes.push_back(std::byte{image.row(y)[x * 3 + c]});
    }
    bytes.resize(54 + row_bytes * static_cast<std::size_t>(image.height() - y));
  }
  return bytes;
}

PreprocessSpec ShortestEdge(int shortest, int longest) {
  PreprocessSpec spec;
  spec.resize =
      ResizeTarget{.exact = std::nullopt, .shortest_edge = shortest, .longest_edge = longest};
  return spec;
}

void ExpectThePixelsOfTheTwoSteps(const Image& image, const PreprocessSpec& spec) {
  const absl::StatusOr<Image> got = DecodeAndResize(Bmp(image), DecodeLimits{}, spec);
  ASSERT_TRUE(got.ok()) << got.status();
  const Image want = Resize(image, spec);
  EXPECT_EQ(got->width(), want.width());
  EXPECT_EQ(got->height(), want.height());
  EXPECT_EQ(got->sample(), want.sample());
  EXPECT_TRUE(std::ranges::equal(got->data(), want.data()));
}

TEST(DecodeAndResize, GivesThePixelsOfTheTwoSteps) {
  std::mt19937 random(TestSeed());
  const Image image = RandomImage(random, 61, 45);
  for (const Backend backend : {Backend::kTorchvision, Backend::kPil}) {
    PreprocessSpec spec = ShortestEdge(32, 0);
    spec.backend = backend;
    ExpectThePixelsOfTheTwoSteps(image, spec);
    spec.crop = Size{24, 40};
    ExpectThePixelsOfTheTwoSteps(image, spec);
    spec.resize.reset();
    ExpectThePixelsOfTheTwoSteps(image, spec);
    spec.crop.reset();
    ExpectThePixelsOfTheTwoSteps(image, spec);
  }
}

TEST(DecodeAndResize, GivesTheFloatsOfTheTwoStepsWhereRescaleComesFirst) {
  std::mt19937 random(TestSeed());
  const Image image = RandomImage(random, 61, 45);
  PreprocessSpec spec = ShortestEdge(32, 0);
  spec.rescale_first = true;
  ExpectThePixelsOfTheTwoSteps(image, spec);
  spec.crop = Size{24, 40};
  ExpectThePixelsOfTheTwoSteps(image, spec);
  // The size that it has: floats all the same.
  spec = ShortestEdge(45, 0);
  spec.rescale_first = true;
  ExpectThePixelsOfTheTwoSteps(image, spec);
  EXPECT_EQ(Resize(image, spec).sample(), Sample::kFloat32);
  // Nothing to resize: levels.
  spec.resize.reset();
  ExpectThePixelsOfTheTwoSteps(image, spec);
  EXPECT_EQ(Resize(image, spec).sample(), Sample::kUint8);
}

// White and black, the black transparent: before anything is resized.
TEST(DecodeAndResize, PutsATransparentColorOnWhiteWhereTheProcessorConverts) {
  const std::string pixels("\0\xff\xff\xff\0\0\0", 7);
  const std::string file =
      PngFile(2, 1, 8, 2, pixels, PngChunk("tRNS", std::string_view("\0\0\0\0\0\0", 6)));
  PreprocessSpec spec;
  for (const bool resizes : {false, true}) {
    if (resizes) spec.resize.emplace().exact = Size{1, 1};
    spec.convert_rgb = true;
    const auto converted = DecodeAndResize(AsBytes(file), DecodeLimits{}, spec);
    ASSERT_TRUE(converted.ok()) << converted.status();
    EXPECT_THAT(converted->pixels(), testing::Each(255));
    EXPECT_EQ(converted->transparency(), Transparency());
    spec.convert_rgb = false;
    const auto plain = DecodeAndResize(AsBytes(file), DecodeLimits{}, spec);
    ASSERT_TRUE(plain.ok()) << plain.status();
    EXPECT_LT(plain->pixels().back(), 200);
    // A background of the request comes first.
    spec.convert_rgb = true;
    const auto on_red =
        DecodeAndResize(AsBytes(file), DecodeLimits{}, spec, {.background = Color{.red = 255}});
    ASSERT_TRUE(on_red.ok()) << on_red.status();
    EXPECT_EQ(on_red->pixels()[0], 255);
    EXPECT_LT(on_red->pixels().back(), 200);
  }
}

TEST(DecodeAndResize, RefusesATransparencyThatTheProcessorCannotPutOnWhite) {
  const std::string file = PngFile(1, 1, 8, 2, std::string_view("\0abc", 4),
                                   PngChunk("tEXt", std::string_view("transparency\0x", 14)));
  PreprocessSpec spec;
  EXPECT_TRUE(DecodeAndResize(AsBytes(file), DecodeLimits{}, spec).ok());
  spec.convert_rgb = true;
  EXPECT_EQ(ReasonOf(DecodeAndResize(AsBytes(file), DecodeLimits{}, spec).status()),
            Reason::kUnsupportedFormat);
}

TEST(DecodeAndResize, PassesOnWhatDecodeSays) {
  const absl::StatusOr<Image> image = DecodeAndResize({}, DecodeLimits{}, PreprocessSpec{});
  EXPECT_EQ(ReasonOf(image.status()), Reason::kEmptyImage);
}

TEST(DecodeAndResize, RefusesAnImageThatThinsOutToNothing) {
  PreprocessSpec spec = ShortestEdge(224, 400);
  const absl::StatusOr<Image> image = DecodeAndResize(Bmp(Image(2000, 1)), DecodeLimits{}, spec);
  EXPECT_EQ(ReasonOf(image.status()), Reason::kEmptyImage);
  EXPECT_THAT(std::string(image.status().message()),
              AllOf(HasSubstr("2000x1"), HasSubstr("400x0")));
  spec.crop = Size{224, 224};
  EXPECT_EQ(ReasonOf(DecodeAndResize(Bmp(Image(2000, 1)), DecodeLimits{}, spec).status()),
            Reason::kEmptyImage);
}

TEST(DecodeAndResize, RefusesAnImageThatGrowsBeyondThePixelLimit) {
  DecodeLimits limits;
  limits.max_pixels = 50'000;
  PreprocessSpec spec = ShortestEdge(100, 0);
  const absl::StatusOr<Image> image = DecodeAndResize(Bmp(Image(1000, 1)), limits, spec);
  EXPECT_EQ(ReasonOf(image.status()), Reason::kTooManyPixels);
  EXPECT_THAT(std::string(image.status().message()),
              AllOf(HasSubstr("10000000"), HasSubstr("50000"), HasSubstr("--max_image_pixels")));
  // Only what the crop keeps is made.
  spec.crop = Size{100, 100};
  EXPECT_TRUE(DecodeAndResize(Bmp(Image(1000, 1)), limits, spec).ok());
}

}  // namespace
}  // namespace pixembed
