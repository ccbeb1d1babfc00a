// The products of float_kernel.h by tiles of bfloat16, over a type of them, for the files that name
// one and its instruction set: they define PIXEMBED_VECTOR_CODE, the attribute of every function
// here, first.
//
// Tiles are multiplied beside the vector units, not by them. So what else there is to do (the end
// of a block of sums: activation, residual; the parts of the next panel of the weight) is done a
// little at a time between their products.
#ifndef PIXEMBED_SRC_MODEL_TILE_KERNEL_BODY_H_
#define PIXEMBED_SRC_MODEL_TILE_KERNEL_BODY_H_

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "src/model/float_kernel.h"
#include "src/model/product_end_body.h"
#include "src/model/tile_steps.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

// V: a type with what TileSteps names, and what ProductEnd does of registers of 16 floats, and
//   Begin(), End(): what uses tiles on a thread lies in between;
//   SplitPairs<parts>(even, odd, to, stride): `parts` lines of 16 pairs of bfloat16, (even[0],
//   odd[0]), (even[1], odd[1]), ..., whose sums are these floats;
//   SplitInOrder<parts>(low, high, to, stride): the same of low[0], low[1], ..., high[15].
template <typename V, int parts>
class TileBody {
 public:
  static constexpr std::size_t kRows = 32;     // two tiles
  static constexpr std::size_t kColumns = 32;  // two tiles

  // The bias [panels, kColumns]; then for each panel and step of the depth two tiles' worth: of one
  // part the tiles; of three, the numbers, [2, pairs, 2, kTileColumns].
  static std::size_t PackedFloats(std::size_t depth, std::size_t columns) {
    return Panels(columns) * (kColumns + Steps(depth) * kStepFloats);
  }

  PIXEMBED_VECTOR_CODE static void Pack(const float* weight, const float* bias, std::size_t depth,
                                        std::size_t columns, float* packed) {
    const std::size_t padded = Panels(columns) * kColumns;
    std::fill(packed, packed + padded, 0.0F);
    if (bias != nullptr) std::copy_n(bias, columns, packed);
    packed += padded;
    alignas(64) float numbers[kPanelStepNumbers];
    for (std::size_t first = 0; first < padded; first += kColumns) {
      for (std::size_t k = 0; k < Steps(depth) * kTileDepth;
           k += kTileDepth, packed += kStepFloats) {
        std::fill(numbers, numbers + kPanelStepNumbers, 0.0F);
        for (std::size_t c = 0; c < std::min(kColumns, columns - first); ++c) {
          const float* const from = weight + (first + c) * depth + k;
          for (std::size_t i = 0; i < std::min(kTileDepth, depth - k); ++i) {
            numbers[c / kTileColumns * (kTileDepth * kTileColumns) + i * kTileColumns +
                    c % kTileColumns] = from[i];
          }
        }
        if constexpr (parts == 1) {
          SplitStep(numbers, reinterpret_cast<std::byte*>(packed));
        } else {
          std::copy_n(numbers, kPanelStepNumbers, packed);
        }
      }
    }
  }

  static std::size_t ScratchFloats(const FloatProduct& product) {
    const std::size_t steps = BlockSteps(product.depth);
    // Not ChunkRows: of fewer rows, a chunk may have more.
    const std::size_t tiles = Tiles(std::min(product.rows, MostRows(product.depth)));
    const std::size_t kept = Blocks(product.depth) > 1
                                 ? tiles * 2 * (product.last_panel - product.first_panel)
                                 : std::size_t{0};
    const std::size_t split = parts > 1 ? 2 * steps * 2 * parts : 0;
    return 2 * kPendingFloats + (tiles * steps * parts + split + kept) * kTileFloats;
  }

  PIXEMBED_VECTOR_CODE static void Run(const FloatProduct& product, float* scratch) {
    V::Begin();
    const std::size_t chunk = ChunkRows(product);
    for (std::size_t row = 0; row < product.rows; row += chunk) {
      RunChunk(product, row, std::min(chunk, product.rows - row), scratch);
    }
    V::End();
  }

