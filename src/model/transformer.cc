#include "src/model/transformer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "src/model/layers.h"
#include "src/model/network.h"

namespace pixembed {

VisionTransformer::VisionTransformer(NetworkInfo info, TransformerParts parts)
    : info_(std::move(info)), parts_(std::move(parts)) {
  info_.hidden_states = parts_.gives_hidden_states ? static_cast<int>(parts_.blocks.size()) + 1 : 0;
}

at::Tensor VisionTransformer::Embed(const at::Tensor& patches) const {
  at::Tensor embedded = parts_.projection.Forward(patches);
  const at::Tensor& positions = parts_.patch_positions;
  if (!parts_.leading_tokens.defined()) {
    return positions.defined() ? embedded.add_(positions) : embedded;
  }
  const std::int64_t leading = parts_.leading_tokens.size(0);
  const std::int64_t count = embedded.size(1);
  at::Tensor x =
      at::empty({embedded.size(0), leading + count, embedded.size(2)}, embedded.options());
  x.narrow(1, 0, leading).copy_(parts_.leading_tokens);
  at::Tensor rest = x.narrow(1, leading, count);
  if (positions.defined()) {
    at::add_out(rest, embedded, positions);
  } else {
    rest.copy_(embedded);
  }
  return x;
}

HiddenStates VisionTransformer::Forward(const at::Tensor& patches,
                                        std::span<const int> layers) const {
  HiddenStates states;
  const auto keep = [&](int layer, const at::Tensor& x) {
    const std::size_t next = states.layers.size();
    // A copy: the blocks work in place.
    if (next < layers.size() && layers[next] == layer) states.layers.push_back(x.clone());
  };
  at::Tensor x = Embed(patches);
  if (parts_.norm_before.weight.defined()) x = parts_.norm_before.Forward(x);
  int layer = 0;
  for (const Block& block : parts_.blocks) {
    keep(layer++, x);
    block.Forward(x);
  }
  keep(layer, x);
  states.last = parts_.norm_after.weight.defined() ? parts_.norm_after.Forward(x) : x;
  return states;
}

}  // namespace pixembed
