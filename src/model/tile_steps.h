// Products of tiles of bfloat16, for the kernels of the room. For the files that name a type of
// tiles and its instruction set: they define PIXEMBED_VECTOR_CODE, the attribute of every function
// here, first.
//
// What a CPU multiplies by tiles is bfloat16, whose products it adds up in float32. One part: what
// is multiplied is rounded to it. Three parts: each number is the sum of three of bfloat16, which
// have 24 bits together, as float32 has; of the nine products of the parts the six largest are
// added up. The others are together at most 2^-23 of the whole, and on average 2^-27: no more than
// what float32 rounds a product by. (Numbers below 2^-126 are zero here, and those that round to
// 2^128 no number.)
#ifndef PIXEMBED_SRC_MODEL_TILE_STEPS_H_
#define PIXEMBED_SRC_MODEL_TILE_STEPS_H_

#include <cstddef>
#include <utility>

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

inline constexpr std::size_t kTileRows = 16;
inline constexpr std::size_t kTileColumns = 16;  // floats of a row of sums
inline constexpr std::size_t kTileDepth = 32;    // bfloat16 of a row: the depth of a step
inline constexpr std::size_t kTileLine = 64;     // bytes of a row
inline constexpr std::size_t kTileBytes = kTileRows * kTileLine;
inline constexpr std::size_t kTileFloats = kTileBytes / sizeof(float);

// Where a block of sums lies: tiles of floats, two beside each other.
struct TileSums {
  float* data = nullptr;
  std::size_t row = 0;    // floats from a row to the next
  std::size_t right = 0;  // from the left tile to the right one
  std::size_t down = 0;   // from a tile of rows to the next
};

// Products of x and W with sums in tiles: x has `tiles` (1 or 2) tiles of rows, W two of columns.
// What takes <from, to> is about the tiles of rows [from, to).
//
// V: a type with
//   ClearTile<t>(), LoadTile<t>(from, stride), StoreTile<t>(to, stride): 16 rows of 64 bytes, t <
//   8; MultiplyTiles<sum, a, b>(): sum[i][j] += a[i][2 k] b[k][2 j] + a[i][2 k + 1] b[k][2 j + 1]
//   over the 16 k, where sum holds floats, a and b bfloat16.
template <typename V, int parts, int tiles>
class TileSteps {
 public:
  template <int from, int to>
  static void ClearSums() {
    ClearRows<from>(Rows<from, to>());
  }
  template <int from, int to>
  static void LoadSums(const TileSums& sums) {
    LoadRows<from>(sums, Rows<from, to>());
  }
  template <int from, int to>
  static void StoreSums(const TileSums& sums) {
    StoreRows<from>(sums, Rows<from, to>());
  }

  // A step of the depth. x: [tiles, steps, parts] tiles, `x_stride` bytes from one of rows to the
  // next. weight: [steps, 2, parts].
  template <int from, int to>
  __attribute__((always_inline)) static void MultiplyStep(const std::byte* x, std::size_t x_stride,
                                                          const std::byte* weight,
                                                          std::size_t step) {
    x += step * parts * kTileBytes;
    weight += step * 2 * parts * kTileBytes;
    if constexpr (parts == 1) {
      Multiply<from, to, Fresh::kBoth>(x, x_stride, weight, 0, 0);
    } else {
      // Each differs from the one before in one operand only. The least first.
      Multiply<from, to, Fresh::kBoth>(x, x_stride, weight, 0, 2);
      Multiply<from, to, Fresh::kWeight>(x, x_stride, weight, 0, 1);
      Multiply<from, to, Fresh::kX>(x, x_stride, weight, 1, 1);
      Multiply<from, to, Fresh::kWeight>(x, x_stride, weight, 1, 0);
      Multiply<from, to, Fresh::kX>(x, x_stride, weight, 2, 0);
      Multiply<from, to, Fresh::kX>(x, x_stride, weight, 0, 0);
    }
  }

 private:
  static_assert((tiles == 1 || tiles == 2) && (parts == 1 || parts == 3));
  // The sums are tiles 0 to 3.
  static constexpr int kFirstX = 4;
  static constexpr int kFirstWeight = 6;

  // What is not where the product before left it.
  enum class Fresh { kX, kWeight, kBoth };

  template <int from, int to>
  using Rows = std::make_integer_sequence<int, to - from>;

  template <int from, int... i>
  static void ClearRows(std::integer_sequence<int, i...> /*all*/) {
    ((V::template ClearTile<2 * (from + i)>(), V::template ClearTile<2 * (from + i) + 1>()), ...);
  }
  template <int from, int... i>
  static void LoadRows(const TileSums& sums, std::integer_sequence<int, i...> /*all*/) {
    const std::size_t stride = sums.row * sizeof(float);
    ((V::template LoadTile<2 * (from + i)>(sums.data + (from + i) * sums.down, stride),
      V::template LoadTile<2 * (from + i) + 1>(sums.data + (from + i) * sums.down + sums.right,
                                               stride)),
     ...);
  }
  template <int from, int... i>
  static void StoreRows(const TileSums& sums, std::integer_sequence<int, i...> /*all*/) {
    const std::size_t stride = sums.row * sizeof(float);
    ((V::template StoreTile<2 * (from + i)>(sums.data + (from + i) * sums.down, stride),
      V::template StoreTile<2 * (from + i) + 1>(sums.data + (from + i) * sums.down + sums.right,
                                                stride)),
     ...);
  }

  // Adds the products of a part of x and one of W.
  template <int from, int to, Fresh fresh>
  __attribute__((always_inline)) static void Multiply(const std::byte* x, std::size_t x_stride,
                                                      const std::byte* weight, int x_part,
                                                      int weight_part) {
    x += static_cast<std::size_t>(x_part) * kTileBytes;
    weight += static_cast<std::size_t>(weight_part) * kTileBytes;
    if constexpr (fresh != Fresh::kWeight) LoadX<from>(x, x_stride, Rows<from, to>());
    if constexpr (fresh != Fresh::kX) {
      V::template LoadTile<kFirstWeight>(weight, kTileLine);
      V::template LoadTile<kFirstWeight + 1>(weight + parts * kTileBytes, kTileLine);
    }
    MultiplyAll<from>(Rows<from, to>());
  }

  template <int from, int... i>
  __attribute__((always_inline)) static void LoadX(const std::byte* x, std::size_t x_stride,
                                                   std::integer_sequence<int, i...> /*all*/) {
    (V::template LoadTile<kFirstX + from + i>(x + (from + i) * x_stride, kTileLine), ...);
  }
  template <int from, int... i>
  __attribute__((always_inline)) static void MultiplyAll(std::integer_sequence<int, i...> /*all*/) {
    ((V::template MultiplyTiles<2 * (from + i), kFirstX + from + i, kFirstWeight>(),
      V::template MultiplyTiles<2 * (from + i) + 1, kFirstX + from + i, kFirstWeight + 1>()),
     ...);
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_TILE_STEPS_H_
