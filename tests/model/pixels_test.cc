#include "src/model/pixels.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/runner.h"
#include "tests/model/tiny_model.h"

namespace pixembed {
namespace {

constexpr Size kSize{.height = 13, .width = 17};
constexpr Size kPatch{.height = 4, .width = 3};
constexpr int kRows = 3, kColumns = 5, kChannel = 12;

PreprocessSpec ImageNetSpec() {
  PreprocessSpec spec;
  spec.mean = {0.485, 0.456, 0.406};
  spec.std = {0.229, 0.224, 0.225};
  return spec;
}

std::vector<float> Patches(const Image& image, const PixelTable& table) {
  std::vector<float> patches(std::size_t{kRows} * kColumns * 3 * kChannel);
  for (int row = 0; row < kRows; ++row) {
    FillPatchRow(image, table, kPatch, row,
                 patches.data() + std::ptrdiff_t{row} * kColumns * 3 * kChannel);
  }
  return patches;
}

TEST(Pixels, PatchesHoldTheBitsOfNormalize) {
  const Image image = NoiseImage(kSize, 7);
  std::vector<float> planar(image.size_bytes());
  Normalize(image, ImageNetSpec(), planar);
  const std::vector<float> patches = Patches(image, PixelTable(ImageNetSpec()));
  for (int y = 0; y < kRows * kPatch.height; ++y) {
    for (int x = 0; x < kColumns * kPatch.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const int patch = y / kPatch.height * kColumns + x / kPatch.width;
        const int within = c * kChannel + y % kPatch.height * kPatch.width + x % kPatch.width;
        ASSERT_EQ(patches[static_cast<std::size_t>(patch * 3 * kChannel + within)],
                  planar[static_cast<std::size_t>((c * kSize.height + y) * kSize.width + x)])
            << "y " << y << " x " << x << " channel " << c;
      }
    }
  }
}

TEST(Pixels, TensorOperationsGiveTheSamePatches) {
  const Image image = NoiseImage(kSize, 8);
  const PixelTable table(ImageNetSpec());
  const at::Tensor pixels =
      at::from_blob(const_cast<std::uint8_t*>(image.pixels().data()),
                    {1, kSize.height, kSize.width, 3}, at::TensorOptions().dtype(at::kByte));
  const at::Tensor values =
      at::from_blob(const_cast<float*>(table.values().data()), {std::int64_t{3} * 256},
                    at::TensorOptions().dtype(at::kFloat));
  const at::Tensor gathered = GatherPatches(pixels, values, kPatch).contiguous();
  EXPECT_EQ(gathered.sizes(), (std::vector<std::int64_t>{1, std::int64_t{kRows} * kColumns,
                                                         std::int64_t{3} * kChannel}));
  const auto* data = gathered.const_data_ptr<float>();
  EXPECT_EQ(std::vector<float>(data, data + gathered.numel()), Patches(image, table));
}

TEST(Pixels, TensorOperationsPadImagesOfDifferentSizes) {
  constexpr std::array<Size, 3> kSizes = {Size{12, 6}, Size{4, 15}, Size{8, 9}};
  constexpr std::int64_t kMaxPatches = 6;
  constexpr std::size_t kValues = std::size_t{3} * kChannel;
  const PixelTable table(ImageNetSpec());
  std::vector<std::uint8_t> samples;
  std::vector<float> expected;
  for (const Size size : kSizes) {
    const Image image = NoiseImage(size, static_cast<std::uint32_t>(size.height));
    samples.insert(samples.end(), image.pixels().begin(), image.pixels().end());
    const Size grid = Grid(size, kPatch);
    std::vector<float> patches(kMaxPatches * kValues);
    for (int row = 0; row < grid.height; ++row) {
      const auto begin = static_cast<std::size_t>(row * grid.width) * kValues;
      FillPatchRow(image, table, kPatch, row, &patches[begin]);
    }
    expected.insert(expected.end(), patches.begin(), patches.end());
  }
  const at::Tensor pixels =
      at::from_blob(samples.data(), {static_cast<std::int64_t>(samples.size())}, at::kByte);
  const at::Tensor values =
      at::from_blob(const_cast<float*>(table.values().data()), {std::int64_t{3} * 256}, at::kFloat);
  const at::Tensor gathered = GatherPaddedPatches(pixels, kSizes, values, kPatch, kMaxPatches);
  EXPECT_EQ(gathered.sizes(), (std::vector<std::int64_t>{3, kMaxPatches, kValues}));
  const auto* data = gathered.const_data_ptr<float>();
  EXPECT_EQ(std::vector<float>(data, data + gathered.numel()), expected);
}

TEST(Pixels, ValuesOfAFloatImageAreTakenAsTheyAre) {
  Image image(kSize.width, kSize.height, Sample::kFloat32);
  std::iota(image.values().begin(), image.values().end(), 0.5F);
  const PixelTable table(ImageNetSpec());
  const std::vector<float> patches = Patches(image, table);
  // Patch 6 is the second of the second row; its green value of row 2, column 1.
  const int within = kChannel + 2 * kPatch.width + 1;
  const int place = ((kPatch.height + 2) * kSize.width + kPatch.width + 1) * 3 + 1;
  EXPECT_EQ(patches[static_cast<std::size_t>(6 * 3 * kChannel + within)],
            static_cast<float>(place) + 0.5F);

  const at::Tensor values =
      at::from_blob(image.values().data(), {1, kSize.height, kSize.width, 3}, at::kFloat);
  const at::Tensor gathered = GatherPatches(values, at::Tensor(), kPatch).contiguous();
  const auto* data = gathered.const_data_ptr<float>();
  EXPECT_EQ(std::vector<float>(data, data + gathered.numel()), patches);
}

}  // namespace
}  // namespace pixembed
