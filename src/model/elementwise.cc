#include "src/model/elementwise.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>

#include "src/model/activation.h"

namespace pixembed {

void Activate(Activation activation, at::Tensor& x) {
  switch (activation) {
    case Activation::kNone:
      break;
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

void AddScaled(at::Tensor& x, const at::Tensor& y, const at::Tensor& scale) {
  if (scale.defined()) {
    x.addcmul_(y, scale);
  } else {
    x.add_(y);
  }
}

}  // namespace pixembed
