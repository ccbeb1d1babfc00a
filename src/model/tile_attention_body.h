// The kernel of attention_kernel.h by tiles of bfloat16, over a type of them, for the files that
// name one and its instruction set: they define PIXEMBED_VECTOR_CODE, the attribute of every
// function here, first.
#ifndef PIXEMBED_SRC_MODEL_TILE_ATTENTION_BODY_H_
#define PIXEMBED_SRC_MODEL_TILE_ATTENTION_BODY_H_

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "src/model/attention_kernel.h"
#include "src/model/tile_steps.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

// V: a type with what TileSteps names, and
//   Begin(), End(), SplitInOrder, SplitPairs: as of TileBody;
//   of registers of 16 floats, Load, Store, Broadcast, Zero, Add, Subtract, Multiply, Max,
//   ReduceMax, ReduceAdd, Transpose, Exponential of numbers <= 0.
//
// What is multiplied is [2, steps] tiles, 32 rows; what it is multiplied with is
// [panels, steps, 2] tiles, panels of 32 columns; what comes out [panels, 2, 2] of floats.
template <typename V>
class TileAttentionBody {
 public:
  static std::size_t ScratchFloats(std::size_t tokens, std::size_t head_dim) {
    const std::size_t by_tokens = Panels(tokens);
    const std::size_t by_dims = Panels(head_dim);
    // Keys and values; queries and the weights of values; scores and what comes out.
    return (2 * by_tokens * by_dims * 2 + 2 * (by_dims + by_tokens) + 4 * (by_tokens + by_dims)) *
           kTileFloats;
  }

  PIXEMBED_VECTOR_CODE static void Run(const HeadAttention& head, float* scratch) {
    const std::size_t token_steps = Panels(head.tokens);
    const std::size_t dim_steps = Panels(head.head_dim);
    float* const scores = scratch;
    float* const mixed = scores + 4 * token_steps * kTileFloats;
    auto* const keys = reinterpret_cast<std::byte*>(mixed + 4 * dim_steps * kTileFloats);
    std::byte* const values = keys + token_steps * dim_steps * 2 * kTileBytes;
    std::byte* const queries = values + token_steps * dim_steps * 2 * kTileBytes;
    std::byte* const weights = queries + 2 * dim_steps * kTileBytes;
    PackKeys(head, keys);
    PackValues(head, values);
    V::Begin();
    for (std::size_t row = head.first; row < head.last; row += kRows) {
      const std::size_t rows = std::min(kRows, head.last - row);
      LoadQueries(head, row, rows, queries);
      Multiply(rows, queries, dim_steps, keys, token_steps, scores);
      float scales[kRows];
      for (std::size_t r = 0; r < rows; ++r) {
        const float* const added = head.added.data == nullptr ? nullptr : Row(head.added, row + r);
        scales[r] = Softmax(head.tokens, added, scores + RowOfSums(r),
                            weights + RowOfTiles(r, token_steps));
      }
      for (std::size_t r = rows; r < kRows; ++r) {
        ClearRow(token_steps, weights + RowOfTiles(r, token_steps));
      }
      Multiply(rows, weights, token_steps, values, dim_steps, mixed);
      for (std::size_t r = 0; r < rows; ++r) {
        StoreMixed(mixed + RowOfSums(r), head.head_dim, scales[r],
                   head.out + static_cast<std::ptrdiff_t>(row + r) * head.out_stride);
      }
    }
    V::End();
  }

 private:
  using Floats = typename V::Floats;
  static constexpr std::size_t kRows = 2 * kTileRows;
  static constexpr std::size_t kPanel = 2 * kTileColumns;
  static_assert(kPanel == kTileDepth);  // so that the steps of one product are panels of the other
  static constexpr std::size_t kPanelFloats = 4 * kTileFloats;
  // The weight of this score is 0 beside any other.
  static constexpr float kOut = -3.4028235e38F;

