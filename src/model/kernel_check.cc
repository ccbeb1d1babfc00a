#include "src/model/kernel_check.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cmath>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/device_kernels.h"
#include "src/model/guard.h"
#include "src/model/product_reference.h"
#include "src/model/runner.h"

namespace pixembed {
namespace {

constexpr double kEpsilon = 1e-6;
// Of float32 sums of some thousand numbers about 1 in size, in any order.
constexpr double kFloatTolerance = 1e-4;
// Of GELU: the hardware's tanh is exact to 11 bits.
constexpr double kGeluTolerance = 2e-3;
// A number that is rounded to bfloat16, and then another way round where both are as near.
constexpr double kBFloat16Unit = 1.0 / 128;

class Check {
 public:
  Check(const DeviceKernels& kernels, c10::Device device) : kernels_(kernels), device_(device) {}

  absl::Status Norms(std::int64_t width) const {
    constexpr std::int64_t kRows = 5;  // not a multiple of what a block of threads takes
    for (const bool adds : {false, true}) {
      for (const bool scales : {false, true}) {
        for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
          const at::Tensor x = Noise({kRows, width}).mul(3).add(1);
          const at::Tensor branch = Noise({kRows, width}).to(at::kBFloat16);
          const at::Tensor scale = Noise({width});
          const at::Tensor weight = Noise({width});
          const at::Tensor bias = Noise({width});
          at::Tensor sum = x.clone();
          if (adds) sum.add_(scales ? branch.to(at::kFloat).mul(scale) : branch.to(at::kFloat));
          const at::Tensor expected = at::layer_norm(sum, {width}, weight, bias, kEpsilon);
          const at::Tensor actual =
              kernels_.AddAndNormalize({.x = x,
                                        .branch = adds ? branch : at::Tensor(),
                                        .scale = scales ? scale : at::Tensor(),
                                        .weight = weight,
                                        .bias = bias,
                                        .epsilon = kEpsilon,
                                        .out = type});
          const std::string name = absl::StrCat("the norm of rows of ", width);
          absl::Status status = Compare(name, x, sum, kFloatTolerance);
          if (status.ok()) status = Compare(name, actual, expected, kFloatTolerance);
          if (!status.ok()) return status;
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status Products(std::int64_t in, std::int64_t out) const {
    constexpr std::int64_t kRows = 64;
    for (const bool transposed : {false, true}) {
      for (const bool gelu : {false, true}) {
        for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
          const at::Tensor x = Noise({kRows, in}).to(at::kBFloat16);
          at::Tensor weight =
              Noise({out, in}).div(std::sqrt(static_cast<double>(in))).to(at::kBFloat16);
          const at::Tensor bias = Noise({out}).to(type);
          if (transposed) weight = weight.t().contiguous().t();
          const ProductOperands operands = {
              .x = x, .weight = weight, .bias = bias, .gelu = gelu, .out = type};
          const at::Tensor expected = MultiplyInFloat32(operands);
          const at::Tensor actual = kernels_.Multiply(operands);
          absl::Status status = Compare(absl::StrCat("the product of ", in, " by ", out), actual,
                                        expected, gelu ? kGeluTolerance : kFloatTolerance);
          if (!status.ok()) return status;
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status Patches(Size patch) const {
    const at::Tensor table = Noise({std::int64_t{3} * 256});
    const at::Tensor images =
        at::randint(256, {2, std::int64_t{2} * patch.height + 1, std::int64_t{3} * patch.width, 3},
                    at::kByte)
            .to(device_);
    const at::Tensor expected = GatherPatches(images, table, patch);
    const at::Tensor split = kernels_.SplitPatches(images, table, patch).to(at::kFloat);
    const std::int64_t values = expected.size(-1);
    const at::Tensor rounded = split.narrow(-1, 0, values);
    const std::string name = absl::StrCat("patches of ", patch.height, " x ", patch.width);
    absl::Status status =
        Compare(name, rounded.add(split.narrow(-1, values, values)), expected, kFloatTolerance);
    if (status.ok()) status = Compare(name, split.narrow(-1, 2 * values, values), rounded, 0.0);
    if (!status.ok()) return status;
    const at::Tensor zeros = split.narrow(-1, 3 * values, SplitWidth(values) - 3 * values);
    return Compare(name, zeros, at::zeros_like(zeros), 0.0);
  }

 private:
  at::Tensor Noise(at::IntArrayRef sizes) const { return at::randn(sizes).to(device_); }

  // What is no number is far from every one.
  static absl::Status Compare(const std::string& what, const at::Tensor& actual,
                              const at::Tensor& expected, double tolerance) {
    const double unit = actual.scalar_type() == at::kBFloat16 ? kBFloat16Unit : 0.0;
    const at::Tensor distance = actual.to(at::kFloat).sub(expected).abs();
    if (distance.le(expected.abs().mul(unit).add(tolerance)).all().item<bool>()) {
      return absl::OkStatus();
    }
    return MakeError(Reason::kDeviceFailure,
                     absl::StrCat("its kernels give ", what, " that is off by up to ",
                                  distance.max().item<float>()));
  }

  const DeviceKernels& kernels_;
  c10::Device device_;
};

}  // namespace

absl::Status CheckKernels(const DeviceKernels& kernels, c10::Device device, std::int64_t width,
                          Size patch) {
  return Guarded([&] {
    const Check check(kernels, device);
    absl::Status status = check.Products(width, 3 * width);
    if (status.ok()) status = check.Products(width, width);
    if (status.ok() && kernels.Normalizes(width)) status = check.Norms(width);
    if (status.ok() && kernels.Splits(patch)) status = check.Patches(patch);
    return status;
  });
}

}  // namespace pixembed