 private:
  static constexpr std::size_t kPendingFloats = 4 * kTileFloats;
  using End = ProductEnd<V, kColumns, kTileColumns, kTileFloats>;
  static constexpr std::size_t kPanelStepNumbers = kTileDepth * kColumns;
  static constexpr std::size_t kStepFloats = parts == 1 ? 2 * kTileFloats : kPanelStepNumbers;
  // Of the depth, in steps: what is kept of a panel and of a chunk of rows stays in the second
  // cache.
  static constexpr std::size_t kMostSteps = parts == 1 ? 48 : 24;
  // Of the second tile of rows of a block, behind the first, at its end.
  static constexpr std::size_t kStepsApart = parts == 1 ? 4 : 1;
  static constexpr std::size_t kMostTiles = 1152 / parts;  // of a chunk of rows

  static std::size_t Panels(std::size_t columns) { return (columns + kColumns - 1) / kColumns; }
  static std::size_t Steps(std::size_t depth) { return (depth + kTileDepth - 1) / kTileDepth; }
  static std::size_t Tiles(std::size_t rows) { return (rows + kTileRows - 1) / kTileRows; }
  static std::size_t Blocks(std::size_t depth) {
    return std::max<std::size_t>((Steps(depth) + kMostSteps - 1) / kMostSteps, 1);
  }
  // All but the last have so many.
  static std::size_t BlockSteps(std::size_t depth) {
    return (Steps(depth) + Blocks(depth) - 1) / Blocks(depth);
  }
  static std::size_t MostRows(std::size_t depth) {
    return std::max<std::size_t>(kMostTiles / BlockSteps(depth) / 2, 1) * kRows;
  }
  static std::size_t ChunkRows(const FloatProduct& product) {
    const std::size_t most = MostRows(product.depth);
    const std::size_t chunks = std::max<std::size_t>((product.rows + most - 1) / most, 1);
    // Whole blocks: of the rest of one, a tile would stand alone in each chunk.
    return (product.rows + chunks * kRows - 1) / (chunks * kRows) * kRows;
  }

  // What is left to do with a block of sums when they have been stored.
  struct Pending {
    const float* y = nullptr;  // [tiles, 2] tiles
    std::size_t rows = 0;
    std::size_t done = 0;
    End end = {};

    PIXEMBED_VECTOR_CODE __attribute__((always_inline)) void Take(std::size_t most) {
      while (most > 0 && done < rows) {
        const std::size_t tile = done / kTileRows;
        const std::size_t own = std::min({most, rows - done, (tile + 1) * kTileRows - done});
        end.Take(y + tile * 2 * kTileFloats + done % kTileRows * kTileColumns, own);
        end.out += static_cast<std::ptrdiff_t>(own) * end.out_stride;
        done += own;
        most -= own;
      }
    }
  };

  // The numbers of the next panel that become tiles, a few pairs of rows at a time.
  struct Splitting {
    const float* from = nullptr;
    std::byte* to = nullptr;
    std::size_t left = 0;  // pairs

    PIXEMBED_VECTOR_CODE __attribute__((always_inline)) void Take(std::size_t most) {
      for (; most > 0 && left > 0; --most, --left) {
        V::template SplitPairs<parts>(V::Load(from), V::Load(from + kTileColumns), to, kTileBytes);
        from += 2 * kTileColumns;
        to += kTileLine;
        // Behind the other parts of the tile.
        if (left % kTileRows == 1) to += (parts - 1) * kTileBytes;
      }
    }
  };

  // Of a chunk and a block of the depth.
  struct Block {
    const std::byte* x = nullptr;  // of LoadRows
    std::size_t rows = 0;
    std::size_t steps = 0;
    bool first = false;  // block of the depth
    bool last = false;
    float* y = nullptr;  // two of Pending's, one behind the other
    Pending pending = {};
    Splitting splitting = {};
  };

  // And of a panel.
  struct Panel {
    const std::byte* weight = nullptr;  // [steps, 2, parts] tiles
    const std::byte* next = nullptr;    // what is read soon
    const float* bias = nullptr;
    float* kept = nullptr;  // [tiles, 2] tiles: the sums of the blocks so far
    End end = {};
  };