  static std::size_t Panels(std::size_t count) { return (count + kPanel - 1) / kPanel; }
  static std::size_t RowOfSums(std::size_t row) {
    return row / kTileRows * 2 * kTileFloats + row % kTileRows * kTileColumns;
  }
  static std::size_t RowOfTiles(std::size_t row, std::size_t steps) {
    return row / kTileRows * steps * kTileBytes + row % kTileRows * kTileLine;
  }
  static const float* Row(const HeadRows& rows, std::size_t index) {
    return rows.data + static_cast<std::ptrdiff_t>(index) * rows.stride;
  }

  // 16 floats from `first` on of a row of `count`, with zeros beyond; null: zeros.
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static Floats LoadPart(const float* row,
                                                                             std::size_t first,
                                                                             std::size_t count) {
    if (row == nullptr || first >= count) return V::Zero();
    if (first + kTileColumns <= count) return V::Load(row + first);
    alignas(64) float numbers[kTileColumns] = {};
    std::copy_n(row + first, count - first, numbers);
    return V::Load(numbers);
  }

  PIXEMBED_VECTOR_CODE static void PackKeys(const HeadAttention& head, std::byte* to) {
    alignas(64) std::byte lines[kTileBytes];
    for (std::size_t token = 0; token < head.tokens; token += kPanel) {
      for (std::size_t dim = 0; dim < head.head_dim; dim += kTileDepth) {
        for (std::size_t first = token; first < token + kPanel; first += kTileColumns) {
          for (std::size_t i = 0; i < kTileColumns; ++i) {
            const float* const key = first + i < head.tokens ? Row(head.keys, first + i) : nullptr;
            V::template SplitInOrder<1>(LoadPart(key, dim, head.head_dim),
                                        LoadPart(key, dim + kTileColumns, head.head_dim),
                                        lines + i * kTileLine, kTileBytes);
          }
          // A line for each pair of dimensions instead of for each token.
          Floats pairs[kTileRows];
          const auto* const from = reinterpret_cast<const float*>(lines);
          for (std::size_t i = 0; i < kTileRows; ++i) pairs[i] = V::Load(from + i * kTileColumns);
          V::Transpose(pairs);
          auto* const tile = reinterpret_cast<float*>(to);
          for (std::size_t i = 0; i < kTileRows; ++i) V::Store(tile + i * kTileColumns, pairs[i]);
          to += kTileBytes;
        }
      }
    }
  }

  PIXEMBED_VECTOR_CODE static void PackValues(const HeadAttention& head, std::byte* to) {
    const auto row = [&head](std::size_t token) {
      return token < head.tokens ? Row(head.values, token) : nullptr;
    };
    for (std::size_t dim = 0; dim < head.head_dim; dim += kPanel) {
      for (std::size_t token = 0; token < head.tokens; token += kTileDepth) {
        for (std::size_t first = dim; first < dim + kPanel; first += kTileColumns) {
          for (std::size_t i = 0; i < kTileDepth; i += 2, to += kTileLine) {
            V::template SplitPairs<1>(LoadPart(row(token + i), first, head.head_dim),
                                      LoadPart(row(token + i + 1), first, head.head_dim), to,
                                      kTileBytes);
          }
        }
      }
    }
  }

  PIXEMBED_VECTOR_CODE static void LoadQueries(const HeadAttention& head, std::size_t first,
                                               std::size_t rows, std::byte* queries) {
    const std::size_t steps = Panels(head.head_dim);
    const Floats scale = V::Broadcast(head.scale);
    for (std::size_t r = 0; r < kRows; ++r) {
      std::byte* to = queries + RowOfTiles(r, steps);
      if (r >= rows) {
        ClearRow(steps, to);
        continue;
      }
      const float* const query = Row(head.queries, first + r);
      for (std::size_t dim = 0; dim < head.head_dim; dim += kTileDepth, to += kTileBytes) {
        V::template SplitInOrder<1>(
            V::Multiply(LoadPart(query, dim, head.head_dim), scale),
            V::Multiply(LoadPart(query, dim + kTileColumns, head.head_dim), scale), to, kTileBytes);
      }
    }
  }

