// The torchvision backend's resamplers against the ops that torchvision calls: ATen's antialiased
// resize of a contiguous NCHW tensor, of uint8 and of float32. Sizes and pictures are drawn;
// PIXEMBED_SEED repeats a run.
#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/Version.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "src/image/image.h"
#include "src/image/resample.h"
#include "src/image/resample_float.h"
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

// ---- rescaled float32, as DINOv3's processor resizes

constexpr float kFactor = static_cast<float>(1.0 / 255.0);

// The first difference, or nothing where all bits are equal.
std::string FirstDifference(const std::vector<float>& got, const at::Tensor& want) {
  const auto* const planes = want.const_data_ptr<float>();
  const std::size_t plane = got.size() / 3;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const float expected = planes[i % 3 * plane + i / 3];
    if (std::bit_cast<std::uint32_t>(got[i]) == std::bit_cast<std::uint32_t>(expected)) continue;
    return std::to_string(got[i]) + " instead of " + std::to_string(expected) + " at sample " +
           std::to_string(i);
  }
  return "";
}

void ExpectFloatsEqualToAten(std::uint32_t seed, const Image& image, Size to) {
  const at::Tensor input = ToTensor(image).to(at::kFloat).mul(1.0 / 255.0);
  for (const Filter filter : {Filter::kBilinear, Filter::kBicubic}) {
    const at::Tensor want = AtenResize(input, filter, to);
    for (const FloatKernels* const kernels : {&ScalarFloatKernels(), &BestFloatKernels()}) {
      std::vector<float> got(static_cast<std::size_t>(to.height) * to.width * 3);
      ResampleFloat(image, kFactor, filter, to, {0, 0, to.height, to.width}, *kernels, got.data(),
                    std::ptrdiff_t{to.width} * 3);
      ASSERT_EQ(FirstDifference(got, want), "")
          << "PIXEMBED_SEED=" << seed << ", " << FilterName(filter) << ", from " << image.height()
          << "x" << image.width() << " to " << to.height << "x" << to.width
          << " (height x width), kernels "
          << (kernels == &ScalarFloatKernels() ? "scalar" : "of this processor");
    }
  }
}

// ATen has kernels for processors without AVX2, and no FMA there: the target are those that real
// machines run.
bool AtenHasFma() { return at::get_cpu_capability() != "DEFAULT"; }

TEST(FloatResize, OfRandomSizesIsBitEqualToAten) {
  if (!AtenHasFma()) GTEST_SKIP() << "ATen runs without AVX2 here";
  const std::uint32_t seed = TestSeed();
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    const Size from = RandomSize(random, 500);
    Size to = RandomTarget(random, from, 300);
    to.width = std::max(to.width, 2);
    ExpectFloatsEqualToAten(seed, RandomImage(random, from.width, from.height), to);
    if (HasFatalFailure()) return;
  }
}

TEST(FloatResize, ToTheSizesOfModelsIsBitEqualToAten) {
  if (!AtenHasFma()) GTEST_SKIP() << "ATen runs without AVX2 here";
  const std::uint32_t seed = TestSeed();
  std::mt19937 random(seed);
  for (const int side : {224, 256, 384, 518}) {
    for (const Size from : {Size{480, 640}, Size{1280, 960}, Size{1, 1}, Size{1, 3000},
                            Size{2500, 7}, Size{223, 385}, Size{64, 64}}) {
      ExpectFloatsEqualToAten(seed, RandomImage(random, from.width, from.height), {side, side});
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace pixembed
