#include "src/model/residual_stream.h"

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <utility>

#include "src/model/device_kernels.h"
#include "src/model/elementwise.h"
#include "src/model/layers.h"
#include "src/model/linear.h"

namespace pixembed {

ResidualStream::ResidualStream(at::Tensor sum, const DeviceKernels* kernels)
    : sum_(std::move(sum)),
      kernels_(kernels != nullptr && sum_.is_contiguous() && kernels->Normalizes(sum_.size(-1))
                   ? kernels
                   : nullptr) {}

at::Tensor& ResidualStream::Sum() {
  if (branch_.defined()) AddScaled(sum_, std::exchange(branch_, {}), std::exchange(scale_, {}));
  return sum_;
}

void ResidualStream::Add(at::Tensor branch, const at::Tensor& scale) {
  if (kernels_ == nullptr || branch.scalar_type() != at::kBFloat16 || !branch.is_contiguous()) {
    AddScaled(Sum(), branch, scale);
    return;
  }
  Sum();  // what was waiting
  branch_ = std::move(branch);
  scale_ = scale;
}

at::Tensor ResidualStream::NormalizedFor(const Linear& taker, const LayerNorm& norm) {
  return Normalize(norm, taker.kernels() == nullptr ? at::kFloat : at::kBFloat16);
}

at::Tensor ResidualStream::Normalized(const LayerNorm& norm) { return Normalize(norm, at::kFloat); }

at::Tensor ResidualStream::Normalize(const LayerNorm& norm, at::ScalarType type) {
  if (kernels_ == nullptr) return norm.Forward(Sum());
  return kernels_->AddAndNormalize({.x = sum_,
                                    .branch = std::exchange(branch_, {}),
                                    .scale = std::exchange(scale_, {}),
                                    .weight = norm.weight,
                                    .bias = norm.bias,
                                    .epsilon = norm.epsilon,
                                    .out = type});
}

}  // namespace pixembed
