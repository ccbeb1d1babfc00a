#include "src/model/precision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/float_kernel.h"
#include "src/model/integer_kernel.h"
#include "src/model/mixed_precision.h"
#include "src/model/model.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/model/fake_model.h"
#include "tests/model/test_device.h"
#include "tests/model/tiny_model.h"

namespace pixembed {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

bool MultipliesBFloat16() {
  return CheckNative(Precision::kBFloat16, std::vector<Device>{TestDevice()}).ok();
}

bool MultipliesInt16() {
  return CheckNative(Precision::kInt16, std::vector<Device>{TestDevice()}).ok();
}

absl::StatusOr<std::shared_ptr<const Model>> LoadTiny(Precision precision, double min_cosine) {
  const TemporaryDirectory directory;
  TinyModel().Write(directory.path());
  return LoadModel(
      directory.path(),
      {.devices = {TestDevice()}, .precision = precision, .precision_min_cosine = min_cosine});
}

TEST(Precision, Float32IsNativeEverywhere) {
  EXPECT_TRUE(CheckNative(Precision::kFloat32, std::vector<Device>{TestDevice()}).ok());
}

TEST(Precision, WhatTheDeviceDoesNotMultiplyIsRefusedWithWhatItLacks) {
  if (MultipliesBFloat16()) GTEST_SKIP() << "this device multiplies bfloat16";
  const auto model = LoadTiny(Precision::kBFloat16, 0.0);
  EXPECT_EQ(ReasonOf(model.status()), Reason::kUnsupportedPrecision);
  EXPECT_THAT(std::string(model.status().message()),
              AllOf(HasSubstr("--precision=bfloat16"), HasSubstr("neither AVX512_BF16 nor AMX"),
                    HasSubstr(MultipliesInt16() ? "--precision=int16 is faster"
                                                : "--precision=float32 is no")));
}

TEST(Precision, AModelThatLosesMoreThanItMayIsRefusedWithBothNumbers) {
  if (!MultipliesBFloat16()) GTEST_SKIP() << "this device does not multiply bfloat16";
  const auto model = LoadTiny(Precision::kBFloat16, 1.0);
  EXPECT_EQ(ReasonOf(model.status()), Reason::kPrecisionLoss);
  EXPECT_THAT(std::string(model.status().message()),
              AllOf(HasSubstr("below the 1.000000000 of --precision_min_cosine"),
                    HasSubstr("is 0.9999"), HasSubstr("--precision=float32")));
}

TEST(Precision, AModelSaysWhatItComputesInAndHowCloseThatIs) {
  if (!MultipliesBFloat16()) GTEST_SKIP() << "this device does not multiply bfloat16";
  const auto exact = LoadTiny(Precision::kFloat32, 0.999);
  const auto reduced = LoadTiny(Precision::kBFloat16, 0.999);
  ASSERT_TRUE(exact.ok() && reduced.ok()) << reduced.status();
  EXPECT_EQ((*exact)->info().precision, Precision::kFloat32);
  EXPECT_EQ((*exact)->info().precision_cosine, 1.0);
  EXPECT_EQ((*reduced)->info().precision, Precision::kBFloat16);
  EXPECT_GE((*reduced)->info().precision_cosine, 0.999);
  EXPECT_LT((*reduced)->info().precision_cosine, 1.0);
  EXPECT_EQ((*reduced)->info().precision_min_cosine, 0.999);
  EXPECT_NE((*exact)->Fingerprint({}), (*reduced)->Fingerprint({}));
}

TEST(Precision, Int8IsForCpusThatMultiplyItFasterThanFloat32) {
  const std::vector<Device> cpu = {Device{}};
  const absl::Status status = CheckNative(Precision::kInt8, cpu);
  EXPECT_EQ(status.ok(), NativeInt8Kernel() != nullptr);
  if (!status.ok()) {
    EXPECT_EQ(ReasonOf(status), Reason::kUnsupportedPrecision);
    EXPECT_THAT(
        std::string(status.message()),
        AllOf(HasSubstr(Avx2Int8Kernel() != nullptr
                            ? "AVX-512 without VNNI, which multiplies float32 as fast as int8"
                            : "no AVX2"),
              HasSubstr("--precision=float32 is no")));
  }
  const absl::Status cuda =
      CheckNative(Precision::kInt8, std::vector<Device>{{Device::Kind::kCuda, 1}});
  EXPECT_EQ(ReasonOf(cuda), Reason::kUnsupportedPrecision);
  EXPECT_THAT(std::string(cuda.message()),
              AllOf(HasSubstr("not for cuda:1"), HasSubstr("--precision=bfloat16")));
}

TEST(Precision, Int16IsForCpusThatMultiplyItFasterThanFloat32) {
  const std::vector<Device> cpu = {Device{}};
  const absl::Status status = CheckNative(Precision::kInt16, cpu);
  EXPECT_EQ(status.ok(), NativeInt16Kernel() != nullptr);
  if (!status.ok()) {
    EXPECT_EQ(ReasonOf(status), Reason::kUnsupportedPrecision);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(Avx2Int16Kernel() != nullptr
                              ? "AVX-512 without VNNI, which multiplies float32 as fast as int16"
                              : "no AVX2"));
  }
  const absl::Status cuda =
      CheckNative(Precision::kInt16, std::vector<Device>{{Device::Kind::kCuda, 0}});
  EXPECT_EQ(ReasonOf(cuda), Reason::kUnsupportedPrecision);
  EXPECT_THAT(std::string(cuda.message()), HasSubstr("--precision=int16 is for CPUs"));
}

