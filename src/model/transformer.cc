#include "src/model/transformer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>

#include <cstdint>
#include <utility>

#include "src/model/layers.h"
#include "src/model/network.h"

namespace pixembed {

VisionTransformer::VisionTransformer(NetworkInfo info, TransformerParts parts)
    : info_(std::move(info)), parts_(std::move(parts)) {}

at::Tensor VisionTransformer::Embed(const at::Tensor& patches) const {
  at::Tensor embedded = parts_.projection.Forward(patches);
  if (!parts_.leading_tokens.defined()) return embedded.add_(parts_.patch_positions);
  const std::int64_t leading = parts_.leading_tokens.size(0);
  const std::int64_t count = embedded.size(1);
  at::Tensor x =
      at::empty({embedded.size(0), leading + count, embedded.size(2)}, embedded.options());
  x.narrow(1, 0, leading).copy_(parts_.leading_tokens);
  at::Tensor rest = x.narrow(1, leading, count);
  at::add_out(rest, embedded, parts_.patch_positions);
  return x;
}

at::Tensor VisionTransformer::Forward(const at::Tensor& patches) const {
  at::Tensor x = Embed(patches);
  if (parts_.norm_before.weight.defined()) x = parts_.norm_before.Forward(x);
  for (const Block& block : parts_.blocks) block.Forward(x);
  return parts_.norm_after.weight.defined() ? parts_.norm_after.Forward(x) : x;
}

}  // namespace pixembed
