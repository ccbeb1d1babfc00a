#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/image/random_image.h"

namespace pixembed {
namespace {

using testing::HasSubstr;

PreprocessSpec ShortestEdge(int shortest, int longest = 0) {
  PreprocessSpec spec;
  spec.resize =
      ResizeTarget{.exact = std::nullopt, .shortest_edge = shortest, .longest_edge = longest};
  return spec;
}

PreprocessSpec Exact(int height, int width) {
  PreprocessSpec spec;
  spec.resize = ResizeTarget{.exact = Size{height, width}};
  return spec;
}

PreprocessSpec Patches(int patch, int max_patches) {
  PreprocessSpec spec;
  spec.resize = ResizeTarget{.exact = std::nullopt,
                             .patches = PatchBudget{.patch = patch, .max_patches = max_patches}};
  return spec;
}

PreprocessSpec CropOnly(Backend backend, int height, int width) {
  PreprocessSpec spec;
  spec.backend = backend;
  spec.crop = Size{height, width};
  return spec;
}

// ---- target sizes; the expected values are what transformers 5.23.0 computes

TEST(OutputSize, OfAnExactTargetIgnoresTheInput) {
  EXPECT_EQ(OutputSize(Exact(224, 336), {1, 999}), (Size{224, 336}));
  EXPECT_EQ(FixedOutputSize(Exact(224, 336)), (Size{224, 336}));
}

TEST(OutputSize, OfAShortestEdgeKeepsTheAspectRatioAndTruncates) {
  const PreprocessSpec spec = ShortestEdge(224);
  EXPECT_EQ(OutputSize(spec, {480, 640}), (Size{224, 298}));
  EXPECT_EQ(OutputSize(spec, {640, 480}), (Size{298, 224}));
  EXPECT_EQ(OutputSize(spec, {333, 500}), (Size{224, 336}));
  EXPECT_EQ(OutputSize(spec, {500, 500}), (Size{224, 224}));
  EXPECT_EQ(OutputSize(spec, {1, 1}), (Size{224, 224}));
  EXPECT_EQ(OutputSize(spec, {1, 300}), (Size{224, 67200}));
  EXPECT_EQ(FixedOutputSize(spec), std::nullopt);
}

TEST(OutputSize, OfALongestEdgeIsCapped) {
  const PreprocessSpec spec = ShortestEdge(224, 400);
  EXPECT_EQ(OutputSize(spec, {480, 640}), (Size{224, 298}));
  EXPECT_EQ(OutputSize(spec, {300, 900}), (Size{133, 400}));
  EXPECT_EQ(OutputSize(spec, {900, 300}), (Size{400, 133}));
  EXPECT_EQ(OutputSize(spec, {200, 400}), (Size{200, 400}));
  // round() of the capped edge takes halves to the even number.
  EXPECT_EQ(OutputSize(ShortestEdge(224, 100), {101, 4040}), (Size{2, 100}));
  // An edge that vanishes: the reference refuses the image.
  EXPECT_EQ(OutputSize(spec, {1, 2000}), (Size{0, 400}));
}

// What timm 1.0.31's ResizeKeepRatio computes.
TEST(OutputSize, ThatCoversOrFitsKeepsTheAspectRatioAndRounds) {
  PreprocessSpec cover;
  cover.resize = ResizeTarget{.exact = std::nullopt, .cover = Size{48, 64}};
  EXPECT_EQ(OutputSize(cover, {480, 640}), (Size{48, 64}));
  EXPECT_EQ(OutputSize(cover, {100, 300}), (Size{48, 144}));
  EXPECT_EQ(OutputSize(cover, {300, 100}), (Size{192, 64}));
  PreprocessSpec fit;
  fit.resize = ResizeTarget{.exact = std::nullopt, .fit = Size{48, 64}};
  EXPECT_EQ(OutputSize(fit, {480, 640}), (Size{48, 64}));
  EXPECT_EQ(OutputSize(fit, {100, 300}), (Size{21, 64}));
  EXPECT_EQ(OutputSize(fit, {300, 100}), (Size{48, 16}));
  // Halves go to the even number; a side that vanishes is refused as the reference refuses it.
  EXPECT_EQ(OutputSize(fit, {5, 128}), (Size{2, 64}));
  EXPECT_EQ(OutputSize(fit, {1, 1000}), (Size{0, 64}));
  EXPECT_EQ(FixedOutputSize(fit), std::nullopt);
}

TEST(OutputSize, OfABudgetIsOfWholePatches) {
  const PreprocessSpec spec = Patches(16, 256);
  EXPECT_EQ(OutputSize(spec, {480, 640}), (Size{224, 288}));
  EXPECT_EQ(OutputSize(spec, {1, 500}), (Size{16, 4096}));
  EXPECT_EQ(OutputSize(spec, {500, 500}), (Size{256, 256}));
  // No more than 100 times as large.
  EXPECT_EQ(OutputSize(spec, {1, 1}), (Size{112, 112}));
  EXPECT_EQ(FixedOutputSize(spec), std::nullopt);
  EXPECT_EQ(LargestSquare({.patch = 16, .max_patches = 256}), (Size{256, 256}));
  EXPECT_EQ(LargestSquare({.patch = 8, .max_patches = 20}), (Size{32, 32}));
}

TEST(OutputSize, OfACropIsTheCrop) {
  PreprocessSpec spec = ShortestEdge(256);
  spec.crop = Size{224, 200};
  EXPECT_EQ(OutputSize(spec, {1, 5000}), (Size{224, 200}));
  EXPECT_EQ(FixedOutputSize(spec), (Size{224, 200}));
}

TEST(OutputSize, WithoutStepsIsTheInput) {
  EXPECT_EQ(OutputSize(PreprocessSpec{}, {7, 9}), (Size{7, 9}));
  EXPECT_EQ(FixedOutputSize(PreprocessSpec{}), std::nullopt);
}

// ---- crops and padding

// Level 1 + y * width + x in every channel.
Image Numbered(int width, int height) {
  Image image(width, height);
  for (int i = 0; i < width * height; ++i) {
    std::fill_n(PixelAt(image, i % width, i / width), 3, static_cast<std::uint8_t>(i + 1));
  }
  return image;
}

std::string Levels(const Image& image) {
  std::string text;
  for (int y = 0; y < image.height(); ++y) {
    for (int x = 0; x < image.width(); ++x) text += std::to_string(*PixelAt(image, x, y)) + " ";
    text += "/ ";
  }
  return text;
}

TEST(Resize, CropsTheMiddleTruncatingOddRests) {
  for (const Backend backend : {Backend::kTorchvision, Backend::kPil}) {
    EXPECT_EQ(Levels(Resize(Numbered(5, 4), CropOnly(backend, 1, 2))), "7 8 / ");
  }
}

TEST(Resize, PadsWithZerosEachBackendOnItsOwnSide) {
  EXPECT_EQ(Levels(Resize(Numbered(2, 1), CropOnly(Backend::kTorchvision, 2, 5))),
            "0 1 2 0 0 / 0 0 0 0 0 / ");
  EXPECT_EQ(Levels(Resize(Numbered(2, 1), CropOnly(Backend::kPil, 2, 5))),
            "0 0 0 0 0 / 0 0 1 2 0 / ");
  for (const Backend backend : {Backend::kTorchvision, Backend::kPil}) {
    EXPECT_EQ(Levels(Resize(Numbered(2, 1), CropOnly(backend, 3, 4))),
              "0 0 0 0 / 0 1 2 0 / 0 0 0 0 / ");
  }
}

TEST(Resize, PadsOneAxisAndCropsTheOther) {
  EXPECT_EQ(Levels(Resize(Numbered(6, 1), CropOnly(Backend::kTorchvision, 2, 3))),
            "2 3 4 / 0 0 0 / ");
  EXPECT_EQ(Levels(Resize(Numbered(6, 1), CropOnly(Backend::kPil, 2, 3))), "0 0 0 / 2 3 4 / ");
}

// What torchvision 0.26.0's CenterCrop gives of a Pillow image.
TEST(Resize, CropsByTorchvisionsRuleAtTheEvenPlaceAndPadsTheSmallerHalfFirst) {
  PreprocessSpec spec = CropOnly(Backend::kPil, 1, 2);
  spec.crop_rule = CropRule::kTorchvision;
  EXPECT_EQ(Levels(Resize(Numbered(5, 1), spec)), "3 4 / ");  // 1.5 goes to 2
  EXPECT_EQ(Levels(Resize(Numbered(7, 1), spec)), "3 4 / ");  // 2.5 goes to 2
  EXPECT_EQ(Levels(Resize(Numbered(6, 1), spec)), "3 4 / ");
  spec.crop = Size{2, 4};
  EXPECT_EQ(Levels(Resize(Numbered(1, 1), spec)), "0 1 0 0 / 0 0 0 0 / ");
}

TEST(Resize, PadsWithTheColorAskedFor) {
  PreprocessSpec spec = CropOnly(Backend::kPil, 1, 3);
  spec.padding = Color{7, 8, 9};
  const Image padded = Resize(Numbered(1, 1), spec);
  EXPECT_THAT(padded.pixels().first(3), testing::ElementsAre(7, 8, 9));
  EXPECT_THAT(padded.pixels().last(3), testing::ElementsAre(7, 8, 9));
}

TEST(Resize, ResizesThenCrops) {
  PreprocessSpec spec = ShortestEdge(4);
  spec.backend = Backend::kPil;
  spec.filter = Filter::kNearest;
  EXPECT_EQ(Levels(Resize(Numbered(5, 2), spec)),
            "1 1 2 2 3 3 4 4 5 5 / 1 1 2 2 3 3 4 4 5 5 / "
            "6 6 7 7 8 8 9 9 10 10 / 6 6 7 7 8 8 9 9 10 10 / ");
  spec.crop = Size{2, 2};
  EXPECT_EQ(Levels(Resize(Numbered(5, 2), spec)), "3 3 / 8 8 / ");
}

TEST(Resize, LeavesAnImageWithoutStepsAsItIs) {
  EXPECT_EQ(Levels(Resize(Numbered(3, 2), PreprocessSpec{})), "1 2 3 / 4 5 6 / ");
}

// ---- what cannot be followed

void ExpectUnsupported(const PreprocessSpec& spec, const std::string& field,
                       const std::string& value) {
  const absl::Status status = ValidateSpec(spec);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
  EXPECT_EQ(ReasonOf(status), Reason::kUnsupportedProcessor);
  EXPECT_THAT(std::string(status.message()), HasSubstr(field));
  EXPECT_THAT(std::string(status.message()), HasSubstr(value));
}

TEST(ValidateSpec, AcceptsEveryProcessorOfThePromise) {
  EXPECT_TRUE(ValidateSpec(PreprocessSpec{}).ok());
  EXPECT_TRUE(ValidateSpec(Exact(224, 224)).ok());
  EXPECT_TRUE(ValidateSpec(ShortestEdge(224, 400)).ok());
  for (const Filter filter : {Filter::kBilinear, Filter::kBicubic}) {
    PreprocessSpec spec = Exact(518, 518);
    spec.filter = filter;
    EXPECT_TRUE(ValidateSpec(spec).ok());
  }
}

TEST(ValidateSpec, BoundsABudgetOfPatches) {
  EXPECT_TRUE(ValidateSpec(Patches(16, 256)).ok());
  EXPECT_TRUE(ValidateSpec(Patches(64, 4096)).ok());
  ExpectUnsupported(Patches(0, 256), "patch_size", "0");
  ExpectUnsupported(Patches(4097, 1), "patch_size", "4097");
  ExpectUnsupported(Patches(16, 0), "max_num_patches", "0");
  ExpectUnsupported(Patches(1, 4097), "max_num_patches", "4097");
  ExpectUnsupported(Patches(65, 4096), "max_num_patches", "17305600");
  PreprocessSpec spec = Patches(16, 256);
  spec.crop = Size{7, 9};
  ExpectUnsupported(spec, "crop_size", "7x9");
  spec = Patches(16, 256);
  spec.resize->shortest_edge = 7;
  ExpectUnsupported(spec, "size", "two sizes at once");
}

TEST(ValidateSpec, NamesAFilterThatTheBackendLacks) {
  for (const Filter filter : {Filter::kNearest, Filter::kLanczos, Filter::kBox, Filter::kHamming}) {
    PreprocessSpec spec = Exact(224, 224);
    spec.filter = filter;
    ExpectUnsupported(spec, "resample", std::string(FilterName(filter)));
    spec.backend = Backend::kPil;
    EXPECT_TRUE(ValidateSpec(spec).ok());
    // Without a resize nobody asks for the filter.
    spec.backend = Backend::kTorchvision;
    spec.resize.reset();
    EXPECT_TRUE(ValidateSpec(spec).ok());
  }
  PreprocessSpec spec = Exact(224, 224);
  spec.filter = static_cast<Filter>(17);
  ExpectUnsupported(spec, "resample", "17");
}

TEST(ValidateSpec, NamesASizeOutOfRange) {
  ExpectUnsupported(Exact(0, 224), "size.height", "0");
  ExpectUnsupported(Exact(224, 1'000'000), "size.width", "1000000");
  ExpectUnsupported(ShortestEdge(-5), "size.shortest_edge", "-5");
  ExpectUnsupported(ShortestEdge(0, 300), "size.shortest_edge", "0");
  ExpectUnsupported(ShortestEdge(224, 90'000), "size.longest_edge", "90000");
  ExpectUnsupported(CropOnly(Backend::kPil, 224, -1), "crop_size.width", "-1");
}

TEST(ValidateSpec, NamesASizeThatIsNotExactlyOneForm) {
  PreprocessSpec both = Exact(224, 224);
  both.resize->shortest_edge = 224;
  ExpectUnsupported(both, "size", "two sizes");
  both = Exact(224, 224);
  both.resize->fit = Size{224, 224};
  ExpectUnsupported(both, "size", "two sizes");
  PreprocessSpec cover;
  cover.resize = ResizeTarget{.exact = std::nullopt, .cover = Size{224, 9'000}};
  ExpectUnsupported(cover, "size.width", "9000");
  PreprocessSpec none;
  none.resize = ResizeTarget{};
  ExpectUnsupported(none, "size", "empty");
}

TEST(ValidateSpec, NamesANumberThatTheArithmeticCannotUse) {
  PreprocessSpec spec;
  spec.rescale_factor = 0.0;
  ExpectUnsupported(spec, "rescale_factor", "0");
  spec = {};
  spec.mean[1] = std::numeric_limits<double>::quiet_NaN();
  ExpectUnsupported(spec, "image_mean", "nan");
  spec = {};
  spec.std[2] = 0.0;
  ExpectUnsupported(spec, "image_std", "0");
  spec = {};
  spec.std[0] = 1e300;
  ExpectUnsupported(spec, "image_std", "1e+300");
  // What is switched off does not matter.
  spec.normalize = false;
  EXPECT_TRUE(ValidateSpec(spec).ok());
}

// ---- rescale_first

TEST(RescaleFirst, NeedsTheTorchvisionBackendARescaleAndTwoColumns) {
  PreprocessSpec spec = Exact(1, 2);
  spec.rescale_first = true;
  EXPECT_TRUE(ValidateSpec(spec).ok()) << ValidateSpec(spec);
  spec.backend = Backend::kPil;
  EXPECT_EQ(ReasonOf(ValidateSpec(spec)), Reason::kUnsupportedProcessor);
  spec.backend = Backend::kTorchvision;
  spec.rescale = false;
  EXPECT_EQ(ReasonOf(ValidateSpec(spec)), Reason::kUnsupportedProcessor);
  for (PreprocessSpec narrow : {Exact(2, 1), ShortestEdge(1)}) {
    narrow.rescale_first = true;
    EXPECT_EQ(ReasonOf(ValidateSpec(narrow)), Reason::kUnsupportedProcessor);
  }
}

TEST(RescaleFirst, PadsWithTheValueOfBlack) {
  PreprocessSpec spec = Exact(2, 2);
  spec.rescale_first = true;
  spec.crop = Size{2, 4};
  spec.mean = {0.25, 0.5, 0.75};
  spec.std = {0.5, 0.5, 0.5};
  Image white(2, 2);
  std::ranges::fill(white.pixels(), std::uint8_t{255});
  const Image padded = Resize(white, spec);
  ASSERT_EQ(padded.sample(), Sample::kFloat32);
  EXPECT_THAT(padded.values().first(6),
              testing::ElementsAre(-0.5F, -1.0F, -1.5F, 1.5F, 1.0F, 0.5F));
}

}  // namespace
}  // namespace pixembed
