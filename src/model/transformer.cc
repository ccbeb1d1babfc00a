#include "src/model/transformer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/position_map.h"
#include "src/model/residual_stream.h"

namespace pixembed {
namespace {

// `embedded`: [N, P, width], in place. What is padded gets the position of the image's first patch.
void AddResizedPositions(const PositionMap& map, std::span<const Size> grids,
                         at::Tensor& embedded) {
  const std::int64_t patches = embedded.size(1);
  for (std::size_t i = 0; i < grids.size(); ++i) {
    const std::int64_t own = Count(grids[i]);
    const at::Tensor positions = map.For(grids[i]);
    const at::Tensor image = embedded[static_cast<std::int64_t>(i)];
    image.narrow(0, 0, own).add_(positions);
    image.narrow(0, own, patches - own).add_(positions[0]);
  }
}

std::vector<std::int64_t> OwnTokens(std::span<const Size> grids) {
  std::vector<std::int64_t> tokens;
  tokens.reserve(grids.size());
  for (const Size grid : grids) tokens.push_back(Count(grid));
  return tokens;
}

// What keeps attention from the padding of the images, for Attention::Forward; undefined where
// there is none.
at::Tensor PaddingMask(std::span<const std::int64_t> own_tokens, const at::Tensor& x) {
  const std::int64_t tokens = x.size(1);
  if (std::ranges::all_of(own_tokens, [&](std::int64_t own) { return own == tokens; })) return {};
  at::Tensor mask = at::zeros({x.size(0), 1, 1, tokens}, at::kFloat);
  for (std::size_t i = 0; i < own_tokens.size(); ++i) {
    mask[static_cast<std::int64_t>(i)]
        .narrow(-1, own_tokens[i], tokens - own_tokens[i])
        .fill_(-std::numeric_limits<float>::infinity());
  }
  return mask.to(x.device());
}

}  // namespace

VisionTransformer::VisionTransformer(NetworkInfo info, TransformerParts parts)
    : info_(std::move(info)),
      parts_(std::move(parts)),
      kernels_(parts_.blocks.empty() ? nullptr : parts_.blocks.front().attention.qkv.kernels()) {
  info_.patch_splitter = parts_.projection.kernels();
  info_.hidden_states = parts_.gives_hidden_states ? static_cast<int>(parts_.blocks.size()) + 1 : 0;
}

at::Tensor VisionTransformer::Embed(const PatchBatch& batch) const {
  at::Tensor embedded = parts_.projection.Forward(batch.patches);
  if (parts_.position_map != nullptr) {
    AddResizedPositions(*parts_.position_map, batch.grids, embedded);
    return embedded;
  }
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

HiddenStates VisionTransformer::Forward(const PatchBatch& batch,
                                        std::span<const int> layers) const {
  HiddenStates states;
  if (info_.max_patches > 0) states.own_tokens = OwnTokens(batch.grids);
  const auto keep = [&](int layer, ResidualStream& stream) {
    const std::size_t next = states.layers.size();
    // A copy: the blocks work in place.
    if (next < layers.size() && layers[next] == layer) {
      states.layers.push_back(stream.Sum().clone());
    }
  };
  at::Tensor x = Embed(batch);
  const at::Tensor mask = PaddingMask(states.own_tokens, x);
  if (parts_.norm_before.weight.defined()) x = parts_.norm_before.Forward(x);
  ResidualStream stream(std::move(x), kernels_);
  int layer = 0;
  for (const Block& block : parts_.blocks) {
    keep(layer++, stream);
    block.Forward(stream, mask);
  }
  keep(layer, stream);
  states.last =
      parts_.norm_after.weight.defined() ? stream.Normalized(parts_.norm_after) : stream.Sum();
  return states;
}

}  // namespace pixembed
