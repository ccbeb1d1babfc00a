// The int16 kernel of integer_kernel.h over a vector type, for the files that name one and the
// instruction set: they define PIXEMBED_VECTOR_CODE, the attribute of every function here, first.
//
// A group of a row of x becomes integers q with x = scale q, that of a weight's row integers w with
// W = weight_scale w: then W x = weight_scale scale (sum of q w), and the groups are added. Both
// lie in pairs, whose products are added at once.
#ifndef PIXEMBED_SRC_MODEL_INT16_KERNEL_BODY_H_
#define PIXEMBED_SRC_MODEL_INT16_KERNEL_BODY_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "src/model/gelu_body.h"
#include "src/model/integer_kernel.h"
#include "src/model/panel_product.h"
#include "src/model/row_blocks.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

// V: a type with
//   what PanelProduct names, of pairs of shorts as its numbers, with Interleave of whole registers;
//   kVectors: registers of a panel's row; Floats, a register of as many floats, and of it
//   what Gelu names, Load, Store, Magnitude, ReduceMax, HasNan, LoadFirst(from, count): the first
//   repeated beyond `count` < kLanes; ToFloats(Register): of sums; StorePairs(floats, to): rounded
//   to nearest even, kLanes / 2 pairs.
template <typename V>
class Int16Body {
 public:
  static constexpr std::int32_t kLargestActivation = 4095;

  static std::size_t PackedBytes(std::size_t depth, std::size_t columns) {
    return Panels(columns) * PanelPairs(depth) * sizeof(Pair);
  }

  PIXEMBED_VECTOR_CODE static void Pack(const float* weight, std::size_t depth, std::size_t columns,
                                        std::byte* packed) {
    auto* panel = reinterpret_cast<Pair*>(packed);
    for (std::size_t column = 0; column < columns; column += kColumns) {
      for (std::size_t first = 0; first < depth; first += kInt16Group) {
        const std::size_t channels = std::min(kInt16Group, depth - first);
        for (std::size_t c = 0; c < kColumns; ++c) {
          PackColumn(column + c < columns ? weight + (column + c) * depth + first : nullptr,
                     channels, c, panel);
        }
        panel += GroupPairs(channels);
      }
    }
  }

  static std::size_t ScratchBytes(std::size_t rows, std::size_t depth) {
    return rows *
           (kColumns * sizeof(float) + Pairs(depth) * sizeof(Pair) + Groups(depth) * sizeof(float));
  }

  PIXEMBED_VECTOR_CODE static void Run(const IntegerProduct& product, std::byte* scratch) {
    const std::size_t rows = product.rows;
    const std::size_t depth = product.depth;
    auto* const sums = reinterpret_cast<float*>(scratch);                 // [rows, kColumns]
    auto* const pairs = reinterpret_cast<Pair*>(sums + rows * kColumns);  // of Quantize, by group
    auto* const scales = reinterpret_cast<float*>(pairs + rows * Pairs(depth));  // [groups, rows]
    for (std::size_t group = 0; group < Groups(depth); ++group) {
      Quantize(product, group, pairs + rows * Pairs(group * kInt16Group), scales + group * rows);
    }
    const auto* weights = reinterpret_cast<const Pair*>(product.weight);
    for (std::size_t column = 0; column < product.columns; column += kColumns) {
      alignas(64) float bias[kColumns] = {};
      const std::size_t columns = std::min(kColumns, product.columns - column);
      if (product.bias != nullptr) std::copy_n(product.bias + column, columns, bias);
      for (std::size_t group = 0; group < Groups(depth); ++group) {
        const std::size_t channels = std::min(kInt16Group, depth - group * kInt16Group);
        const bool last = group + 1 == Groups(depth);
        const bool whole = last && columns == kColumns;
        Product::RunAll(
            rows, pairs + rows * Pairs(group * kInt16Group), weights, Pairs(channels),
            GroupPairs(channels),
            {.before = group == 0 ? bias : sums,
             .before_stride = group == 0 ? 0 : std::ptrdiff_t{kColumns},
             .scales = scales + group * rows,
             .weight_scales = reinterpret_cast<const float*>(weights + Pairs(channels) * kColumns),
             .to = whole ? product.out + column : sums,
             .stride = whole ? product.out_stride : std::ptrdiff_t{kColumns}});
        weights += GroupPairs(channels);
      }
      if (columns == kColumns) continue;
      for (std::size_t row = 0; row < rows; ++row) {
        std::copy_n(sums + row * kColumns, columns,
                    product.out + static_cast<std::ptrdiff_t>(row) * product.out_stride + column);
      }
    }
  }