  static void ClearRow(std::size_t steps, std::byte* row) {
    for (std::size_t i = 0; i < steps; ++i) std::memset(row + i * kTileBytes, 0, kTileLine);
  }

  PIXEMBED_VECTOR_CODE static void Multiply(std::size_t rows, const std::byte* x, std::size_t steps,
                                            const std::byte* packed, std::size_t panels,
                                            float* out) {
    const TileSums sums = {
        .data = out, .row = kTileColumns, .right = kTileFloats, .down = 2 * kTileFloats};
    if (rows > kTileRows) {
      MultiplyPanels<2>(x, steps, packed, panels, sums);
    } else {
      MultiplyPanels<1>(x, steps, packed, panels, sums);
    }
  }

  template <int tiles>
  PIXEMBED_VECTOR_CODE static void MultiplyPanels(const std::byte* x, std::size_t steps,
                                                  const std::byte* packed, std::size_t panels,
                                                  TileSums sums) {
    using Tile = TileSteps<V, 1, tiles>;
    for (; panels > 0; --panels) {
      Tile::template ClearSums<0, tiles>();
      for (std::size_t step = 0; step < steps; ++step) {
        Tile::template MultiplyStep<0, tiles>(x, steps * kTileBytes, packed, step);
      }
      Tile::template StoreSums<0, tiles>(sums);
      packed += steps * 2 * kTileBytes;
      sums.data += kPanelFloats;
    }
  }

  // Of a row of scores, exp(scores + added - their maximum) to a row of tiles, 0 beyond `tokens`;
  // returns 1 / the sum of them.
  PIXEMBED_VECTOR_CODE static float Softmax(std::size_t tokens, const float* added, float* scores,
                                            std::byte* weights) {
    Floats maxima = V::Broadcast(kOut);
    for (std::size_t first = 0; first < Panels(tokens) * kPanel; first += kTileColumns) {
      float* const own = Scores(scores, first);
      const std::size_t count = first < tokens ? std::min(kTileColumns, tokens - first) : 0;
      if (added != nullptr && count > 0) {
        V::Store(own, V::Add(V::Load(own), LoadPart(added, first, tokens)));
      }
      if (count < kTileColumns) std::fill(own + count, own + kTileColumns, kOut);
      maxima = V::Max(maxima, V::Load(own));
    }
    const Floats maximum = V::Broadcast(V::ReduceMax(maxima));
    Floats sums = V::Zero();
    for (std::size_t first = 0; first < tokens; first += kPanel, weights += kTileBytes) {
      const float* const own = Scores(scores, first);
      const Floats low = V::Exponential(V::Subtract(V::Load(own), maximum));
      const Floats high = V::Exponential(V::Subtract(V::Load(own + kTileFloats), maximum));
      sums = V::Add(sums, V::Add(low, high));
      V::template SplitInOrder<1>(low, high, weights, kTileBytes);
    }
    return 1.0F / V::ReduceAdd(sums);
  }

  // Of a row, those of 16 tokens.
  static float* Scores(float* row, std::size_t first) {
    return row + first / kPanel * kPanelFloats + first % kPanel / kTileColumns * kTileFloats;
  }

  PIXEMBED_VECTOR_CODE static void StoreMixed(const float* mixed, std::size_t head_dim, float scale,
                                              float* out) {
    const Floats all = V::Broadcast(scale);
    for (std::size_t first = 0; first < head_dim; first += kTileColumns) {
      const float* const own =
          mixed + first / kPanel * kPanelFloats + first % kPanel / kTileColumns * kTileFloats;
      const Floats numbers = V::Multiply(V::Load(own), all);
      if (first + kTileColumns <= head_dim) {
        V::Store(out + first, numbers);
        continue;
      }
      alignas(64) float last[kTileColumns];
      V::Store(last, numbers);
      std::copy_n(last, head_dim - first, out + first);
    }
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_TILE_ATTENTION_BODY_H_
