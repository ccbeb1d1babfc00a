#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/image/image.h"
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
