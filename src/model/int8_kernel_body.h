// The kernel of integer_kernel.h over a vector type, for the files that name one and the
// instruction set: they define PIXEMBED_VECTOR_CODE, the attribute of every function here, first.
//
// Rows of x become bytes q with x = low + scale q, weights signed bytes w with W = weight_scale w:
// then W x = weight_scale scale (sum of q w) + low weight_scale (sum of w), whose last factor is
// known when the weight is packed.
#ifndef PIXEMBED_SRC_MODEL_INT8_KERNEL_BODY_H_
#define PIXEMBED_SRC_MODEL_INT8_KERNEL_BODY_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "src/model/gelu_body.h"
#include "src/model/integer_kernel.h"
#include "src/model/row_blocks.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

// V: a type with
//   Ints, Floats: registers, Ints as a vector of int of GCC's own (of an array of Intel's integer
//   registers it keeps a copy in memory, which halves the speed); kLanes: numbers in one;
//   kRows x kVectors: the block of sums that fits into the registers beside its operands;
//   Dot(sums, bytes, weights): sums + the products of four unsigned and four signed bytes each;
//   ToFloats(Ints), StoreBytes(numbers from 0 to 255, to): rounded to nearest even;
//   and, of Floats, what Gelu names, Load, Store, Subtract, ReduceMin, ReduceMax, HasNan,
//   LoadFirst(from, count): the first repeated beyond `count` < kLanes.
template <typename V>
class Int8Body {
 public:
  static std::size_t PackedBytes(std::size_t depth, std::size_t columns) {
    return Panels(columns) * PanelBytes(depth);
  }

  PIXEMBED_VECTOR_CODE static void Pack(const float* weight, std::size_t depth, std::size_t columns,
                                        std::byte* packed) {
    for (std::size_t first = 0; first < columns; first += kColumns) {
      for (std::size_t c = 0; c < kColumns; ++c) {
        PackColumn(first + c < columns ? weight + (first + c) * depth : nullptr, depth, c, packed);
      }
      packed += PanelBytes(depth);
    }
  }

  static std::size_t ScratchBytes(std::size_t rows, std::size_t depth) {
    return rows * (PaddedDepth(depth) + Groups(depth) * sizeof(RowScale)) +
           kRows * kColumns * sizeof(float);
  }

  PIXEMBED_VECTOR_CODE static void Run(const IntegerProduct& product, std::byte* scratch) {
    const std::size_t depth = product.depth;
    const std::size_t groups = Groups(depth);
    auto* const sums = reinterpret_cast<float*>(scratch);                       // [kRows, kColumns]
    auto* const scales = reinterpret_cast<RowScale*>(sums + kRows * kColumns);  // [rows, groups]
    auto* const bytes = reinterpret_cast<std::uint8_t*>(scales + product.rows * groups);
    for (std::size_t row = 0; row < product.rows; ++row) {
      Quantize(product, product.x + static_cast<std::ptrdiff_t>(row) * product.x_stride,
               bytes + row * PaddedDepth(depth), scales + row * groups);
    }
    const std::byte* panel = product.weight;
    // The panels of a large model come from memory: the next one is fetched meanwhile, in so many
    // lines for each block of rows and group.
    const std::size_t steps = (product.rows + kRows - 1) / kRows * groups;
    const std::size_t fetched = (PanelBytes(depth) / kLine + steps) / steps;
    for (std::size_t column = 0; column < product.columns; column += kColumns) {
      const std::byte* next = panel + PanelBytes(depth);
      std::size_t row = 0;
      while (row < product.rows) {
        const std::size_t rows = NextBlock(product.rows - row, kRows);
        MultiplyBlock(rows, bytes + row * PaddedDepth(depth), scales + row * groups, panel, depth,
                      {next, fetched}, sums);
        next += fetched * groups * kLine;
        Finish(product, sums, row, rows, column);
        row += rows;
      }
      panel += PanelBytes(depth);
    }
  }

 private:
  using Ints = typename V::Ints;
  using Floats = typename V::Floats;
  static constexpr std::size_t kLanes = V::kLanes;
  static constexpr std::size_t kRows = V::kRows;
  static constexpr std::size_t kVectors = V::kVectors;
  static constexpr std::size_t kColumns = kVectors * kLanes;  // of a panel of the packed weight
  static constexpr std::size_t kQuad = 4;                     // bytes that are multiplied together
  static constexpr std::size_t kLine = 64;                    // bytes of a line of the caches
  static constexpr float kLargestWeight = 127.0F;
  static constexpr float kLargestByte = 255.0F;
  static constexpr float kNegligible = 1e-30F;

  // Of a row's group.
  struct RowScale {
    float scale = 0.0F;
    float low = 0.0F;
  };

  // What is read soon: `lines` of the caches for each group. Any address will do.
  struct Soon {
    const std::byte* next;
    std::size_t lines;
  };