  PIXEMBED_VECTOR_CODE static void RunChunk(const FloatProduct& product, std::size_t first_row,
                                            std::size_t rows, float* scratch) {
    const std::size_t block_steps = BlockSteps(product.depth);
    const std::size_t all_steps = Steps(product.depth);
    const std::size_t kept_floats = Tiles(rows) * 2 * kTileFloats;  // of a panel
    const std::size_t split_floats = parts > 1 ? block_steps * 2 * parts * kTileFloats : 0;
    float* const y = scratch;
    float* const split = y + kPendingFloats * 2;
    float* const x = split + 2 * split_floats;
    float* const kept = x + Tiles(rows) * block_steps * parts * kTileFloats;
    const float* const packed = product.packed + Panels(product.columns) * kColumns;
    const float* const from = product.x + static_cast<std::ptrdiff_t>(first_row) * product.x_stride;
    Block block = {.x = reinterpret_cast<const std::byte*>(x), .rows = rows, .y = y};
    for (std::size_t step = 0; step < std::max<std::size_t>(all_steps, 1); step += block_steps) {
      block.steps = std::min(block_steps, all_steps - step);
      block.first = step == 0;
      block.last = step + block.steps == all_steps;
      LoadRows(from + step * kTileDepth, product.x_stride, rows,
               std::min(product.depth - step * kTileDepth, block.steps * kTileDepth), block.steps,
               reinterpret_cast<std::byte*>(x));
      for (std::size_t panel = product.first_panel; panel < product.last_panel; ++panel) {
        const std::size_t column = panel * kColumns;
        const float* weight = packed + (panel * all_steps + step) * kStepFloats;
        const float* const next = weight + all_steps * kStepFloats;
        Panel own = {.next = reinterpret_cast<const std::byte*>(next),
                     .bias = product.packed + column,
                     .kept = kept + (panel - product.first_panel) * kept_floats};
        if constexpr (parts > 1) {
          // The two take turns.
          float* const tiles = split + (panel - product.first_panel) % 2 * split_floats;
          float* const others = split + (panel - product.first_panel + 1) % 2 * split_floats;
          const std::size_t pairs = block.steps * 2 * kTileRows;
          if (panel == product.first_panel) {
            block.splitting = {weight, reinterpret_cast<std::byte*>(tiles), pairs};
          }
          block.splitting.Take(pairs);
          if (panel + 1 < product.last_panel) {
            block.splitting = {next, reinterpret_cast<std::byte*>(others), pairs};
          }
          // Which is one further, since the next is read now.
          own.next += all_steps * kStepFloats * sizeof(float);
          weight = tiles;
        }
        own.weight = reinterpret_cast<const std::byte*>(weight);
        own.end = {.activation = product.activation,
                   .add = product.add,
                   .scale = product.scale == nullptr ? nullptr : product.scale + column,
                   .out = product.out +
                          static_cast<std::ptrdiff_t>(first_row) * product.out_stride + column,
                   .out_stride = product.out_stride,
                   .columns = std::min(kColumns, product.columns - column)};
        MultiplyRows(own, block);
      }
    }
    block.pending.Take(kRows);
  }

  // numbers [2, kTileDepth, kTileColumns] -> tiles [2, parts].
  PIXEMBED_VECTOR_CODE static void SplitStep(const float* numbers, std::byte* to) {
    for (std::size_t tile = 0; tile < 2; ++tile, to += parts * kTileBytes) {
      for (std::size_t pair = 0; pair < kTileRows; ++pair, numbers += 2 * kTileColumns) {
        V::template SplitPairs<parts>(V::Load(numbers), V::Load(numbers + kTileColumns),
                                      to + pair * kTileLine, kTileBytes);
      }
    }
  }

  // Rows that begin `stride` floats apart -> [tiles, steps, parts] tiles, with zeros beyond the
  // rows and the depth.
  PIXEMBED_VECTOR_CODE static void LoadRows(const float* from, std::ptrdiff_t stride,
                                            std::size_t rows, std::size_t depth, std::size_t steps,
                                            std::byte* x) {
    const std::size_t whole = depth / kTileDepth;
    for (std::size_t row = 0; row < Tiles(rows) * kTileRows; ++row) {
      std::byte* to =
          x + row / kTileRows * steps * parts * kTileBytes + row % kTileRows * kTileLine;
      if (row >= rows) {
        for (std::size_t i = 0; i < steps * parts; ++i)
          std::memset(to + i * kTileBytes, 0, kTileLine);
        continue;
      }
      for (std::size_t s = 0; s < whole; ++s, to += parts * kTileBytes) {
        V::template SplitInOrder<parts>(V::Load(from + s * kTileDepth),
                                        V::Load(from + s * kTileDepth + kTileColumns), to,
                                        kTileBytes);
      }
      if (whole < steps) {
        alignas(64) float numbers[kTileDepth] = {};
        std::copy_n(from + whole * kTileDepth, depth - whole * kTileDepth, numbers);
        V::template SplitInOrder<parts>(V::Load(numbers), V::Load(numbers + kTileColumns), to,
                                        kTileBytes);
      }
      from += stride;
    }
  }