TEST(Precision, AModelOfInt16SaysHowCloseItIsAndWhatComputes) {
  if (!MultipliesInt16()) GTEST_SKIP() << "this device does not multiply int16";
  const auto exact = LoadTiny(Precision::kFloat32, 0.999);
  const auto reduced = LoadTiny(Precision::kInt16, 0.99999);
  ASSERT_TRUE(exact.ok() && reduced.ok()) << reduced.status();
  EXPECT_EQ((*reduced)->info().precision, Precision::kInt16);
  EXPECT_GE((*reduced)->info().precision_cosine, 0.99999);
  EXPECT_EQ((*reduced)->info().deterministic, (*exact)->info().deterministic);
  EXPECT_THAT((*reduced)->info().kernels,
              HasSubstr(std::string("int16 products by ") +
                        std::string(NativeInt16Kernel()->instructions)));
  EXPECT_NE((*exact)->Fingerprint({}), (*reduced)->Fingerprint({}));
}

bool MultipliesInt8() {
  return CheckNative(Precision::kInt8, std::vector<Device>{TestDevice()}).ok();
}

TEST(Precision, AModelOfInt8SaysHowCloseItIsAndWhatComputes) {
  if (!MultipliesInt8()) GTEST_SKIP() << "this device does not multiply int8";
  const auto exact = LoadTiny(Precision::kFloat32, 0.99);
  const auto reduced = LoadTiny(Precision::kInt8, 0.99);
  ASSERT_TRUE(exact.ok() && reduced.ok()) << reduced.status();
  EXPECT_EQ((*reduced)->info().precision, Precision::kInt8);
  EXPECT_LT((*reduced)->info().precision_cosine, 1.0);
  EXPECT_GE((*reduced)->info().precision_cosine, 1.0 - 0.01 / kCalibrationMargin);
  EXPECT_EQ((*reduced)->info().precision_min_cosine, 0.99);
  EXPECT_EQ((*reduced)->info().parameters, (*exact)->info().parameters);
  EXPECT_THAT(
      (*reduced)->info().kernels,
      AllOf(HasSubstr(std::string(NativeInt8Kernel()->instructions)), HasSubstr("of 4 kept in ")));
  EXPECT_NE((*exact)->Fingerprint({}), (*reduced)->Fingerprint({}));
  const auto again = LoadTiny(Precision::kInt8, 0.99);
  EXPECT_EQ((*again)->Fingerprint({}), (*reduced)->Fingerprint({}));
}

TEST(Precision, Int8SaysWhereItIsTheSlowerAndTheWorseChoice) {
  if (!MultipliesInt8()) GTEST_SKIP() << "this device does not multiply int8";
  const TemporaryDirectory directory;
  TinyModel().Write(directory.path());
  std::vector<std::string> warnings;
  const auto model = LoadModel(
      directory.path(), {.devices = {TestDevice(), TestDevice()},
                         .precision = Precision::kInt8,
                         .precision_min_cosine = 0.99,
                         .warn = [&](const std::string& line) { warnings.push_back(line); }});
  ASSERT_TRUE(model.ok()) << model.status();
  if (AmxBFloat16Kernel() == nullptr) {
    EXPECT_THAT(warnings, IsEmpty());
  } else {
    EXPECT_THAT(warnings, ElementsAre(HasSubstr("--precision=bfloat16 is closer")));
  }
}

