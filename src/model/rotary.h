// Rotary position embeddings. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_ROTARY_H_
#define PIXEMBED_SRC_MODEL_ROTARY_H_

#include <ATen/core/Tensor.h>

#include "src/model/weights.h"

namespace pixembed {

// Turns queries and keys by angles that depend on the token's place: number i of a head and number
// i + head_dim / 2 are the two coordinates of a point.
// Source: transformers 5.23.0 models/dinov3_vit/modeling_dinov3_vit.py apply_rotary_pos_emb,
// models/mlcd/modeling_mlcd.py apply_rotary_pos_emb_vision.
struct Rotary {
  // [P, head_dim]: the last P tokens are turned. Undefined: none are.
  at::Tensor cos;
  at::Tensor sin;  // its first half negated

  // In place, where there is something to do. `points`: [..., T, head_dim], T >= P.
  // Computes in float32, whatever the type of the points.
  void Apply(const at::Tensor& points) const;
};

// `angles`: [P, head_dim / 2] on the CPU. The result lies where `reader` places tensors.
Rotary MakeRotary(const at::Tensor& angles, const WeightReader& reader);

// The angles of a grid: [rows.size * columns.size, 2 * frequencies.size], row by row; first those
// of the row, then those of the column, each its position times every frequency.
at::Tensor AxialAngles(const at::Tensor& rows, const at::Tensor& columns,
                       const at::Tensor& frequencies);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_ROTARY_H_
