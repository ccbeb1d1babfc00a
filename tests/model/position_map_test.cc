#include "src/model/position_map.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <c10/core/Device.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>

#include "src/image/image.h"
#include "src/model/model.h"
#include "tests/model/tensor_values.h"
#include "tests/model/test_device.h"

namespace pixembed {
namespace {

using testing::ElementsAre;
using testing::FloatEq;

c10::Device TorchDevice() {
  const Device device = TestDevice();
  if (device.kind == Device::Kind::kCpu) return c10::kCPU;
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(device.index)};
}

TEST(PositionMap, OfItsOwnGridIsTheMapRowByRow) {
  // Two numbers of each position: its place, and ten times that.
  const at::Tensor places = at::arange(6, at::kFloat).view({1, 1, 2, 3});
  const at::Tensor map = at::cat({places, places.mul(10)}, 1);
  const PositionMap positions(map, TorchDevice());
  EXPECT_THAT(Values(positions.For({.height = 2, .width = 3}).cpu()),
              ElementsAre(0, 0, 1, 10, 2, 20, 3, 30, 4, 40, 5, 50));
}

TEST(PositionMap, IsResizedByWeightedMeans) {
  const PositionMap positions(at::arange(4, at::kFloat).view({1, 1, 2, 2}), TorchDevice());
  // One position of four: their mean. Two beside each other: those of the columns.
  EXPECT_THAT(Values(positions.For({.height = 1, .width = 1}).cpu()), ElementsAre(FloatEq(1.5F)));
  EXPECT_THAT(Values(positions.For({.height = 1, .width = 2}).cpu()),
              ElementsAre(FloatEq(1.0F), FloatEq(2.0F)));
}

TEST(PositionMap, ADeviceHasTheNumbersOfTheCpu) {
  const at::Tensor map = at::randn({1, 48, 7, 7});
  const PositionMap positions(map, TorchDevice());
  const PositionMap expected(map, c10::kCPU);
  for (int height = 1; height <= 20; ++height) {
    for (const int width : {1, 3, 7, 12, 37}) {
      const Size grid{height, width};
      EXPECT_EQ(Values(positions.For(grid).cpu()), Values(expected.For(grid)))
          << height << " x " << width;
    }
  }
}

TEST(PositionMap, KeepsWhatWasAskedForUpToABound) {
  constexpr std::int64_t kWidth = PositionMap::kMostKept / 8;
  const PositionMap positions(at::randn({1, kWidth, 1, 1}), c10::kCPU);
  const Size small{.height = 1, .width = 2};
  const void* const first = positions.For(small).const_data_ptr();
  EXPECT_EQ(positions.For(small).const_data_ptr(), first);
  // More than goes beside it is made again each time; what is kept stays.
  const at::Tensor large = positions.For({.height = 1, .width = 7});
  EXPECT_NE(positions.For({.height = 1, .width = 7}).const_data_ptr(), large.const_data_ptr());
  EXPECT_EQ(positions.For(small).const_data_ptr(), first);
}

}  // namespace
}  // namespace pixembed