// Some cosine in between needs products to be kept: another space.
TEST(Precision, AModelOfInt8ThatKeepsOtherProductsHasAnotherFingerprint) {
  if (!MultipliesInt8()) GTEST_SKIP() << "this device does not multiply int8";
  std::set<std::string> fingerprints;
  // From 0.01 down to a millionth.
  for (int step = 0; step < 42; ++step) {
    const double lost = 0.01 * std::pow(0.8, step);
    const auto model = LoadTiny(Precision::kInt8, 1.0 - lost);
    if (model.ok()) {
      fingerprints.insert((*model)->Fingerprint({}));
      continue;
    }
    EXPECT_EQ(ReasonOf(model.status()), Reason::kPrecisionLoss) << model.status();
  }
  EXPECT_GE(fingerprints.size(), 2U);
  const auto strict = LoadTiny(Precision::kInt8, 1.0);
  EXPECT_EQ(ReasonOf(strict.status()), Reason::kPrecisionLoss);
  EXPECT_THAT(
      std::string(strict.status().message()),
      AllOf(HasSubstr("in int8"),
            HasSubstr(MultipliesBFloat16() ? "--precision=bfloat16 or" : "--precision=int16 or")));
}

TEST(Precision, AutoIsTheFastestThatTheDeviceHasAndTheModelBears) {
  const auto model = LoadTiny(Precision::kAuto, 0.99);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().precision, MultipliesBFloat16() ? Precision::kBFloat16
                                        : MultipliesInt16()  ? Precision::kInt16
                                                             : Precision::kFloat32);
  const auto strict = LoadTiny(Precision::kAuto, 1.0);
  ASSERT_TRUE(strict.ok()) << strict.status();
  EXPECT_EQ((*strict)->info().precision, Precision::kFloat32);
}

TEST(CalibrationImages, AreWhatResizeGivesAndDiffer) {
  PreprocessSpec spec;
  spec.resize = ResizeTarget{.exact = Size{9, 12}};
  const std::vector<Image> images = CalibrationImages(spec, {9, 12});
  std::set<std::string> different;
  for (const Image& image : images) {
    EXPECT_EQ(image.height(), 9);
    EXPECT_EQ(image.width(), 12);
    EXPECT_EQ(image.sample(), Sample::kUint8);
    different.emplace(image.pixels().begin(), image.pixels().end());
    EXPECT_GT(*std::ranges::max_element(image.pixels()),
              *std::ranges::min_element(image.pixels()) + 100);
  }
  EXPECT_THAT(different, SizeIs(images.size()));
}

TEST(NaturalImages, AreWhatResizeGivesTheSameEachTimeAndDiffer) {
  PreprocessSpec spec;
  spec.resize = ResizeTarget{.exact = Size{60, 44}};
  const std::vector<Image> images = NaturalImages(spec, {60, 44});
  const std::vector<Image> again = NaturalImages(spec, {60, 44});
  ASSERT_EQ(images.size(), again.size());
  std::set<std::string> different;
  for (std::size_t i = 0; i < images.size(); ++i) {
    EXPECT_EQ(images[i].height(), 60);
    EXPECT_EQ(images[i].width(), 44);
    different.emplace(images[i].pixels().begin(), images[i].pixels().end());
    EXPECT_TRUE(std::ranges::equal(images[i].pixels(), again[i].pixels()));
    EXPECT_GT(*std::ranges::max_element(images[i].pixels()),
              *std::ranges::min_element(images[i].pixels()) + 40);
  }
  EXPECT_THAT(different, SizeIs(images.size()));
  EXPECT_THAT(NaturalImages(PreprocessSpec(), {1, 1}), SizeIs(images.size()));
}

TEST(CalibrationImages, AreFinishedWhereTheProcessorRescalesFirst) {
  PreprocessSpec spec;
  spec.resize = ResizeTarget{.exact = Size{4, 6}};
  const std::vector<Image> levels = CalibrationImages(spec, {4, 6});
  spec.rescale_first = true;
  const std::vector<Image> finished = CalibrationImages(spec, {4, 6});
  ASSERT_EQ(finished.size(), levels.size());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    ASSERT_EQ(finished[i].sample(), Sample::kFloat32);
    const Image resized = Resize(levels[i], spec);
    const std::vector<float> expected(resized.values().begin(), resized.values().end());
    const std::vector<float> actual(finished[i].values().begin(), finished[i].values().end());
    EXPECT_EQ(actual, expected);
  }
}

// The fake's vector is the mean of each channel.
TEST(WorstCosine, IsThatOfTheImageThatDiffersMost) {
  const FakeModel one;
  const auto runner = one.NewRunner(Device{});
  ASSERT_TRUE(runner.ok());
  const std::vector<Image> images = CalibrationImages(one.info().preprocess, one.info().input);
  EXPECT_DOUBLE_EQ(*WorstCosine(**runner, **runner, images, 1), 1.0);
}

}  // namespace
}  // namespace pixembed