  PIXEMBED_VECTOR_CODE static void MultiplyRows(Panel panel, Block& block) {
    const std::size_t tiles = Tiles(block.rows);
    const std::size_t blocks = (tiles + 1) / 2;
    // The weight of a large model comes from memory: that of the next panel is fetched meanwhile.
    Beside beside = {
        .next = panel.next,
        .lines = (kStepFloats * sizeof(float) / kTileLine + blocks - 1) / blocks,
        .rows = (kRows + block.steps - 1) / block.steps,
        .pairs = (2 * kTileRows + blocks - 1) / blocks,
    };
    const std::byte* x = block.x;
    for (std::size_t tile = 0; tile < tiles;) {
      const std::size_t own = std::min<std::size_t>(tiles - tile, 2);
      const std::size_t rows = std::min(kRows, block.rows - tile * kTileRows);
      if (own == 2) {
        MultiplyBlock<2>(panel, x, rows, beside, block);
      } else {
        MultiplyBlock<1>(panel, x, rows, beside, block);
      }
      tile += own;
      x += own * block.steps * parts * kTileBytes;
      panel.kept += own * 2 * kTileFloats;
      panel.end.out += static_cast<std::ptrdiff_t>(own * kTileRows) * panel.end.out_stride;
    }
  }

  // What is done beside a step.
  struct Beside {
    const std::byte* next = nullptr;
    std::size_t lines = 0;  // to fetch
    std::size_t rows = 0;   // of Pending
    std::size_t pairs = 0;  // of Splitting

    PIXEMBED_VECTOR_CODE __attribute__((always_inline)) void Take(Block& block) {
      for (std::size_t line = 0; line < lines; ++line, next += kTileLine) {
        __builtin_prefetch(next, 0, 2);
      }
      block.pending.Take(rows);
      if constexpr (parts > 1) block.splitting.Take(pairs);
    }
  };

  template <int tiles>
  PIXEMBED_VECTOR_CODE static void MultiplyBlock(const Panel& panel, const std::byte* x,
                                                 std::size_t rows, Beside& beside, Block& block) {
    using Tile = TileSteps<V, parts, tiles>;
    float* const y = block.pending.y == block.y ? block.y + kPendingFloats : block.y;
    TileSums sums = {panel.kept, kTileColumns, kTileFloats, 2 * kTileFloats};
    if (block.first) {
      Tile::template LoadSums<0, tiles>({const_cast<float*>(panel.bias), 0, kTileColumns, 0});
    } else {
      Tile::template LoadSums<0, tiles>(sums);
    }
    if (block.last) sums.data = y;
    const std::size_t x_stride = block.steps * parts * kTileBytes;
    // The stores of both at once are more than the CPU takes while it goes on: those of the second
    // tile of rows come some steps later.
    const std::size_t apart = tiles > 1 ? std::min(kStepsApart, block.steps) : 0;
    const std::size_t together = block.steps - apart;
    for (std::size_t step = 0; step < together; ++step) {
      Tile::template MultiplyStep<0, tiles>(x, x_stride, panel.weight, step);
      beside.Take(block);
    }
    for (std::size_t step = together; step < block.steps; ++step) {
      Tile::template MultiplyStep<0, 1>(x, x_stride, panel.weight, step);
      beside.Take(block);
    }
    block.pending.Take(kRows);
    Tile::template StoreSums<0, 1>(sums);
    if constexpr (tiles > 1) {
      for (std::size_t step = together; step < block.steps; ++step) {
        Tile::template MultiplyStep<1, 2>(x, x_stride, panel.weight, step);
      }
      Tile::template StoreSums<1, 2>(sums);
    }
    if (block.last) block.pending = {.y = y, .rows = rows, .end = panel.end};
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_TILE_KERNEL_BODY_H_
