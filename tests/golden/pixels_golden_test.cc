// Resize and Normalize against the real image processors, and the pil backend's resampler against
// Pillow, over what make_pixels.py wrote. Every difference is a failure.
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"
#include "tests/golden/golden.h"

namespace pixembed {
namespace {

constexpr int kSizesOfThePromise = 40;

// The two files, read once.
struct Golden {
  Weights tensors;
  Config groups;
};

const Golden& ReadGolden() {
  static const Golden golden = [] {
    absl::StatusOr<Config> config = Config::Parse(GoldenBytes("pixels.json"), "pixels.json");
    EXPECT_TRUE(config.ok()) << config.status();
    const Config empty = *Config::Parse("{}", "nothing");
    return Golden{GoldenTensors("pixels.safetensors"),
                  config.ok() ? *config->Section("groups") : empty};
  }();
  return golden;
}

std::uint32_t Crc32(std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(
      crc32_z(crc32_z(0, nullptr, 0), reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

// A picture, [height, width, 3] uint8.
std::optional<Image> Picture(const Weights& tensors, const std::string& name) {
  const Tensor* const tensor = tensors.Find("picture." + name);
  if (tensor == nullptr || tensor->shape.size() != 3) return std::nullopt;
  Image image(static_cast<int>(tensor->shape[1]), static_cast<int>(tensor->shape[0]));
  std::memcpy(image.pixels().data(), tensor->bytes.data(), tensor->bytes.size());
  return image;
}

// The image as [3, height, width].
std::vector<std::uint8_t> Planes(const Image& image) {
  const std::size_t plane = image.size_bytes() / 3;
  std::vector<std::uint8_t> planes(image.size_bytes());
  for (std::size_t i = 0; i < planes.size(); ++i) {
    planes[i % 3 * plane + i / 3] = image.pixels()[i];
  }
  return planes;
}

// Nothing where the two are equal; else the largest difference and its place. [3, height, width].
template <typename T>
std::string WorstDifference(std::span<const T> got, std::span<const std::byte> want_bytes,
                            int width) {
  if (got.size_bytes() != want_bytes.size()) {
    return std::to_string(got.size()) + " values instead of " +
           std::to_string(want_bytes.size() / sizeof(T));
  }
  if (std::memcmp(got.data(), want_bytes.data(), want_bytes.size()) == 0) return "";
  std::vector<T> want(got.size());
  std::memcpy(want.data(), want_bytes.data(), want_bytes.size());
  std::size_t worst = 0;
  std::size_t differing = 0;
  double largest = -1;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    differing += got[i] != want[i] ? 1 : 0;
    if (difference > largest) {
      largest = difference;
      worst = i;
    }
  }
  const std::size_t plane = got.size() / 3;
  return std::to_string(differing) + " of " + std::to_string(got.size()) +
         " values differ, the largest difference is " + std::to_string(largest) + ": " +
         std::to_string(got[worst]) + " instead of " + std::to_string(want[worst]) +
         " in channel " + std::to_string(worst / plane) + ", row " +
         std::to_string(worst % plane / static_cast<std::size_t>(width)) + ", column " +
         std::to_string(worst % plane % static_cast<std::size_t>(width));
}

void ExpectBitEqual(const Weights& tensors, const std::string& name, const Config& described) {
  const std::string picture = *described.String("picture", "");
  SCOPED_TRACE(name + ", picture " + picture + ", " + *described.String("configuration", ""));
  const absl::StatusOr<PreprocessSpec> spec =
      SpecOf(*described.String("configuration", ""), *described.String("backend", ""));
  ASSERT_TRUE(spec.ok()) << spec.status();
  const std::optional<Image> image = Picture(tensors, picture);
  ASSERT_TRUE(image.has_value());

  const Image resized = Resize(*image, *spec);
  EXPECT_EQ(OutputSize(*spec, {image->height(), image->width()}),
            (Size{resized.height(), resized.width()}));
  if (!spec->rescale_first && !(spec->resize && spec->resize->patches)) {
    const Tensor* const levels = tensors.Find("levels." + name);
    ASSERT_NE(levels, nullptr);
    ASSERT_EQ(levels->shape, (std::vector<std::int64_t>{3, resized.height(), resized.width()}));
    ASSERT_EQ(WorstDifference<std::uint8_t>(Planes(resized), levels->bytes, resized.width()), "");
  }

  const std::vector<float> values = PixelValues(resized, *spec);
  if (const Tensor* const want = tensors.Find("values." + name); want != nullptr) {
    EXPECT_EQ(WorstDifference<float>(values, want->bytes, resized.width()), "");
  }
  EXPECT_EQ(Crc32(std::as_bytes(std::span(values))), *described.Int("crc32", -1, 0, 0xFFFFFFFF))
      << "the levels before rescale are equal, the values after normalize are not";
}

class PixelsOf : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Processors, PixelsOf,
                         testing::Values("ViT-torchvision", "ViT-pil", "DeiT-torchvision",
                                         "DeiT-pil", "CLIP-torchvision", "CLIP-pil",
                                         "DINOv2-torchvision", "DINOv2-pil", "SigLIP-torchvision",
                                         "SigLIP-pil", "BEiT-torchvision", "BEiT-pil",
                                         "ConvNeXt-torchvision", "ConvNeXt-pil",
                                         "DINOv3-torchvision", "NaFlex-torchvision", "NaFlex-pil",
                                         "timm-pil", "variants-torchvision", "variants-pil",
                                         "variants-float", "variants-NaFlex-torchvision",
                                         "variants-NaFlex-pil", "variants-timm"),
                         [](const auto& group) {
                           std::string name = group.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST_P(PixelsOf, AreBitEqualAtEverySize) {
  const Golden& golden = ReadGolden();
  const absl::StatusOr<Config> group = golden.groups.Section(GetParam());
  ASSERT_TRUE(group.ok()) << group.status();
  int count = 0;
  for (;; ++count) {
    const std::string number = std::to_string(count);
    if (!group->Has(number)) break;
    ExpectBitEqual(golden.tensors, GetParam() + "." + number, *group->Section(number));
  }
  EXPECT_GE(count, kSizesOfThePromise);
}

TEST(PatchBudget, GivesTheSizesOfTheReference) {
  const Tensor* const sizes = ReadGolden().tensors.Find("patches");
  ASSERT_NE(sizes, nullptr);
  constexpr std::size_t kColumns = 6;
  std::vector<std::int64_t> numbers(sizes->bytes.size() / sizeof(std::int64_t));
  std::memcpy(numbers.data(), sizes->bytes.data(), sizes->bytes.size());
  ASSERT_GE(numbers.size(), 3000 * kColumns);
  for (std::size_t i = 0; i + kColumns <= numbers.size(); i += kColumns) {
    const auto number = [&](std::size_t column) { return static_cast<int>(numbers[i + column]); };
    PreprocessSpec spec;
    spec.resize =
        ResizeTarget{.exact = std::nullopt,
                     .patches = PatchBudget{.patch = number(2), .max_patches = number(3)}};
    EXPECT_EQ(OutputSize(spec, {number(0), number(1)}), (Size{number(4), number(5)}))
        << number(0) << "x" << number(1) << " in at most " << number(3) << " patches of "
        << number(2);
  }
}

// The picture that make_pixels.py draws from std::mt19937's numbers.
Image DrawnPicture(std::uint32_t seed, bool black_and_white, int width, int height) {
  std::mt19937 random(seed);
  Image image(width, height);
  for (std::uint8_t& level : image.pixels()) {
    level = static_cast<std::uint8_t>(random() & 0xFF);
    if (black_and_white) level = level < 128 ? 0 : 255;
  }
  return image;
}

TEST(PillowResize, OfRandomSizesIsBitEqual) {
  const Tensor* const drawn = ReadGolden().tensors.Find("drawn");
  ASSERT_NE(drawn, nullptr);
  constexpr std::size_t kColumns = 8;
  std::vector<std::int64_t> numbers(drawn->bytes.size() / sizeof(std::int64_t));
  std::memcpy(numbers.data(), drawn->bytes.data(), drawn->bytes.size());
  ASSERT_GE(numbers.size(), 1000 * kColumns);
  for (std::size_t i = 0; i + kColumns <= numbers.size(); i += kColumns) {
    const auto number = [&](std::size_t column) { return static_cast<int>(numbers[i + column]); };
    const Image image =
        DrawnPicture(static_cast<std::uint32_t>(numbers[i]), number(1) == 1, number(3), number(2));
    PreprocessSpec spec;
    spec.backend = Backend::kPil;
    spec.resize = ResizeTarget{.exact = Size{number(4), number(5)}};
    spec.filter = static_cast<Filter>(number(6));
    ASSERT_EQ(Crc32(std::as_bytes(Resize(image, spec).pixels())), numbers[i + 7])
        << FilterName(spec.filter) << " of noise with seed " << numbers[i] << ", kind " << number(1)
        << ", from " << number(2) << "x" << number(3) << " to " << number(4) << "x" << number(5)
        << " (height x width)";
  }
}

}  // namespace
}  // namespace pixembed
