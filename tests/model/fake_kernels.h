// DeviceKernels without a device: the same by LibTorch, on the CPU.
#ifndef PIXEMBED_TESTS_MODEL_FAKE_KERNELS_H_
#define PIXEMBED_TESTS_MODEL_FAKE_KERNELS_H_

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>

#include "src/image/image.h"
#include "src/model/device_kernels.h"
#include "src/model/runner.h"

namespace pixembed {

class FakeKernels : public DeviceKernels {
 public:
  bool Normalizes(std::int64_t width) const override { return width % 4 == 0; }

  at::Tensor AddAndNormalize(const NormalizeOperands& operands) const override {
    ++normalized;
    at::Tensor x = operands.x;
    if (operands.branch.defined()) {
      ++added;
      const at::Tensor branch = operands.branch.to(at::kFloat);
      x.add_(operands.scale.defined() ? branch.mul(operands.scale) : branch);
    }
    return at::layer_norm(x, {x.size(-1)}, operands.weight, operands.bias, operands.epsilon)
        .to(operands.out);
  }

  at::Tensor Multiply(const ProductOperands& operands) const override {
    ++multiplied;
    at::Tensor y = at::linear(
        operands.x.to(at::kFloat), operands.weight.to(at::kFloat),
        operands.bias.defined() ? std::optional(operands.bias.to(at::kFloat)) : std::nullopt);
    if (operands.gelu) at::gelu_(y, "tanh");
    return y.to(operands.out);
  }

  bool Splits(Size patch) const override { return patch.width % 2 == 0; }

  at::Tensor SplitPatches(const at::Tensor& images, const at::Tensor& table,
                          Size patch) const override {
    const at::Tensor patches = GatherPatches(images, table, patch);
    const at::Tensor rounded = patches.to(at::kBFloat16);
    const at::Tensor split =
        at::cat({rounded, patches.sub(rounded).to(at::kBFloat16), rounded}, -1);
    return at::constant_pad_nd(split, {0, SplitWidth(patches.size(-1)) - split.size(-1)});
  }

  mutable int normalized = 0;
  mutable int added = 0;  // of those that were normalized
  mutable int multiplied = 0;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_MODEL_FAKE_KERNELS_H_
