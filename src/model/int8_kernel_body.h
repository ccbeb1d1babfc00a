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
//   kQuads: the quads of bytes of a row that are multiplied at once; Dot(sums, bytes, weights):
//   sums + the products of four unsigned and four signed bytes each, of bytes[i] and
//   weights[i * kVectors] for all i < kQuads; kLargestByte: of the unsigned ones; kMostOfOneSign:
//   0, or the largest sum of signed ones of one sign that Dot adds up in 16 bits: at places 2 i and
//   2 i + 1 of all its quads;
//   ToFloats(Ints), StoreBytes(numbers from 0 to 255, to): rounded to nearest even;
//   and, of Floats, what Gelu names, Load, Store, Subtract, ReduceMin, ReduceMax, HasNan,
//   LoadFirst(from, count): the first repeated beyond `count` < kLanes.
template <typename V>
class Int8Body {
 public:
  static constexpr std::int32_t kLargestActivation = V::kLargestByte;

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
      alignas(64) float bias[kColumns] = {};
      const std::size_t columns = std::min(kColumns, product.columns - column);
      if (product.bias != nullptr) std::copy_n(product.bias + column, columns, bias);
      const std::byte* next = panel + PanelBytes(depth);
      std::size_t row = 0;
      while (row < product.rows) {
        const std::size_t rows = NextBlock(product.rows - row, kRows);
        float* const out =
            product.out + static_cast<std::ptrdiff_t>(row) * product.out_stride + column;
        const bool whole = columns == kColumns;
        MultiplyBlock(rows, bytes + row * PaddedDepth(depth), scales + row * groups, panel, depth,
                      {next, fetched},
                      {.bias = bias,
                       .tile = sums,
                       .to = whole ? out : sums,
                       .stride = whole ? product.out_stride : std::ptrdiff_t{kColumns}});
        next += fetched * groups * kLine;
        for (std::size_t r = 0; !whole && r < rows; ++r) {
          std::copy_n(sums + r * kColumns, columns,
                      out + static_cast<std::ptrdiff_t>(r) * product.out_stride);
        }
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
  static_assert(kLanes % (V::kQuads * kQuad) == 0);           // what PaddedDepth relies on
  static constexpr float kLargestWeight = 127.0F;
  static constexpr float kLargestByte = V::kLargestByte;
  // Times a sum of weights: the least weight that may become kLargestWeight, so that the sum of the
  // whole numbers is kMostOfOneSign at most, however its 2 kQuads numbers are rounded.
  static constexpr float kWeightOfSum =
      kLargestWeight / static_cast<float>(V::kMostOfOneSign - std::int32_t{V::kQuads});
  static constexpr float kNegligible = 1e-30F;

  // Of a row's group.
  struct RowScale {
    float scale = 0.0F;
    float low = 0.0F;
  };

  // Where the sums of a block and a panel go.
  struct Sums {
    const float* bias;  // [kColumns]
    float* tile;        // [kRows, kColumns], what they are kept in between the groups
    float* to;          // after the last
    std::ptrdiff_t stride;
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
      if constexpr (V::kMostOfOneSign > 0) {
        largest = std::max(largest, LargestSum(channels) * kWeightOfSum);
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

  // The largest sum of weights of one sign that Dot adds up in 16 bits, of a group's channels.
  static float LargestSum(const float* channels) {
    float largest = 0.0F;
    for (std::size_t first = 0; first < kInt8Group; first += V::kQuads * kQuad) {
      for (std::size_t pair = first; pair < first + kQuad; pair += 2) {
        float positive = 0.0F;
        float negative = 0.0F;
        for (std::size_t i = pair; i < pair + V::kQuads * kQuad; i += kQuad) {
          positive += std::max(channels[i], 0.0F) + std::max(channels[i + 1], 0.0F);
          negative -= std::min(channels[i], 0.0F) + std::min(channels[i + 1], 0.0F);
        }
        largest = std::max({largest, positive, negative});
      }
    }
    return largest;
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

  template <std::size_t... rows, std::size_t... loads>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void MultiplyStep(
      const std::uint8_t* bytes, std::size_t stride, const std::byte* panel, Ints* sums,
      std::index_sequence<rows...> /*all*/, std::index_sequence<loads...> /*all*/) {
    const Ints weights[] = {V::LoadInts(panel + loads * kLanes * kQuad)...};
    (MultiplyRow<rows>(bytes + rows * stride, weights, sums, std::make_index_sequence<kVectors>(),
                       std::make_index_sequence<V::kQuads>()),
     ...);
  }

  // `weights`: [kQuads, kVectors].
  template <std::size_t row, std::size_t... vectors, std::size_t... quads>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void MultiplyRow(
      const std::uint8_t* bytes, const Ints* weights, Ints* sums,
      std::index_sequence<vectors...> /*all*/, std::index_sequence<quads...> /*all*/) {
    const Ints operands[] = {BroadcastQuad(bytes + quads * kQuad)...};
    ((sums[row * kVectors + vectors] =
          V::Dot(sums[row * kVectors + vectors], operands, weights + vectors)),
     ...);
  }

  PIXEMBED_VECTOR_CODE static Ints BroadcastQuad(const std::uint8_t* bytes) {
    std::int32_t quad;
    std::memcpy(&quad, bytes, sizeof(quad));
    return V::BroadcastInts(quad);
  }

  // What the sums of a group are added to, and where to.
  struct Tile {
    const float* before;
    std::ptrdiff_t before_stride;
    float* to;
    std::ptrdiff_t stride;
  };

  // `scales`: those of the panel's group.
  template <std::size_t row, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void AddGroup(
      const Ints* sums, const RowScale& own, const float* scales, const Tile& tile,
      std::index_sequence<vectors...> /*all*/) {
    const float* const before = tile.before + static_cast<std::ptrdiff_t>(row) * tile.before_stride;
    float* const to = tile.to + static_cast<std::ptrdiff_t>(row) * tile.stride;
    const Floats scale = V::Broadcast(own.scale);
    const Floats low = V::Broadcast(own.low);
    (V::Store(to + vectors * kLanes,
              V::MultiplyAdd(V::Load(scales + kColumns + vectors * kLanes), low,
                             V::MultiplyAdd(V::Multiply(V::ToFloats(sums[row * kVectors + vectors]),
                                                        V::Load(scales + vectors * kLanes)),
                                            scale, V::Load(before + vectors * kLanes)))),
     ...);
  }

  // [rows, depth] x a panel + bias -> out [rows, kColumns]. 0 < rows <= kRows.
  PIXEMBED_VECTOR_CODE static void MultiplyBlock(std::size_t rows, const std::uint8_t* bytes,
                                                 const RowScale* scales, const std::byte* panel,
                                                 std::size_t depth, Soon soon, const Sums& out) {
    static constexpr std::array kFunctions = Functions(std::make_index_sequence<kRows>());
    kFunctions[rows - 1](bytes, scales, panel, depth, soon, out);
  }

  using Function = void (*)(const std::uint8_t*, const RowScale*, const std::byte*, std::size_t,
                            Soon, const Sums&);

  template <std::size_t... less>
  static constexpr std::array<Function, kRows> Functions(std::index_sequence<less...> /*all*/) {
    return {MultiplyRows<less + 1>...};
  }

  template <std::size_t rows>
  PIXEMBED_VECTOR_CODE static void MultiplyRows(const std::uint8_t* bytes, const RowScale* scales,
                                                const std::byte* panel, std::size_t depth,
                                                Soon soon, const Sums& out) {
    MultiplyGroups(bytes, scales, panel, depth, soon, out, std::make_index_sequence<rows>(),
                   std::make_index_sequence<kVectors>());
  }

  // Every index of an array of registers is a constant: else they lie in memory.
  template <std::size_t... rows, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void MultiplyGroups(
      const std::uint8_t* bytes, const RowScale* scales, const std::byte* panel, std::size_t depth,
      Soon soon, const Sums& out, std::index_sequence<rows...> every_row,
      std::index_sequence<vectors...> all) {
    const std::size_t stride = PaddedDepth(depth);
    const std::size_t groups = Groups(depth);
    for (std::size_t group = 0; group < groups; ++group) {
      // Here the tile is in memory: the compiler would keep some of it in registers, and spill
      // them.
      asm volatile("" : : : "memory");
      for (std::size_t line = 0; line < soon.lines; ++line) {
        __builtin_prefetch(soon.next, 0, 2);
        soon.next += kLine;
      }
      Ints sums[sizeof...(rows) * kVectors];
      (Clear<rows>(sums, all), ...);
      const std::size_t quads = GroupQuads(depth, group);
      for (std::size_t quad = 0; quad < quads; quad += V::kQuads) {
        MultiplyStep(bytes, stride, panel, sums, every_row,
                     std::make_index_sequence<V::kQuads * kVectors>());
        panel += V::kQuads * kColumns * kQuad;
        bytes += V::kQuads * kQuad;
      }
      const bool last = group + 1 == groups;
      const Tile tile = {.before = group == 0 ? out.bias : out.tile,
                         .before_stride = group == 0 ? 0 : std::ptrdiff_t{kColumns},
                         .to = last ? out.to : out.tile,
                         .stride = last ? out.stride : std::ptrdiff_t{kColumns}};
      (AddGroup<rows>(sums, scales[rows * groups + group], reinterpret_cast<const float*>(panel),
                      tile, all),
       ...);
      panel += kGroupScaleBytes;
    }
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_INT8_KERNEL_BODY_H_
