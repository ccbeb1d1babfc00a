#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "src/image/image.h"
#include "tests/image/random_image.h"

namespace pixembed {
namespace {

// Every level in every channel: 256 x 1.
Image Ramp() {
  Image image(256, 1);
  for (int level = 0; level < 256; ++level) {
    std::fill_n(PixelAt(image, level, 0), 3, static_cast<std::uint8_t>(level));
  }
  return image;
}

std::vector<float> Normalized(const Image& image, const PreprocessSpec& spec) {
  std::vector<float> chw(image.size_bytes());
  Normalize(image, spec, chw);
  return chw;
}

PreprocessSpec ImageNet(Backend backend) {
  PreprocessSpec spec;
  spec.backend = backend;
  spec.mean = {0.485, 0.456, 0.406};
  spec.std = {0.229, 0.224, 0.225};
  return spec;
}

TEST(Normalize, WritesPlanesInRowMajorOrder) {
  Image image(2, 2);
  for (int i = 0; i < 12; ++i) image.pixels()[i] = static_cast<std::uint8_t>(i);
  PreprocessSpec spec;
  spec.rescale = false;
  spec.normalize = false;
  EXPECT_EQ(Normalized(image, spec), (std::vector<float>{0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11}));
}

// Two patches of 2 x 2 pixels in a budget of three.
TEST(PixelValues, ArePatchesInTheOrderOfTheReferenceWhereTheResizeCountsThem) {
  Image image(4, 2);
  for (int i = 0; i < 24; ++i) image.pixels()[i] = static_cast<std::uint8_t>(i + 1);
  PreprocessSpec spec;
  spec.rescale = false;
  spec.normalize = false;
  EXPECT_EQ(PixelValues(image, spec), Normalized(image, spec));
  spec.resize =
      ResizeTarget{.exact = std::nullopt, .patches = PatchBudget{.patch = 2, .max_patches = 3}};
  EXPECT_EQ(PixelValues(image, spec),
            (std::vector<float>{1, 2, 3, 4,  5,  6,  13, 14, 15, 16, 17, 18,  //
                                7, 8, 9, 10, 11, 12, 19, 20, 21, 22, 23, 24,  //
                                0, 0, 0, 0,  0,  0,  0,  0,  0,  0,  0,  0}));
}

TEST(Normalize, MapsBlackAndWhiteOfAHalfHalfProcessorToMinusOneAndOne) {
  for (const Backend backend : {Backend::kTorchvision, Backend::kPil}) {
    PreprocessSpec spec;
    spec.backend = backend;
    const std::vector<float> values = Normalized(Ramp(), spec);
    EXPECT_EQ(values[0], -1.0f);
    EXPECT_EQ(values[255], 1.0f);
  }
}

TEST(Normalize, TorchvisionFoldsTheScaleIntoMeanAndStd) {
  const PreprocessSpec spec = ImageNet(Backend::kTorchvision);
  const std::vector<float> values = Normalized(Ramp(), spec);
  for (int c = 0; c < 3; ++c) {
    const float mean = static_cast<float>(spec.mean[c]) * 255.0f;
    const float std = static_cast<float>(spec.std[c]) * 255.0f;
    for (int level = 0; level < 256; ++level) {
      ASSERT_EQ(values[static_cast<std::size_t>(c) * 256 + level],
                (static_cast<float>(level) - mean) / std);
    }
  }
}

TEST(Normalize, PilRescalesInDoubleAndRoundsOnce) {
  const PreprocessSpec spec = ImageNet(Backend::kPil);
  const std::vector<float> values = Normalized(Ramp(), spec);
  for (int c = 0; c < 3; ++c) {
    for (int level = 0; level < 256; ++level) {
      const auto scaled = static_cast<float>(static_cast<double>(level) * (1.0 / 255.0));
      ASSERT_EQ(values[static_cast<std::size_t>(c) * 256 + level],
                (scaled - static_cast<float>(spec.mean[c])) / static_cast<float>(spec.std[c]));
    }
  }
}

TEST(Normalize, TheBackendsDifferInTheLastBitsOnly) {
  const std::vector<float> torchvision = Normalized(Ramp(), ImageNet(Backend::kTorchvision));
  const std::vector<float> pil = Normalized(Ramp(), ImageNet(Backend::kPil));
  EXPECT_NE(torchvision, pil);
  for (std::size_t i = 0; i < pil.size(); ++i) ASSERT_NEAR(torchvision[i], pil[i], 5e-7f);
}

TEST(Normalize, StepsThatAreSwitchedOffAreLeftOut) {
  for (const Backend backend : {Backend::kTorchvision, Backend::kPil}) {
    PreprocessSpec spec = ImageNet(backend);
    spec.normalize = false;
    EXPECT_EQ(Normalized(Ramp(), spec)[255], 1.0f);
    spec.rescale = false;
    EXPECT_EQ(Normalized(Ramp(), spec)[255], 255.0f);
    spec.normalize = true;
    EXPECT_EQ(Normalized(Ramp(), spec)[255], (255.0f - 0.485f) / 0.229f);
  }
}

}  // namespace
}  // namespace pixembed
