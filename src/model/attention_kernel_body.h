// The kernel of attention_kernel.h over a vector type, for the files that name one and the
// instruction set: they define PIXEMBED_VECTOR_CODE, the attribute of every function here, first.
#ifndef PIXEMBED_SRC_MODEL_ATTENTION_KERNEL_BODY_H_
#define PIXEMBED_SRC_MODEL_ATTENTION_KERNEL_BODY_H_

#include <algorithm>
#include <cstddef>
#include <utility>

#include "src/model/attention_kernel.h"
#include "src/model/panel_product.h"
#include "src/model/row_blocks.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

// V: a type with what PanelProduct and PackPanelOfRows name, where kDepth is whole panels, and
//   kVectors: registers of a panel's row; Store, Add, Subtract, Max, ReduceMax, ReduceAdd,
//   Exponential.
//
// What is multiplied is cut in the depth into blocks of kDepth: [blocks, kRows, kStride], as
// PanelProduct wants its rows. What it is multiplied with is packed into panels of kColumns, the
// last of which may be of one register: [panels, depth, the panel's columns].
template <typename V>
class AttentionBody {
 public:
  static std::size_t ScratchFloats(std::size_t tokens, std::size_t head_dim) {
    return head_dim * Padded(tokens) + tokens * Padded(head_dim) + RowsFloats(tokens) +
           2 * RowsFloats(head_dim);
  }

  PIXEMBED_VECTOR_CODE static void Run(const HeadAttention& head, float* scratch) {
    // What the vectors run over comes first: its rows are whole registers.
    float* const keys = scratch;  // head_dim deep, a column for each token
    float* const values = keys + head.head_dim * Padded(head.tokens);  // the other way round
    float* const scores = values + head.tokens * Padded(head.head_dim);
    float* const queries = scores + RowsFloats(head.tokens);
    float* const mixed = queries + RowsFloats(head.head_dim);
    PackKeys(head, keys);
    PackValues(head, values);
    std::size_t row = head.first;
    while (row < head.last) {
      const std::size_t rows = NextBlock(head.last - row, kRows);
      for (std::size_t r = 0; r < rows; ++r) {
        LoadQuery(Row(head.queries, row + r), head.head_dim, head.scale, queries + r * kStride);
      }
      Multiply(rows, queries, head.head_dim, keys, head.tokens, scores);
      float scales[kRows];
      for (std::size_t r = 0; r < rows; ++r) {
        const float* const added = head.added.data == nullptr ? nullptr : Row(head.added, row + r);
        scales[r] = Softmax(head.tokens, added, scores + r * kStride);
      }
      Multiply(rows, scores, head.tokens, values, head.head_dim, mixed);
      for (std::size_t r = 0; r < rows; ++r) {
        StoreMixed(mixed + r * kStride, head.head_dim, scales[r],
                   head.out + static_cast<std::ptrdiff_t>(row + r) * head.out_stride);
      }
      row += rows;
    }
  }

 private:
  using Register = typename V::Floats;
  static constexpr std::size_t kLanes = V::kLanes;
  static constexpr std::size_t kRows = V::kRows;
  static constexpr std::size_t kDepth = V::kDepth;

  // Stores the sums of a panel, or adds them to what is there.
  template <std::size_t kVectors>
  struct Sums {
    float* to = nullptr;  // rows kStride apart
    bool add = false;

    template <std::size_t row>
    PIXEMBED_VECTOR_CODE __attribute__((always_inline)) void Prefetch() const {}

    template <std::size_t... rows, std::size_t... vectors>
    PIXEMBED_VECTOR_CODE __attribute__((always_inline)) void Take(
        Register* sums, std::index_sequence<rows...> /*all*/,
        std::index_sequence<vectors...> all) const {
      if (add) (AddRow<rows>(sums, all), ...);
      (StoreRow<rows>(sums, all), ...);
    }

   private:
    template <std::size_t row, std::size_t... vectors>
    PIXEMBED_VECTOR_CODE __attribute__((always_inline)) void AddRow(
        Register* sums, std::index_sequence<vectors...> /*all*/) const {
      ((sums[row * kVectors + vectors] =
            V::Add(V::Load(to + row * kStride + vectors * kLanes), sums[row * kVectors + vectors])),
       ...);
    }

    template <std::size_t row, std::size_t... vectors>
    PIXEMBED_VECTOR_CODE __attribute__((always_inline)) void StoreRow(
        const Register* sums, std::index_sequence<vectors...> /*all*/) const {
      (V::Store(to + row * kStride + vectors * kLanes, sums[row * kVectors + vectors]), ...);
    }
  };

  template <std::size_t kVectors>
  using Product = PanelProduct<V, kVectors, Sums<kVectors>>;
  using Whole = Product<V::kVectors>;
  static constexpr std::size_t kColumns = Whole::kColumns;
  static constexpr std::size_t kStride = Whole::kStride;
  static constexpr std::size_t kBlock = kRows * kStride;
  static_assert(kDepth % kColumns == 0);

