// The layers of a vision transformer, as plain structs of weights. Internal to the room.
//
// All tensors are float32 and contiguous on one device, but for what lies inside a branch
// (BranchType of linear.h). Forward functions are const and thread-safe; they run under the
// caller's InferenceMode.
#ifndef PIXEMBED_SRC_MODEL_LAYERS_H_
#define PIXEMBED_SRC_MODEL_LAYERS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "src/model/activation.h"
#include "src/model/linear.h"
#include "src/model/rotary.h"
#include "src/model/weights.h"

namespace pixembed {

class ResidualStream;

// Normalizes over the last dimension.
struct LayerNorm {
  at::Tensor weight;  // [width]
  at::Tensor bias;    // [width]
  double epsilon = 0.0;

  at::Tensor Forward(const at::Tensor& x) const;
};

LayerNorm ReadLayerNorm(const WeightScope& scope, std::int64_t width, double epsilon);

// Multi-head self-attention over all tokens, scaled by 1/sqrt(head_dim).
struct Attention {
  Linear qkv;  // [3 * heads * head_dim, width]: queries, keys, values below each other
  Linear output;
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  at::Tensor bias;  // [1, heads, T, T], added to the scaled products; undefined: none
  Rotary rotary;

  // [N, T, width] -> the same. `mask`: [N, 1, 1, T], added to the scaled products: -infinity for
  // tokens that none shall look at; undefined: all look at all.
  at::Tensor Forward(const at::Tensor& x, const at::Tensor& mask = {}) const;

  // y += scale * Forward(x, mask). `scale`: [width], or undefined: 1.
  void AddTo(const at::Tensor& x, const at::Tensor& mask, const at::Tensor& scale,
             ResidualStream& y) const;

 private:
  at::Tensor Mix(const at::Tensor& x, const at::Tensor& mask) const;  // what `output` is given
};

// The feed-forward part of a block. Gated (SwiGLU and its like): `up` gives gate and value side by
// side, and what goes on is activation(gate) * value.
struct Mlp {
  Linear up;
  Linear down;
  Activation activation = Activation::kGelu;
  bool gated = false;

  at::Tensor Forward(const at::Tensor& x) const;  // [N, T, width] -> the same

  // y += scale * Forward(x). `scale`: [width], or undefined: 1.
  void AddTo(const at::Tensor& x, const at::Tensor& scale, ResidualStream& y) const;

 private:
  bool LeavesGeluToDown() const;
  at::Tensor Hidden(const at::Tensor& x) const;  // what `down` is given
};

// A pre-norm block: x += scale1 * attention(norm1(x)); x += scale2 * mlp(norm2(x)).
struct Block {
  LayerNorm norm1;
  Attention attention;
  at::Tensor scale1;  // [width], undefined where the family has no layer scale
  LayerNorm norm2;
  Mlp mlp;
  at::Tensor scale2;

  // [N, T, width], in place. `mask`: see Attention.
  void Forward(ResidualStream& x, const at::Tensor& mask = {}) const;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_LAYERS_H_
