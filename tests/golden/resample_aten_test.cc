// The torchvision backend's resampler against the op that torchvision calls: ATen's antialiased
// uint8 resize of a contiguous NCHW tensor. Sizes and pictures are drawn; PIXEMBED_SEED repeats a
// run.
#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "src/image/image.h"
#include "src/image/resample.h"
#include "tests/image/random_image.h"

namespace pixembed {
namespace {

// [1, 3, height, width] uint8, contiguous.
at::Tensor ToTensor(const Image& image) {
  at::Tensor tensor = at::empty({1, 3, image.height(), image.width()}, at::kByte);
  auto* const planes = tensor.mutable_data_ptr<std::uint8_t>();
  const std::size_t plane = image.size_bytes() / 3;
  for (std::size_t i = 0; i < image.size_bytes(); ++i) {
    planes[i % 3 * plane + i / 3] = image.pixels()[i];
  }
  return tensor;
}

at::Tensor AtenResize(const at::Tensor& input, Filter filter, Size size) {
  const std::vector<std::int64_t> target = {size.height, size.width};
  if (filter == Filter::kBilinear) {
    return at::_upsample_bilinear2d_aa(input, target, /*align_corners=*/false, std::nullopt,
                                       std::nullopt);
  }
  return at::_upsample_bicubic2d_aa(input, target, /*align_corners=*/false, std::nullopt,
                                    std::nullopt);
}

Image Resized(const Image& image, Filter filter, Size size, const ResampleKernels& kernels) {
  Image out(size.width, size.height);
  Resample(image, Backend::kTorchvision, filter, size, {0, 0, size.height, size.width}, kernels,
           out.pixels().data(), std::ptrdiff_t{size.width} * 3);
  return out;
}

// Nothing where they are equal.
std::string WorstDifference(const Image& got, const at::Tensor& want) {
  const auto* const planes = want.const_data_ptr<std::uint8_t>();
  const std::size_t plane = got.size_bytes() / 3;
  int largest = 0;
  std::size_t worst = 0;
  for (std::size_t i = 0; i < got.size_bytes(); ++i) {
    const int difference = std::abs(got.pixels()[i] - planes[i % 3 * plane + i / 3]);
    if (difference > largest) {
      largest = difference;
      worst = i;
    }
  }
  if (largest == 0) return "";
  const std::size_t pixel = worst / 3;
  const auto width = static_cast<std::size_t>(got.width());
  return std::to_string(largest) + " in row " + std::to_string(pixel / width) + ", column " +
         std::to_string(pixel % width) + ", channel " + std::to_string(worst % 3);
}

void ExpectEqualToAten(std::uint32_t seed, const Image& image, Size to) {
  const at::Tensor input = ToTensor(image);
  for (const Filter filter : {Filter::kBilinear, Filter::kBicubic}) {
    const at::Tensor want = AtenResize(input, filter, to);
    for (const ResampleKernels* const kernels : {&ScalarKernels(), &BestKernels()}) {
      ASSERT_EQ(WorstDifference(Resized(image, filter, to, *kernels), want), "")
          << "PIXEMBED_SEED=" << seed << ", " << FilterName(filter) << ", from " << image.height()
          << "x" << image.width() << " to " << to.height << "x" << to.width
          << " (height x width), kernels "
          << (kernels == &ScalarKernels() ? "scalar" : "of this processor");
    }
  }
}

TEST(TorchvisionResize, OfRandomSizesIsBitEqualToAten) {
  const std::uint32_t seed = TestSeed();
  std::cout << "PIXEMBED_SEED=" << seed << '\n';
  std::mt19937 random(seed);
  for (int round = 0; round < 400; ++round) {
    const Size from = RandomSize(random, 400);
    const Size to = RandomTarget(random, from, 300);
    if (from == to) continue;  // torchvision does not call the op
    ExpectEqualToAten(seed, RandomImage(random, from.width, from.height), to);
    if (HasFatalFailure()) return;
  }
}

TEST(TorchvisionResize, ToTheSizesOfModelsIsBitEqualToAten) {
  const std::uint32_t seed = TestSeed();
  std::mt19937 random(seed);
  for (const int side : {224, 256, 384, 518}) {
    for (const Size from : {Size{480, 640}, Size{1280, 960}, Size{1, 1}, Size{1, 3000},
                            Size{2500, 7}, Size{223, 385}, Size{64, 64}}) {
      ExpectEqualToAten(seed, RandomImage(random, from.width, from.height), {side, side});
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace pixembed