  static std::size_t Groups(std::size_t depth) { return (depth + kInt8Group - 1) / kInt8Group; }
  static std::size_t Panels(std::size_t columns) { return (columns + kColumns - 1) / kColumns; }
  // Whole registers of bytes, so that rows can be written by them.
  static std::size_t PaddedDepth(std::size_t depth) {
    return (depth + kLanes - 1) / kLanes * kLanes;
  }
  static std::size_t GroupQuads(std::size_t depth, std::size_t group) {
    const std::size_t channels = std::min(kInt8Group, PaddedDepth(depth) - group * kInt8Group);
    return channels / kQuad;
  }

  // A panel: for each group, the bytes [quads, kColumns, kQuad], the scales [kColumns] and the
  // scaled sums of the bytes [kColumns].
  static constexpr std::size_t kGroupScaleBytes = 2 * kColumns * sizeof(float);
  static std::size_t PanelBytes(std::size_t depth) {
    return PaddedDepth(depth) * kColumns + Groups(depth) * kGroupScaleBytes;
  }

  // `weights`: of one output channel; null: zeros.
  PIXEMBED_VECTOR_CODE static void PackColumn(const float* weights, std::size_t depth,
                                              std::size_t column, std::byte* panel) {
    for (std::size_t group = 0; group < Groups(depth); ++group) {
      const std::size_t quads = GroupQuads(depth, group);
      float channels[kInt8Group] = {};
      if (weights != nullptr) {
        const std::size_t first = group * kInt8Group;
        std::copy_n(weights + first, std::min(kInt8Group, depth - first), channels);
      }
      float largest = 0.0F;
      bool finite = true;
      for (const float channel : channels) {
        largest = std::max(largest, std::abs(channel));
        finite = finite && std::isfinite(channel);
      }
      const float scale =
          finite ? largest / kLargestWeight : std::numeric_limits<float>::quiet_NaN();
      // The smallest numbers have no inverse.
      const float inverse = largest > kNegligible ? kLargestWeight / largest : 0.0F;
      std::int32_t rounded[kInt8Group];
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < kInt8Group; ++i) {
        const float level =
            std::min(std::max(channels[i] * inverse, -kLargestWeight), kLargestWeight);
        rounded[i] = finite ? static_cast<std::int32_t>(std::nearbyint(level)) : 0;
        sum += rounded[i];
      }
      for (std::size_t i = 0; i < quads * kQuad; ++i) {
        panel[(i / kQuad * kColumns + column) * kQuad + i % kQuad] =
            static_cast<std::byte>(static_cast<std::int8_t>(rounded[i]));
      }
      panel += quads * kColumns * kQuad;
      auto* const scales = reinterpret_cast<float*>(panel);
      scales[column] = scale;
      scales[kColumns + column] = scale * static_cast<float>(sum);
      panel += kGroupScaleBytes;
    }
  }

  PIXEMBED_VECTOR_CODE static void Quantize(const IntegerProduct& product, const float* x,
                                            std::uint8_t* bytes, RowScale* scales) {
    constexpr std::size_t kGroupVectors = kInt8Group / kLanes;
    for (std::size_t first = 0; first < product.depth; first += kInt8Group) {
      Floats numbers[kGroupVectors];
      const std::size_t channels = std::min(kInt8Group, product.depth - first);
      const std::size_t vectors = (channels + kLanes - 1) / kLanes;
      for (std::size_t v = 0; v < vectors; ++v) {
        const std::size_t left = channels - v * kLanes;
        numbers[v] = left < kLanes ? V::LoadFirst(x + first + v * kLanes, left)
                                   : V::Load(x + first + v * kLanes);
        if (product.gelu) numbers[v] = Gelu<V>(numbers[v]);
      }
      Floats lowest = numbers[0];
      Floats highest = numbers[0];
      Floats sum = numbers[0];
      for (std::size_t v = 1; v < vectors; ++v) {
        lowest = V::Min(lowest, numbers[v]);
        highest = V::Max(highest, numbers[v]);
        sum = V::Add(sum, numbers[v]);  // Min and Max may drop a NaN
      }
      const float low = V::ReduceMin(lowest);
      const float range = V::ReduceMax(highest) - low;
      *scales++ = {V::HasNan(sum) ? std::numeric_limits<float>::quiet_NaN() : range / kLargestByte,
                   low};
      const Floats shift = V::Broadcast(low);
      const Floats factor = V::Broadcast(range > kNegligible ? kLargestByte / range : 0.0F);
      const Floats most = V::Broadcast(kLargestByte);
      for (std::size_t v = 0; v < vectors; ++v) {
        const Floats level = V::Multiply(V::Subtract(numbers[v], shift), factor);
        V::StoreBytes(V::Min(level, most), bytes + first + v * kLanes);
      }
    }
  }

  template <std::size_t row, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE static void Clear(Ints* sums, std::index_sequence<vectors...> /*all*/) {
    ((sums[row * kVectors + vectors] = Ints{}), ...);
  }

  template <std::size_t row, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE static void MultiplyRow(const std::uint8_t* quad, const Ints* weights,
                                               Ints* sums,
                                               std::index_sequence<vectors...> /*all*/) {
    std::int32_t bytes;
    std::memcpy(&bytes, quad, sizeof(bytes));
    const Ints operand = V::BroadcastInts(bytes);
    ((sums[row * kVectors + vectors] =
          V::Dot(sums[row * kVectors + vectors], operand, weights[vectors])),
     ...);
  }

  template <std::size_t vector, std::size_t... rows>
  PIXEMBED_VECTOR_CODE static void AddGroup(const Ints* sums, const RowScale* row_scales,
                                            std::size_t groups, const float* scales, float* out,
                                            std::index_sequence<rows...> /*all*/) {
    const Floats scale = V::Load(scales + vector * kLanes);
    const Floats sum = V::Load(scales + kColumns + vector * kLanes);
    (AddTo(out + rows * kColumns + vector * kLanes,
           V::Multiply(V::ToFloats(sums[rows * kVectors + vector]), scale), sum,
           row_scales[rows * groups]),
     ...);
  }

  PIXEMBED_VECTOR_CODE static void AddTo(float* out, Floats product, Floats sum,
                                         const RowScale& row) {
    const Floats scaled = V::MultiplyAdd(product, V::Broadcast(row.scale), V::Load(out));
    V::Store(out, V::MultiplyAdd(sum, V::Broadcast(row.low), scaled));
  }

  // [rows, depth] x a panel -> out [rows, kColumns]. 0 < rows <= kRows.
  PIXEMBED_VECTOR_CODE static void MultiplyBlock(std::size_t rows, const std::uint8_t* bytes,
                                                 const RowScale* scales, const std::byte* panel,
                                                 std::size_t depth, Soon soon, float* out) {
    static constexpr std::array kFunctions = Functions(std::make_index_sequence<kRows>());
    kFunctions[rows - 1](bytes, scales, panel, depth, soon, out);
  }

  using Function = void (*)(const std::uint8_t*, const RowScale*, const std::byte*, std::size_t,
                            Soon, float*);

  template <std::size_t... less>
  static constexpr std::array<Function, kRows> Functions(std::index_sequence<less...> /*all*/) {
    return {MultiplyRows<less + 1>...};
  }

  template <std::size_t rows>
  PIXEMBED_VECTOR_CODE static void MultiplyRows(const std::uint8_t* bytes, const RowScale* scales,
                                                const std::byte* panel, std::size_t depth,
                                                Soon soon, float* out) {
    MultiplyGroups(bytes, scales, panel, depth, soon, out, std::make_index_sequence<rows>(),
                   std::make_index_sequence<kVectors>());
  }

  // Every index of an array of registers is a constant: else they lie in memory.
  template <std::size_t... rows, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void MultiplyGroups(
      const std::uint8_t* bytes, const RowScale* scales, const std::byte* panel, std::size_t depth,
      Soon soon, float* out, std::index_sequence<rows...> every_row,
      std::index_sequence<vectors...> all) {
    std::fill(out, out + sizeof...(rows) * kColumns, 0.0F);
    const std::size_t stride = PaddedDepth(depth);
    const std::size_t groups = Groups(depth);
    for (std::size_t group = 0; group < groups; ++group) {
      // Here `out` is in memory: the compiler would keep some of it in registers, and spill them.
      asm volatile("" : : : "memory");
      for (std::size_t line = 0; line < soon.lines; ++line) {
        __builtin_prefetch(soon.next, 0, 2);
        soon.next += kLine;
      }
      Ints sums[sizeof...(rows) * kVectors];
      (Clear<rows>(sums, all), ...);
      const std::size_t quads = GroupQuads(depth, group);
      for (std::size_t quad = 0; quad < quads; ++quad) {
        const Ints weights[] = {V::LoadInts(panel + vectors * kLanes * kQuad)...};
        (MultiplyRow<rows>(bytes + rows * stride, weights, sums, all), ...);
        panel += kColumns * kQuad;
        bytes += kQuad;
      }
      (AddGroup<vectors>(sums, scales + group, groups, reinterpret_cast<const float*>(panel), out,
                         every_row),
       ...);
      panel += kGroupScaleBytes;
    }
  }

  // Adds the bias, and writes what is within the product.
  PIXEMBED_VECTOR_CODE static void Finish(const IntegerProduct& product, const float* sums,
                                          std::size_t row, std::size_t rows, std::size_t column) {
    const std::size_t columns = std::min(kColumns, product.columns - column);
    for (std::size_t r = 0; r < rows; ++r) {
      float* const out =
          product.out + static_cast<std::ptrdiff_t>(row + r) * product.out_stride + column;
      const float* const own = sums + r * kColumns;
      if (product.bias == nullptr) {
        std::copy_n(own, columns, out);
      } else {
        for (std::size_t c = 0; c < columns; ++c) out[c] = own[c] + product.bias[column + c];
      }
    }
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_INT8_KERNEL_BODY_H_
