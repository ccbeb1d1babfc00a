#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "src/error/error.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(DeviceName, IsWhatTheFlagSays) {
  EXPECT_EQ(DeviceName({Device::Kind::kCpu, 0}), "cpu");
  EXPECT_EQ(DeviceName({Device::Kind::kCuda, 2}), "cuda:2");
}

TEST(ResolveDevices, CpuIsOneDevice) {
  const auto devices = ResolveDevices("cpu");
  ASSERT_TRUE(devices.ok()) << devices.status();
  EXPECT_THAT(*devices, ElementsAre(Device{}));
}

TEST(ResolveDevices, RefusesWhatItDoesNotKnow) {
  for (const char* text :
       {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda0", "cpu:0", "cpu,", "auto,cpu"}) {
    const auto devices = ResolveDevices(text);
    ASSERT_FALSE(devices.ok()) << text;
    EXPECT_EQ(ReasonOf(devices.status()), Reason::kInvalidOption) << text;
    EXPECT_THAT(std::string(devices.status().message()), HasSubstr("--device")) << text;
    EXPECT_EQ(CheckDeviceText(text), devices.status()) << text;
  }
  EXPECT_EQ(ResolveDevices("cpu,cuda:x").status().message(),
            "--device names \"cuda:x\"; possible are auto, or a list of cpu, cuda and cuda:N");
}

TEST(CheckDeviceText, AsksForNoDevice) {
  for (const char* const text : {"auto", "cpu", "cuda", "cuda:99", "cpu, cuda:3", "cpu,cpu"}) {
    EXPECT_TRUE(CheckDeviceText(text).ok()) << text;
  }
}

TEST(ResolveDevices, RefusesADeviceNamedTwice) {
  const auto devices = ResolveDevices("cpu, cpu");
  ASSERT_FALSE(devices.ok());
  EXPECT_THAT(std::string(devices.status().message()), HasSubstr("twice"));
}

// These hold on any host: with CUDA devices and without.
TEST(ResolveDevices, AutoTakesCudaWhereItCanAndTheCpuElse) {
  const auto devices = ResolveDevices("auto");
  ASSERT_TRUE(devices.ok()) << devices.status();
  const auto names = CudaDevices();
  if (names.ok()) {
    EXPECT_EQ(devices->size(), names->size());
    EXPECT_EQ(devices->front(), (Device{Device::Kind::kCuda, 0}));
  } else {
    EXPECT_THAT(*devices, ElementsAre(Device{}));
  }
}

TEST(ResolveDevices, SaysWhyACudaDeviceCannotBeUsed) {
  const auto devices = ResolveDevices("cuda:99");
  ASSERT_FALSE(devices.ok());
  EXPECT_EQ(ReasonOf(devices.status()), Reason::kInvalidOption);
  const auto names = CudaDevices();
  std::string why(names.status().message());
  if (names.ok()) why = "this host has " + std::to_string(names->size());
  EXPECT_THAT(std::string(devices.status().message()), HasSubstr(why));
}

}  // namespace
}  // namespace pixembed