  static std::size_t Padded(std::size_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

  // kRows rows of `numbers`, cut into blocks.
  static std::size_t RowsFloats(std::size_t numbers) {
    return (numbers + kDepth - 1) / kDepth * kBlock;
  }

  // Of the panel that begins with this column.
  static std::size_t PanelColumns(std::size_t column, std::size_t columns) {
    return columns - column > kLanes ? kColumns : kLanes;
  }

  static const float* Row(const HeadRows& rows, std::size_t index) {
    return rows.data + static_cast<std::ptrdiff_t>(index) * rows.stride;
  }

  PIXEMBED_VECTOR_CODE static void PackKeys(const HeadAttention& head, float* packed) {
    for (std::size_t token = 0; token < head.tokens; token += kColumns) {
      const std::size_t columns = PanelColumns(token, head.tokens);
      PackPanelOfRows<V>(Row(head.keys, token), head.keys.stride,
                         std::min(columns, head.tokens - token), head.head_dim, columns, packed);
      packed += head.head_dim * columns;
    }
  }

  PIXEMBED_VECTOR_CODE static void PackValues(const HeadAttention& head, float* packed) {
    for (std::size_t first = 0; first < head.head_dim; first += kColumns) {
      const std::size_t columns = PanelColumns(first, head.head_dim);
      const std::size_t own = std::min(columns, head.head_dim - first);
      for (std::size_t token = 0; token < head.tokens; ++token, packed += columns) {
        std::copy_n(Row(head.values, token) + first, own, packed);
        std::fill(packed + own, packed + columns, 0.0F);
      }
    }
  }

  PIXEMBED_VECTOR_CODE static void LoadQuery(const float* query, std::size_t head_dim, float scale,
                                             float* to) {
    for (std::size_t first = 0; first < head_dim; first += kDepth, to += kBlock) {
      const std::size_t own = std::min(kDepth, head_dim - first);
      for (std::size_t d = 0; d < own; ++d) to[d] = query[first + d] * scale;
    }
  }

  PIXEMBED_VECTOR_CODE static void StoreMixed(const float* mixed, std::size_t head_dim, float scale,
                                              float* out) {
    for (std::size_t first = 0; first < head_dim; first += kDepth, mixed += kBlock) {
      const std::size_t own = std::min(kDepth, head_dim - first);
      for (std::size_t d = 0; d < own; ++d) out[first + d] = mixed[d] * scale;
    }
  }

  // [rows, depth] x [depth, columns] -> [rows, columns], of which whole registers are written.
  PIXEMBED_VECTOR_CODE static void Multiply(std::size_t rows, const float* x, std::size_t depth,
                                            const float* packed, std::size_t columns, float* out) {
    for (std::size_t column = 0; column < columns; column += kColumns) {
      float* const to = out + column / kDepth * kBlock + column % kDepth;
      if (PanelColumns(column, columns) == kColumns) {
        packed = MultiplyPanel<V::kVectors>(rows, x, depth, packed, {.to = to});
      } else {
        packed = MultiplyPanel<1>(rows, x, depth, packed, {.to = to});
      }
    }
  }

  // Returns the end of the panel.
  template <std::size_t vectors>
  PIXEMBED_VECTOR_CODE static const float* MultiplyPanel(std::size_t rows, const float* x,
                                                         std::size_t depth, const float* panel,
                                                         Sums<vectors> sums) {
    for (std::size_t first = 0; first < depth; first += kDepth, x += kBlock) {
      const std::size_t own = std::min(kDepth, depth - first);
      const float* const next = panel + own * Product<vectors>::kColumns;
      Product<vectors>::Run(rows, x, panel, own, next, sums);
      sums.add = true;
      panel = next;
    }
    return panel;
  }

  // scores -> exp(scores + added - their maximum), 0 beyond `tokens`; returns 1 / the sum of them.
  PIXEMBED_VECTOR_CODE static float Softmax(std::size_t tokens, const float* added, float* scores) {
    Register maxima = V::Broadcast(kOut);
    for (std::size_t first = 0; first < tokens; first += kDepth) {
      float* const own = scores + first / kDepth * kBlock;
      const std::size_t count = std::min(kDepth, tokens - first);
      if (added != nullptr) {
        for (std::size_t i = 0; i < count; ++i) own[i] += added[first + i];
      }
      std::fill(own + count, own + Padded(count), kOut);
      for (std::size_t i = 0; i < count; i += kLanes) maxima = V::Max(maxima, V::Load(own + i));
    }
    const Register maximum = V::Broadcast(V::ReduceMax(maxima));
    Register sums = V::Zero();
    for (std::size_t first = 0; first < tokens; first += kDepth) {
      float* const own = scores + first / kDepth * kBlock;
      const std::size_t count = std::min(kDepth, tokens - first);
      for (std::size_t i = 0; i < count; i += kLanes) {
        const Register weight = V::Exponential(V::Subtract(V::Load(own + i), maximum));
        V::Store(own + i, weight);
        sums = V::Add(sums, weight);
      }
    }
    return 1.0F / V::ReduceAdd(sums);
  }

  // The weight of this score is 0 beside any other.
  static constexpr float kOut = -3.4028235e38F;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_ATTENTION_KERNEL_BODY_H_