 private:
  using Pair = typename V::Number;
  using Sums = typename V::Register;
  using Floats = typename V::Floats;
  static constexpr std::size_t kLanes = V::kLanes;
  static constexpr std::size_t kRows = V::kRows;
  static constexpr std::size_t kColumns = V::kVectors * kLanes;  // of a panel
  // The largest that leave the sum of a group within 32 bits.
  static constexpr float kLargestWeight = 2047.0F;
  static constexpr float kLargest = kLargestActivation;
  static_assert(kInt16Group * 2047 * kLargestActivation <=
                std::numeric_limits<std::int32_t>::max());
  // Smaller numbers have no inverse.
  static constexpr float kNegligible = 1e-30F;

  // The sums of a block of rows and a panel, of a group.
  struct Tile {
    const float* before = nullptr;  // what they are added to
    std::ptrdiff_t before_stride = 0;
    const float* scales = nullptr;         // of the rows
    const float* weight_scales = nullptr;  // [kColumns]
    float* to = nullptr;
    std::ptrdiff_t stride = 0;

    template <std::size_t row>
    PIXEMBED_VECTOR_CODE __attribute__((always_inline)) void Prefetch() const {
      const float* const own = to + static_cast<std::ptrdiff_t>(row) * stride;
      for (std::size_t column = 0; column < kColumns; column += kLineFloats) {
        __builtin_prefetch(own + column, 1);
      }
    }

    template <std::size_t... rows, std::size_t... vectors>
    PIXEMBED_VECTOR_CODE __attribute__((always_inline)) void Take(
        const Sums* sums, std::index_sequence<rows...> /*all*/,
        std::index_sequence<vectors...> all) const {
      (TakeRow<rows>(sums, *this, all), ...);
    }

    void Advance(std::size_t rows) {
      before += static_cast<std::ptrdiff_t>(rows) * before_stride;
      scales += rows;
      to += static_cast<std::ptrdiff_t>(rows) * stride;
    }
  };

  using Product = PanelProduct<V, V::kVectors, Tile, /*interleaved=*/true>;
  static_assert(Product::kColumns == kColumns && V::kDepth * 2 == kInt16Group);

  static std::size_t Groups(std::size_t depth) { return (depth + kInt16Group - 1) / kInt16Group; }
  static std::size_t Panels(std::size_t columns) { return (columns + kColumns - 1) / kColumns; }
  // Of so many channels: whole registers of pairs.
  static std::size_t Pairs(std::size_t channels) {
    return (channels + 2 * kLanes - 1) / (2 * kLanes) * kLanes;
  }
  // Of a group of a panel: the pairs [Pairs(channels), kColumns], and the scales, floats,
  // [kColumns].
  static std::size_t GroupPairs(std::size_t channels) { return (Pairs(channels) + 1) * kColumns; }
  static std::size_t PanelPairs(std::size_t depth) {
    return (Pairs(depth) + Groups(depth)) * kColumns;
  }

