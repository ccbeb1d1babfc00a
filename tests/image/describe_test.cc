#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "src/digest/digest.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/image/decode_files.h"

namespace pixembed {
namespace {

PreprocessSpec Cropped(Backend backend, int edge, int crop) {
  PreprocessSpec spec;
  spec.backend = backend;
  spec.resize = ResizeTarget{.exact = std::nullopt, .shortest_edge = edge};
  spec.crop = Size{crop, crop};
  return spec;
}

TEST(DescribeImage, SaysSizesAndWindowAndHashesWhatTheServiceComputes) {
  const std::string file = ReadFixture("baseline.jpg");
  const PreprocessSpec spec = Cropped(Backend::kTorchvision, 32, 24);
  const absl::StatusOr<ImageDescription> description = DescribeImage(AsBytes(file), {}, spec);
  ASSERT_TRUE(description.ok()) << description.status();
  const absl::StatusOr<Image> decoded = Decode(AsBytes(file), {});
  const absl::StatusOr<Image> input = DecodeAndResize(AsBytes(file), {}, spec);
  ASSERT_TRUE(decoded.ok() && input.ok());
  EXPECT_EQ(description->format, Format::kJpeg);
  EXPECT_EQ(description->mode, "RGB");
  EXPECT_EQ(description->size, (Size{decoded->height(), decoded->width()}));
  EXPECT_EQ(std::min(description->resized.height, description->resized.width), 32);
  EXPECT_EQ(description->crop_top, (description->resized.height - 24) / 2);
  EXPECT_EQ(description->crop_left, (description->resized.width - 24) / 2);
  EXPECT_EQ(description->input, (Size{24, 24}));
  EXPECT_EQ(description->decoded_sha256, Hex(Sha256(std::as_bytes(decoded->pixels()))));
  std::vector<float> chw(input->samples());
  Normalize(*input, spec, chw);
  EXPECT_EQ(description->input_sha256, Hex(Sha256(std::as_bytes(std::span(chw)))));
}

TEST(DescribeImage, CountsPatchesAndHashesThemWithTheirPadding) {
  const std::string file = ReadFixture("baseline.jpg");
  PreprocessSpec spec;
  spec.resize =
      ResizeTarget{.exact = std::nullopt, .patches = PatchBudget{.patch = 4, .max_patches = 23}};
  const absl::StatusOr<ImageDescription> description = DescribeImage(AsBytes(file), {}, spec);
  ASSERT_TRUE(description.ok()) << description.status();
  const absl::StatusOr<Image> input = DecodeAndResize(AsBytes(file), {}, spec);
  ASSERT_TRUE(input.ok());
  EXPECT_EQ(description->resized, (Size{input->height(), input->width()}));
  EXPECT_EQ(description->input, description->resized);
  EXPECT_EQ(description->patches, input->height() / 4 * (input->width() / 4));
  EXPECT_GT(description->patches, 12);
  EXPECT_LE(description->patches, 23);
  const std::vector<float> values = PixelValues(*input, spec);
  EXPECT_EQ(values.size(), std::size_t{23} * 4 * 4 * 3);
  EXPECT_EQ(description->input_sha256, Hex(Sha256(std::as_bytes(std::span(values)))));
}

// Where padding is odd, the backends put the larger half on different sides.
TEST(DescribeImage, AWindowThatReachesPastThePictureBeginsBeforeIt) {
  const std::string file = ReadFixture("baseline.jpg");
  for (const auto& [backend, left] :
       {std::pair(Backend::kTorchvision, -2), std::pair(Backend::kPil, -3)}) {
    PreprocessSpec spec;
    spec.backend = backend;
    spec.resize = ResizeTarget{.exact = Size{8, 8}};
    spec.crop = Size{8, 13};
    const auto description = DescribeImage(AsBytes(file), {}, spec);
    ASSERT_TRUE(description.ok());
    EXPECT_EQ(description->crop_top, 0);
    EXPECT_EQ(description->crop_left, left);
    EXPECT_EQ(description->input, (Size{8, 13}));
  }
}

TEST(DescribeImage, RefusesWhatTheServiceRefuses) {
  const PreprocessSpec spec = Cropped(Backend::kTorchvision, 32, 24);
  EXPECT_EQ(ReasonOf(DescribeImage({}, {}, spec).status()), Reason::kEmptyImage);
  EXPECT_EQ(ReasonOf(DescribeImage(AsBytes("no image"), {}, spec).status()),
            Reason::kUnsupportedFormat);
  const std::string file = ReadFixture("baseline.jpg");
  EXPECT_EQ(
      ReasonOf(DescribeImage(AsBytes(std::string_view(file).substr(0, file.size() / 2)), {}, spec)
                   .status()),
      Reason::kTruncatedImage);
  EXPECT_EQ(
      ReasonOf(DescribeImage(AsBytes(file),
                             DecodeLimits{.max_encoded_bytes = 1 << 20, .max_pixels = 5}, spec)
                   .status()),
      Reason::kTooManyPixels);
}

}  // namespace
}  // namespace pixembed
