// The kernel of float_kernel.h over a vector type, for the files that name one and the instruction
// set: they define PIXEMBED_VECTOR_CODE, the attribute of every function here, first.
#ifndef PIXEMBED_SRC_MODEL_FLOAT_KERNEL_BODY_H_
#define PIXEMBED_SRC_MODEL_FLOAT_KERNEL_BODY_H_

#include <algorithm>
#include <cstddef>
#include <utility>

#include "src/model/activation.h"
#include "src/model/float_kernel.h"
#include "src/model/panel_product.h"
#include "src/model/product_end_body.h"
#include "src/model/row_blocks.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

// V: a type with what PanelProduct, PackPanelOfRows and ProductEnd name, and
//   kVectors: registers of a panel's row; kInterleaved: of PanelProduct.
template <typename V>
class FloatBody {
 public:
  static constexpr std::size_t kColumns = V::kVectors * V::kLanes;

  // The bias [panels, kColumns], and for each block of the depth the panels [block, kColumns]; all
  // with zeros beyond the columns.
  static std::size_t PackedFloats(std::size_t depth, std::size_t columns) {
    return Panels(columns) * kColumns * (1 + depth);
  }

  PIXEMBED_VECTOR_CODE static void Pack(const float* weight, const float* bias, std::size_t depth,
                                        std::size_t columns, float* packed) {
    const std::size_t padded = Panels(columns) * kColumns;
    std::fill(packed, packed + padded, 0.0F);
    if (bias != nullptr) std::copy_n(bias, columns, packed);
    packed += padded;
    const std::size_t block = BlockDepth(depth);
    for (std::size_t first = 0; first < depth; first += block) {
      const std::size_t own = std::min(block, depth - first);
      for (std::size_t column = 0; column < padded; column += kColumns) {
        PackPanelOfRows<V>(weight + column * depth + first, static_cast<std::ptrdiff_t>(depth),
                           std::min(kColumns, columns - column), own, kColumns, packed);
        packed += own * kColumns;
      }
    }
  }

  static std::size_t ScratchFloats(const FloatProduct& product) {
    const std::size_t kept = product.add ? product.last_panel - product.first_panel : 1;
    // Not ChunkRows: of fewer rows, a chunk may have more.
    return std::min(product.rows, kMostRows) * (kStride + kept * kColumns);
  }

  PIXEMBED_VECTOR_CODE static void Run(const FloatProduct& product, float* scratch) {
    const std::size_t chunk = ChunkRows(product.rows);
    for (std::size_t row = 0; row < product.rows; row += chunk) {
      RunChunk(product, row, std::min(chunk, product.rows - row), scratch);
    }
  }

 private:
  using Floats = typename V::Floats;
  static constexpr std::size_t kLanes = V::kLanes;
  static constexpr std::size_t kRows = V::kRows;
  static constexpr std::size_t kVectors = V::kVectors;
  using End = ProductEnd<V, kColumns, kColumns, kLanes>;
  // Rows whose part of a block stays in the second cache while its panels pass.
  static constexpr std::size_t kMostRows = 320;

  // What is done with the sums of a block of rows and a panel, for a block of the depth.
  struct Tile {
    bool first = false;  // block of the depth
    bool last = false;
    float* partial = nullptr;  // the sums of the blocks so far
    std::ptrdiff_t partial_stride = 0;
    // After the last block:
    const float* bias = nullptr;
    End end;

    // Written or added to in a moment.
    template <std::size_t row>
    PIXEMBED_VECTOR_CODE __attribute__((always_inline)) void Prefetch() const {
      PrefetchRow(partial + static_cast<std::ptrdiff_t>(row) * partial_stride);
      if (last && end.add) PrefetchRow(end.out + static_cast<std::ptrdiff_t>(row) * end.out_stride);
    }

    PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void PrefetchRow(const float* row) {
      for (std::size_t column = 0; column < kColumns; column += kLineFloats) {
        __builtin_prefetch(row + column, 1);
      }
    }

    template <std::size_t... rows, std::size_t... vectors>
    PIXEMBED_VECTOR_CODE __attribute__((always_inline)) void Take(
        Floats* sums, std::index_sequence<rows...> /*all*/,
        std::index_sequence<vectors...> all) const {
      alignas(64) static constexpr float kZeros[kColumns] = {};
      const float* const shift = last ? bias : kZeros;
      if (!first) (AddRow<rows>(sums, *this, all), ...);
      const bool whole = end.activation == Activation::kNone && end.columns == kColumns;
      if (last && end.add && whole) {
        if (end.scale == nullptr) {
          (AddToOut<rows, false>(sums, *this, all), ...);
        } else {
          (AddToOut<rows, true>(sums, *this, all), ...);
        }
        return;
      }
      const bool follows = last && !whole;
      alignas(64) float y[sizeof...(rows) * kColumns];
      float* to = last ? end.out : partial;
      std::ptrdiff_t to_stride = last ? end.out_stride : partial_stride;
      if (follows) {
        to = y;
        to_stride = kColumns;
      }
      (StoreRow<rows>(sums, shift, to, to_stride, all), ...);
      if (follows) end.Take(y, sizeof...(rows));
    }

    void Advance(std::size_t rows) {
      partial += static_cast<std::ptrdiff_t>(rows) * partial_stride;
      end.out += static_cast<std::ptrdiff_t>(rows) * end.out_stride;
    }
  };

