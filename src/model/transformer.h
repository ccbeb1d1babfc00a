// The vision transformer that all families so far are. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_TRANSFORMER_H_
#define PIXEMBED_SRC_MODEL_TRANSFORMER_H_

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <vector>

#include "src/model/device_kernels.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/position_map.h"

namespace pixembed {

// The parts of a vision transformer: tokens -> blocks -> norm.
struct TransformerParts {
  Linear projection;
  at::Tensor leading_tokens;   // [L, width]: class, distillation, register tokens with their
                               // positions added; undefined where there are none
  at::Tensor patch_positions;  // [P, width]; undefined where the family has none
  // Positions that are resized to the grid of each image. Where they are there
  // (NetworkInfo::max_patches is not 0 then), there are neither of the two above.
  std::unique_ptr<const PositionMap> position_map;
  LayerNorm norm_before;  // its weight is undefined where the family has none
  std::vector<Block> blocks;
  LayerNorm norm_after;  // likewise
  // Whether transformers' output_hidden_states are those of this class; see NetworkInfo.
  bool gives_hidden_states = true;
};

class VisionTransformer final : public Network {
 public:
  VisionTransformer(NetworkInfo info, TransformerParts parts);

  const NetworkInfo& info() const override { return info_; }
  HiddenStates Forward(const PatchBatch& batch, std::span<const int> layers) const override;

 private:
  at::Tensor Embed(const PatchBatch& batch) const;

  NetworkInfo info_;
  TransformerParts parts_;
  const DeviceKernels* kernels_;  // of the blocks; null: there are none
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_TRANSFORMER_H_
