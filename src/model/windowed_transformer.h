// The hierarchical transformer with attention inside windows that Swin is. Internal to the room.
//
// A grid of tokens is cut into windows, every second block after a cyclic shift; a token attends to
// those of its window. Between stages, four neighbouring tokens become one of twice the width.
// Cutting, shifting, padding and merging only move whole tokens: each is a list of indices that is
// made once, at load.
#ifndef PIXEMBED_SRC_MODEL_WINDOWED_TRANSFORMER_H_
#define PIXEMBED_SRC_MODEL_WINDOWED_TRANSFORMER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "src/image/image.h"
#include "src/model/layers.h"
#include "src/model/network.h"

namespace pixembed {

// The windows of a grid. A grid that is no multiple of `window` is padded with zeros at the bottom
// and at the right.
struct Windows {
  Size grid;
  int window = 0;  // side, in tokens
  int shift = 0;   // how far tokens move up and left before the grid is cut; they wrap around

  Size padded() const;
  std::int64_t count() const;
  std::int64_t window_tokens() const { return std::int64_t{window} * window; }
};

// Picks tokens: place i of the result is token index[i], or zeros where that is the count of
// tokens.
struct TokenOrder {
  at::Tensor index;  // [M] int64
  bool has_zeros = false;

  at::Tensor Forward(const at::Tensor& x) const;  // [N, T, width] -> [N, M, width]
};

// The grid, row by row -> the windows, one after the other, each row by row; and back.
TokenOrder PartitionOrder(const Windows& windows);
TokenOrder ReverseOrder(const Windows& windows);

// The grid -> groups of four that are to become one token: (0, 0), (1, 0), (0, 1), (1, 1), as (row,
// column). Zeros where a side is odd.
TokenOrder MergeOrder(Size grid);
Size MergedGrid(Size grid);

// Whether two tokens of a window were neighbours before the shift: 0 where they may attend to each
// other, `blocked` elsewhere. [count(), window_tokens(), window_tokens()] float32; undefined
// without a shift.
at::Tensor ShiftMask(const Windows& windows, double blocked);

// Which of the (2 * window - 1)^2 displacements lies between two tokens of a window:
// [window_tokens()^2] int64. Displacements are counted row by row from (1 - window, 1 - window).
at::Tensor RelativePositionIndex(int window);

// Multi-head self-attention inside windows.
struct WindowAttention {
  Linear qkv;  // [3 * width, width]: queries, keys, values below each other
  Linear output;
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t window_tokens = 0;
  // Added to the scores: [1, heads, window_tokens, window_tokens], or for each window of an image:
  // [windows, ...].
  at::Tensor bias;
  // [heads, 1, 1]: scores are cosines times this. Undefined: products divided by sqrt(head_dim).
  at::Tensor cosine_scale;

  // [N, windows * window_tokens, width] -> the same.
  at::Tensor Forward(const at::Tensor& x) const;
};

struct WindowBlock {
  TokenOrder partition;
  TokenOrder reverse;
  LayerNorm norm1;
  WindowAttention attention;
  LayerNorm norm2;
  Mlp mlp;
  bool post_norm = false;  // norms what attention and mlp give, not what they get

  void Forward(at::Tensor& x) const;  // [N, T, width], in place
};

struct PatchMerging {
  TokenOrder order;
  Linear reduction;  // [2 * width, 4 * width]
  LayerNorm norm;
  bool post_norm = false;

  at::Tensor Forward(const at::Tensor& x) const;  // [N, T, width] -> [N, T / 4, 2 * width]
};

struct WindowStage {
  std::vector<WindowBlock> blocks;
  std::optional<PatchMerging> merging;
};

struct WindowedTransformerParts {
  // Set where the network gets whole images, because they are no multiple of the patch: the patch
  // that it pads them for.
  std::optional<Size> pads_to_patch;
  Linear projection;
  LayerNorm norm_before;
  at::Tensor positions;  // [P, width], undefined where the model has none
  std::vector<WindowStage> stages;
  LayerNorm norm_after;
};

class WindowedTransformer final : public Network {
 public:
  WindowedTransformer(NetworkInfo info, WindowedTransformerParts parts);

  const NetworkInfo& info() const override { return info_; }
  // Gives no layers: the hidden states of the stages differ in shape.
  HiddenStates Forward(const PatchBatch& batch, std::span<const int> layers) const override;

 private:
  at::Tensor CutPadded(const at::Tensor& images) const;

  NetworkInfo info_;
  WindowedTransformerParts parts_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_WINDOWED_TRANSFORMER_H_