  // `weights`: of one output channel; null: zeros.
  PIXEMBED_VECTOR_CODE static void PackColumn(const float* weights, std::size_t channels,
                                              std::size_t column, Pair* group) {
    float largest = 0.0F;
    bool finite = true;
    for (std::size_t i = 0; weights != nullptr && i < channels; ++i) {
      largest = std::max(largest, std::abs(weights[i]));
      finite = finite && std::isfinite(weights[i]);
    }
    const float inverse = largest > kNegligible ? kLargestWeight / largest : 0.0F;
    const auto level = [&](std::size_t i) -> std::uint32_t {
      if (weights == nullptr || i >= channels || !finite) return 0;
      const float own = std::min(std::max(weights[i] * inverse, -kLargestWeight), kLargestWeight);
      return static_cast<std::uint16_t>(static_cast<std::int16_t>(std::nearbyint(own)));
    };
    const std::size_t pairs = Pairs(channels);
    for (std::size_t i = 0; i < pairs; ++i) {
      group[i * kColumns + column] = static_cast<Pair>(level(2 * i) | level(2 * i + 1) << 16U);
    }
    reinterpret_cast<float*>(group + pairs * kColumns)[column] =
        finite ? largest / kLargestWeight : std::numeric_limits<float>::quiet_NaN();
  }

  // A group of all rows, to the blocks of RunAll.
  PIXEMBED_VECTOR_CODE static void Quantize(const IntegerProduct& product, std::size_t group,
                                            Pair* to, float* scales) {
    const std::size_t first = group * kInt16Group;
    const std::size_t channels = std::min(kInt16Group, product.depth - first);
    const std::size_t pairs = Pairs(channels);
    alignas(64) Pair block[kRows * kInt16Group / 2] = {};
    std::size_t row = 0;
    while (row < product.rows) {
      const std::size_t rows = NextBlock(product.rows - row, kRows);
      for (std::size_t r = 0; r < rows; ++r) {
        const float* const x =
            product.x + static_cast<std::ptrdiff_t>(row + r) * product.x_stride + first;
        *scales++ = QuantizeRow(x, channels, product.gelu, block + r * pairs);
      }
      Product::LoadBlock(block, static_cast<std::ptrdiff_t>(pairs), rows, pairs, to);
      to += Product::BlockNumbers(rows, pairs);
      row += rows;
    }
  }

  // Returns the scale. What is beyond the channels, within a register, is multiplied with zeros.
  PIXEMBED_VECTOR_CODE static float QuantizeRow(const float* x, std::size_t channels, bool gelu,
                                                Pair* to) {
    Floats numbers[kInt16Group / kLanes];
    const std::size_t vectors = (channels + kLanes - 1) / kLanes;
    Floats largest = V::Broadcast(0.0F);
    Floats sum = largest;
    for (std::size_t v = 0; v < vectors; ++v) {
      const std::size_t left = channels - v * kLanes;
      Floats own = left < kLanes ? V::LoadFirst(x + v * kLanes, left) : V::Load(x + v * kLanes);
      if (gelu) own = Gelu<V>(own);
      numbers[v] = own;
      largest = V::Max(largest, V::Magnitude(own));
      sum = V::Add(sum, own);  // Max may drop a NaN
    }
    const float most = V::ReduceMax(largest);
    const Floats factor = V::Broadcast(most > kNegligible ? kLargest / most : 0.0F);
    for (std::size_t v = 0; v < vectors; ++v) {
      V::StorePairs(V::Multiply(numbers[v], factor), to + v * kLanes / 2);
    }
    return V::HasNan(sum) ? std::numeric_limits<float>::quiet_NaN() : most / kLargest;
  }

  template <std::size_t row, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void TakeRow(
      const Sums* sums, const Tile& tile, std::index_sequence<vectors...> /*all*/) {
    const float* const before = tile.before + static_cast<std::ptrdiff_t>(row) * tile.before_stride;
    float* const to = tile.to + static_cast<std::ptrdiff_t>(row) * tile.stride;
    const Floats scale = V::Broadcast(tile.scales[row]);
    (V::Store(to + vectors * kLanes,
              V::MultiplyAdd(V::Multiply(V::ToFloats(sums[row * V::kVectors + vectors]),
                                         V::Load(tile.weight_scales + vectors * kLanes)),
                             scale, V::Load(before + vectors * kLanes))),
     ...);
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_INT16_KERNEL_BODY_H_