  using Product = PanelProduct<V, kVectors, Tile, V::kInterleaved>;
  static constexpr std::size_t kStride = Product::kStride;

  static std::size_t Panels(std::size_t columns) { return (columns + kColumns - 1) / kColumns; }
  static std::size_t Blocks(std::size_t depth) { return (depth + V::kDepth - 1) / V::kDepth; }
  // All but the last are so deep.
  static std::size_t BlockDepth(std::size_t depth) {
    const std::size_t blocks = std::max<std::size_t>(Blocks(depth), 1);
    const std::size_t even = (depth + blocks - 1) / blocks;
    return std::max<std::size_t>(
        (even + Product::kUnroll - 1) / Product::kUnroll * Product::kUnroll, Product::kUnroll);
  }
  static std::size_t ChunkRows(std::size_t rows) {
    const std::size_t chunks = (rows + kMostRows - 1) / kMostRows;
    return chunks == 0 ? 0 : (rows + chunks - 1) / chunks;
  }
  // Of the sums of several blocks. They are kept in `out` where it is whole panels, and does not
  // hold what they are added to.
  static bool KeepsInScratch(const FloatProduct& product, std::size_t panel) {
    return product.add || (panel + 1) * kColumns > product.columns;
  }
  static std::size_t KeptPanels(const FloatProduct& product) {
    if (Blocks(product.depth) <= 1) return 0;
    if (product.add) return product.last_panel - product.first_panel;
    return KeepsInScratch(product, product.last_panel - 1) ? 1 : 0;
  }

  PIXEMBED_VECTOR_CODE static void RunChunk(const FloatProduct& product, std::size_t first_row,
                                            std::size_t rows, float* scratch) {
    float* const x = scratch;                      // of LoadRows
    float* const kept = scratch + rows * kStride;  // [rows, kept_columns]
    const std::size_t kept_panels = KeptPanels(product);
    const std::size_t padded = Panels(product.columns) * kColumns;
    const std::size_t block = BlockDepth(product.depth);
    const float* packed = product.packed + padded;
    Tile tile;
    tile.end = {
        .activation = product.activation, .add = product.add, .out_stride = product.out_stride};
    for (std::size_t first = 0; first < product.depth; first += block) {
      const std::size_t depth = std::min(block, product.depth - first);
      tile.first = first == 0;
      tile.last = first + depth == product.depth;
      LoadRows(product.x + static_cast<std::ptrdiff_t>(first_row) * product.x_stride + first,
               product.x_stride, rows, depth, x);
      for (std::size_t panel = product.first_panel; panel < product.last_panel; ++panel) {
        const std::size_t column = panel * kColumns;
        tile.end.columns = std::min(kColumns, product.columns - column);
        tile.bias = product.packed + column;
        tile.end.scale = product.scale == nullptr ? nullptr : product.scale + column;
        tile.end.out =
            product.out + static_cast<std::ptrdiff_t>(first_row) * product.out_stride + column;
        if (kept_panels > 0 && KeepsInScratch(product, panel)) {
          tile.partial = kept + (panel - (product.last_panel - kept_panels)) * kColumns;
          tile.partial_stride = static_cast<std::ptrdiff_t>(kept_panels * kColumns);
        } else {
          tile.partial = tile.end.out;
          tile.partial_stride = tile.end.out_stride;
        }
        Product::RunAll(rows, x, packed + column * depth, depth, kColumns * depth, tile);
      }
      packed += padded * depth;
    }
  }

  // Rows that begin `stride` floats apart, to the blocks of RunAll.
  PIXEMBED_VECTOR_CODE static void LoadRows(const float* from, std::ptrdiff_t stride,
                                            std::size_t rows, std::size_t depth, float* x) {
    while (rows > 0) {
      const std::size_t own = NextBlock(rows, kRows);
      Product::LoadBlock(from, stride, own, depth, x);
      from += static_cast<std::ptrdiff_t>(own) * stride;
      x += Product::BlockNumbers(own, depth);
      rows -= own;
    }
  }

  template <std::size_t row, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void AddRow(
      Floats* sums, const Tile& tile, std::index_sequence<vectors...> /*all*/) {
    const float* const partial =
        tile.partial + static_cast<std::ptrdiff_t>(row) * tile.partial_stride;
    ((sums[row * kVectors + vectors] =
          V::Add(V::Load(partial + vectors * kLanes), sums[row * kVectors + vectors])),
     ...);
  }

  template <std::size_t row, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void StoreRow(
      const Floats* sums, const float* shift, float* to, std::ptrdiff_t stride,
      std::index_sequence<vectors...> /*all*/) {
    (V::Store(to + static_cast<std::ptrdiff_t>(row) * stride + vectors * kLanes,
              V::Add(sums[row * kVectors + vectors], V::Load(shift + vectors * kLanes))),
     ...);
  }

  // out += sums + bias; scaled: out += scale * (sums + bias).
  template <std::size_t row, bool scaled, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void AddToOut(
      const Floats* sums, const Tile& tile, std::index_sequence<vectors...> /*all*/) {
    float* const out = tile.end.out + static_cast<std::ptrdiff_t>(row) * tile.end.out_stride;
    (V::Store(
         out + vectors * kLanes,
         End::Added(scaled ? tile.end.scale + vectors * kLanes : nullptr,
                    V::Load(out + vectors * kLanes),
                    V::Add(sums[row * kVectors + vectors], V::Load(tile.bias + vectors * kLanes)))),
     ...);
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_FLOAT_KERNEL_BODY_H_
