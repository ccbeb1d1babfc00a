#include "src/model/kernel_check.h"

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/device_kernels.h"
#include "tests/model/fake_kernels.h"

namespace pixembed {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kWidth = 32;
constexpr Size kPatch{.height = 3, .width = 4};

// Whose numbers are off by `error`, in one place of one kind of result.
class WrongKernels final : public FakeKernels {
 public:
  enum class Where { kNowhere, kSum, kNorm, kProduct, kGelu, kRounded, kRest, kCopy, kZeros };

  explicit WrongKernels(Where where, double error = 0.5) : where_(where), error_(error) {}

  at::Tensor AddAndNormalize(const NormalizeOperands& operands) const override {
    at::Tensor y = FakeKernels::AddAndNormalize(operands);
    at::Tensor x = operands.x;
    if (where_ == Where::kSum && operands.branch.defined()) Spoil(x);
    if (where_ == Where::kNorm && operands.scale.defined()) Spoil(y);
    return y;
  }

  at::Tensor Multiply(const ProductOperands& operands) const override {
    at::Tensor y = FakeKernels::Multiply(operands);
    if (where_ == Where::kProduct && !operands.weight.is_contiguous()) Spoil(y);
    if (where_ == Where::kGelu && operands.gelu) Spoil(y);
    return y;
  }

  at::Tensor SplitPatches(const at::Tensor& images, const at::Tensor& table,
                          Size patch) const override {
    at::Tensor split = FakeKernels::SplitPatches(images, table, patch);
    const std::int64_t values = std::int64_t{3} * patch.height * patch.width;
    if (where_ >= Where::kRounded) {
      const std::int64_t begin =
          (static_cast<std::int64_t>(where_) - static_cast<std::int64_t>(Where::kRounded)) * values;
      at::Tensor part = split.narrow(-1, begin, std::min(values, split.size(-1) - begin));
      Spoil(part);
    }
    return split;
  }

 private:
  void Spoil(at::Tensor& values) const { values.select(0, -1).select(-1, -1).add_(error_); }

  Where where_;
  double error_;
};

absl::Status Checked(const DeviceKernels& kernels) {
  const c10::InferenceMode inference;
  return CheckKernels(kernels, c10::kCPU, kWidth, kPatch);
}

TEST(CheckKernels, AcceptsWhatLibTorchGives) {
  const absl::Status status = Checked(FakeKernels());
  EXPECT_TRUE(status.ok()) << status;
}

TEST(CheckKernels, FindsOneWrongNumberInEveryKindOfResult) {
  using Where = WrongKernels::Where;
  for (const Where where : {Where::kSum, Where::kNorm, Where::kProduct, Where::kGelu,
                            Where::kRounded, Where::kRest, Where::kCopy, Where::kZeros}) {
    for (const double error : {0.5, std::numeric_limits<double>::quiet_NaN()}) {
      const absl::Status status = Checked(WrongKernels(where, error));
      EXPECT_EQ(ReasonOf(status), Reason::kDeviceFailure)
          << static_cast<int>(where) << ", " << error << ": " << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("is off by up to"));
    }
  }
  EXPECT_TRUE(Checked(WrongKernels(Where::kNowhere)).ok());
}

TEST(CheckKernels, WhatThrowsIsAFailure) {
  class Throwing final : public FakeKernels {
   public:
    at::Tensor Multiply(const ProductOperands& /*operands*/) const override {
      TORCH_CHECK(false, "cuBLASLt answers 15");
    }
  };
  const absl::Status status = Checked(Throwing());
  EXPECT_EQ(ReasonOf(status), Reason::kDeviceFailure);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cuBLASLt answers 15"));
}

// A width and a patch size that they do not take are not asked for.
TEST(CheckKernels, AsksOnlyForWhatTheyOffer) {
  const c10::InferenceMode inference;
  const FakeKernels kernels;
  const absl::Status status = CheckKernels(kernels, c10::kCPU, 30, {.height = 3, .width = 5});
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(kernels.normalized, 0);
}

}  // namespace
}  // namespace pixembed
