#include "src/model/product_reference.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/linspace.h>
#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include "src/model/device_kernels.h"

namespace pixembed {
namespace {

constexpr std::int64_t kMostRows = 256;
// Of a row's length. Rounding to bfloat16 leaves 2e-3 at most; a part of the sum that is left out,
// its share's root: of 16 in 4096 numbers 6e-2.
constexpr double kTolerance = 1e-2;
// Of GELU, for each number: the hardware's tanh is exact to 11 bits.
constexpr double kGeluTolerance = 2e-3;

// Computed in this type throughout.
at::Tensor MultiplyIn(at::ScalarType type, const ProductOperands& operands) {
  at::Tensor y =
      at::linear(operands.x.to(type), operands.weight.to(type),
                 operands.bias.defined() ? std::optional(operands.bias.to(type)) : std::nullopt);
  if (operands.gelu) at::gelu_(y, "tanh");
  return y;
}

}  // namespace

at::Tensor MultiplyInFloat32(const ProductOperands& operands) {
  return MultiplyIn(at::kFloat, operands);
}

at::Tensor MultiplyByLibTorch(const ProductOperands& operands) {
  return MultiplyIn(operands.out, operands);
}

bool IsProduct(const ProductOperands& operands, const at::Tensor& y) {
  const at::Tensor x = operands.x.view({-1, operands.x.size(-1)});
  const at::Tensor results = y.view({-1, y.size(-1)});
  const std::int64_t rows = x.size(0);
  const at::Tensor some =
      at::linspace(0, rows - 1, std::min(rows, kMostRows), x.options().dtype(at::kDouble))
          .round()
          .to(at::kLong);
  ProductOperands few = operands;
  few.x = at::index_select(x, 0, some);
  const at::Tensor expected = MultiplyInFloat32(few);
  const at::Tensor distance =
      at::index_select(results, 0, some).to(at::kFloat).sub(expected).norm(2, {-1});
  const double gelu =
      operands.gelu ? kGeluTolerance * std::sqrt(static_cast<double>(y.size(-1))) : 0.0;
  // Not "greater": what is no number is neither.
  return distance.le(expected.norm(2, {-1}).mul(kTolerance).add(gelu)).all().item<bool>();
}

}  // namespace pixembed
