#include "src/model/rotary.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/roll.h>

#include <cstdint>

#include "src/model/weights.h"

namespace pixembed {

void Rotary::Apply(const at::Tensor& points) const {
  if (!cos.defined()) return;
  const std::int64_t tokens = cos.size(0);
  const at::Tensor own = points.narrow(-2, points.size(-2) - tokens, tokens);
  const at::Tensor turned = own.to(cos.scalar_type());  // itself where it is float32
  const at::Tensor swapped = at::roll(turned, {turned.size(-1) / 2}, {-1});
  turned.mul_(cos).addcmul_(swapped, sin);
  if (!turned.is_same(own)) own.copy_(turned);
}

Rotary MakeRotary(const at::Tensor& angles, const WeightReader& reader) {
  const at::Tensor cos = angles.cos();
  const at::Tensor sin = angles.sin();
  return {reader.Place(at::cat({cos, cos}, 1)), reader.Place(at::cat({sin.neg(), sin}, 1))};
}

at::Tensor AxialAngles(const at::Tensor& rows, const at::Tensor& columns,
                       const at::Tensor& frequencies) {
  const std::int64_t height = rows.size(0);
  const std::int64_t width = columns.size(0);
  const std::int64_t count = frequencies.size(0);
  const at::Tensor of_rows = rows.unsqueeze(1).mul(frequencies).view({height, 1, count});
  const at::Tensor of_columns = columns.unsqueeze(1).mul(frequencies).view({1, width, count});
  return at::cat(
             {of_rows.expand({height, width, count}), of_columns.expand({height, width, count})}, 2)
      .view({height * width, 2 * count});
}

}  // namespace pixembed
