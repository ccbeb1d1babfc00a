#include "src/model/layers.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>

#include "src/model/attention.h"
#include "src/model/linear.h"
#include "src/model/rotary.h"
#include "src/model/weights.h"

namespace pixembed {
namespace {

struct ActivationRow {
  std::string_view name;
  Activation activation;
};

// The first name of an activation is the one that it is called by.
constexpr std::array kActivations = {
    ActivationRow{"gelu", Activation::kGelu},
    ActivationRow{"gelu_python", Activation::kGelu},
    ActivationRow{"gelu_pytorch_tanh", Activation::kGeluTanh},
    ActivationRow{"gelu_python_tanh", Activation::kGeluTanh},
    ActivationRow{"gelu_new", Activation::kGeluTanh},
    ActivationRow{"quick_gelu", Activation::kQuickGelu},
    ActivationRow{"relu", Activation::kRelu},
    ActivationRow{"silu", Activation::kSilu},
    ActivationRow{"swish", Activation::kSilu},
};

// x += scale * y, or x += y without a scale.
void AddScaled(at::Tensor& x, const at::Tensor& y, const at::Tensor& scale) {
  if (scale.defined()) {
    x.addcmul_(y, scale);
  } else {
    x.add_(y);
  }
}

}  // namespace

std::optional<Activation> ActivationByName(std::string_view name) {
  for (const ActivationRow& row : kActivations) {
    if (row.name == name) return row.activation;
  }
  return std::nullopt;
}

std::string_view ActivationName(Activation activation) {
  for (const ActivationRow& row : kActivations) {
    if (row.activation == activation) return row.name;
  }
  return "unknown";
}

void Activate(Activation activation, at::Tensor& x) {
  switch (activation) {
    case Activation::kGelu:
      at::gelu_(x, "none");
      break;
    case Activation::kGeluTanh:
      at::gelu_(x, "tanh");
      break;
    case Activation::kQuickGelu:
      x.mul_(at::mul(x, 1.702).sigmoid_());
      break;
    case Activation::kRelu:
      at::relu_(x);
      break;
    case Activation::kSilu:
      at::silu_(x);
      break;
  }
}

at::Tensor LayerNorm::Forward(const at::Tensor& x) const {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, epsilon);
}

LayerNorm ReadLayerNorm(const WeightScope& scope, std::int64_t width, double epsilon) {
  return {scope.Get("weight", {width}), scope.Get("bias", {width}), epsilon};
}

at::Tensor Attention::Forward(const at::Tensor& x, const at::Tensor& mask) const {
  const std::int64_t batch = x.size(0);
  const std::int64_t tokens = x.size(1);
  // [3, N, heads, T, head_dim], a view.
  const at::Tensor parts =
      qkv.Forward(x).view({batch, tokens, 3, heads, head_dim}).permute({2, 0, 3, 1, 4});
  rotary.Apply(parts.narrow(0, 0, 2));
  const at::Tensor added =
      bias.defined() && mask.defined() ? at::add(bias, mask) : (mask.defined() ? mask : bias);
  return output.Forward(
      ScaledDotProductAttention(parts[0], parts[1], parts[2], added,
                                /*scale=*/1.0 / std::sqrt(static_cast<double>(head_dim))));
}

at::Tensor Mlp::Forward(const at::Tensor& x) const {
  at::Tensor hidden = up.Forward(x);
  if (!gated) {
    if (activation == Activation::kGelu && down.fuses_gelu()) return down.ForwardGelu(hidden);
    Activate(activation, hidden);
    return down.Forward(hidden);
  }
  const std::int64_t width = hidden.size(-1) / 2;
  at::Tensor gate = hidden.narrow(-1, 0, width);
  Activate(activation, gate);
  return down.Forward(at::mul(gate, hidden.narrow(-1, width, width)));
}

void Block::Forward(at::Tensor& x, const at::Tensor& mask) const {
  AddScaled(x, attention.Forward(norm1.Forward(x), mask), scale1);
  AddScaled(x, mlp.Forward(norm2.Forward(x)), scale2);
}

}  // namespace pixembed
