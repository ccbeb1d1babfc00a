#include "src/model/layers.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/mul.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "src/model/activation.h"
#include "src/model/attention.h"
#include "src/model/elementwise.h"
#include "src/model/float_kernel.h"
#include "src/model/linear.h"
#include "src/model/residual_stream.h"
#include "src/model/rotary.h"
#include "src/model/thread_team.h"
#include "src/model/weights.h"

namespace pixembed {
namespace {

// y += scale * linear(x), by the side that saves a pass over memory: the product, or the next norm.
void AddProduct(const Linear& linear, const at::Tensor& x, const at::Tensor& scale,
                ResidualStream& y) {
  if (linear.kernels() != nullptr) {
    y.Add(linear.ForwardWithin(x), scale);
  } else {
    linear.AddTo(x, scale, y.Sum());
  }
}

}  // namespace

at::Tensor LayerNorm::Forward(const at::Tensor& x) const {
  const FloatKernel* const kernel = NativeFloatKernel();
  if (kernel == nullptr || !x.is_cpu()) {
    return at::layer_norm(x, {x.size(-1)}, weight, bias, epsilon);
  }
  const at::Tensor operand = x.contiguous();
  at::Tensor y = at::empty_like(operand);
  const std::int64_t width = operand.size(-1);
  const std::int64_t rows = operand.numel() / width;
  const std::int64_t threads = TeamThreads();
  const std::int64_t own = (rows + threads - 1) / threads;
  const auto* const from = operand.const_data_ptr<float>();
  auto* const to = y.mutable_data_ptr<float>();
  InParallel(threads, [&](std::int64_t part, int /*thread*/) {
    const std::int64_t first = std::min(part * own, rows);
    kernel->normalize({.x = from + first * width,
                       .rows = static_cast<std::size_t>(std::min(own, rows - first)),
                       .width = static_cast<std::size_t>(width),
                       .weight = weight.const_data_ptr<float>(),
                       .bias = bias.const_data_ptr<float>(),
                       .epsilon = static_cast<float>(epsilon),
                       .out = to + first * width});
  });
  return y;
}

LayerNorm ReadLayerNorm(const WeightScope& scope, std::int64_t width, double epsilon) {
  return {scope.Get("weight", {width}), scope.Get("bias", {width}), epsilon};
}

at::Tensor Attention::Mix(const at::Tensor& x, const at::Tensor& mask) const {
  const std::int64_t batch = x.size(0);
  const std::int64_t tokens = x.size(1);
  // [3, N, heads, T, head_dim], a view.
  const at::Tensor parts =
      qkv.ForwardWithin(x).view({batch, tokens, 3, heads, head_dim}).permute({2, 0, 3, 1, 4});
  rotary.Apply(parts.narrow(0, 0, 2));
  const at::Tensor added =
      bias.defined() && mask.defined() ? at::add(bias, mask) : (mask.defined() ? mask : bias);
  return ScaledDotProductAttention(
      parts[0], parts[1], parts[2], added.defined() ? added.to(parts.scalar_type()) : added,
      /*scale=*/1.0 / std::sqrt(static_cast<double>(head_dim)), qkv.rounds_to_bfloat16());
}

at::Tensor Attention::Forward(const at::Tensor& x, const at::Tensor& mask) const {
  return output.Forward(Mix(x, mask));
}

void Attention::AddTo(const at::Tensor& x, const at::Tensor& mask, const at::Tensor& scale,
                      ResidualStream& y) const {
  AddProduct(output, Mix(x, mask), scale, y);
}

bool Mlp::LeavesGeluToDown() const {
  return !gated && activation == Activation::kGelu && down.fuses_gelu();
}

at::Tensor Mlp::Hidden(const at::Tensor& x) const {
  if (LeavesGeluToDown()) return up.Forward(x);
  if (!gated) return up.ForwardWithin(x, activation);
  const at::Tensor both = up.ForwardWithin(x);
  const std::int64_t width = both.size(-1) / 2;
  at::Tensor gate = both.narrow(-1, 0, width);
  Activate(activation, gate);
  return at::mul(gate, both.narrow(-1, width, width));
}

at::Tensor Mlp::Forward(const at::Tensor& x) const {
  const at::Tensor hidden = Hidden(x);
  return LeavesGeluToDown() ? down.ForwardGelu(hidden) : down.Forward(hidden);
}

void Mlp::AddTo(const at::Tensor& x, const at::Tensor& scale, ResidualStream& y) const {
  const at::Tensor hidden = Hidden(x);
  if (LeavesGeluToDown()) {
    y.Add(down.ForwardGelu(hidden), scale);
  } else {
    AddProduct(down, hidden, scale, y);
  }
}

void Block::Forward(ResidualStream& x, const at::Tensor& mask) const {
  attention.AddTo(x.NormalizedFor(attention.qkv, norm1), mask, scale1, x);
  mlp.AddTo(x.NormalizedFor(mlp.up, norm2), scale2, x);
}

}  // namespace pixembed
