// The product of a few rows and one panel of a packed matrix, with its sums in registers: what the
// kernels of the room in float32 and int16 are made of. For the files that name a vector type and
// its instruction set: they define PIXEMBED_VECTOR_CODE, the attribute of every function here,
// first.
#ifndef PIXEMBED_SRC_MODEL_PANEL_PRODUCT_H_
#define PIXEMBED_SRC_MODEL_PANEL_PRODUCT_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "src/model/row_blocks.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

inline constexpr std::size_t kLineFloats = 16;  // of a line of the caches; numbers of 4 bytes

// A panel holds kVectors registers of columns for each step of the depth, one step behind the
// other: [depth, kVectors * kLanes].
//
// V: a type with
//   Number, of 4 bytes: what is multiplied; Register, of kLanes of them; kRows: rows whose sums fit
//   into the registers beside their operands; kUnroll: steps of the depth for each line that is
//   fetched ahead; kDepth: a multiple of it, so that kDepth steps of a panel and kRows rows of x
//   lie in the first cache together; Zero, Load, Broadcast, MultiplyAdd(a, b, c) = a b + c; where
//   interleaved, Interleave(rows, stride, depth, to): kRows rows that begin `stride` numbers apart,
//   to [depth, kRows].
// interleaved: the rows of x lie step by step of the depth, [depth, rows], so that they are read as
// one line after the other; else row by row, kStride apart.
// Sink: what becomes of the sums: a type with
//   Prefetch<row>(), before; Take(sums, rows, vectors), after: sums[row * kVectors + vector] for
//   the index sequences 0, 1, ... below the rows and below kVectors; for RunAll, Advance(rows):
//   what comes next is so many rows further.
template <typename V, std::size_t vectors_of_a_row, typename Sink, bool interleaved = false>
class PanelProduct {
 public:
  using Number = typename V::Number;
  using Register = typename V::Register;
  static constexpr std::size_t kRows = V::kRows;
  static constexpr std::size_t kVectors = vectors_of_a_row;
  static constexpr std::size_t kColumns = kVectors * V::kLanes;
  static constexpr std::size_t kUnroll = V::kUnroll;
  // Floats from one row of x to the next: not a power of two, whose rows would push each other out
  // of the first cache.
  static constexpr std::size_t kStride = V::kDepth + kLineFloats;

  // Of a block of x: see interleaved.
  static constexpr std::size_t BlockNumbers(std::size_t rows, std::size_t depth) {
    return rows * (interleaved ? depth : kStride);
  }

  // To a block of x: rows that begin `stride` numbers apart.
  PIXEMBED_VECTOR_CODE static void LoadBlock(const Number* from, std::ptrdiff_t stride,
                                             std::size_t rows, std::size_t depth, Number* x) {
    if constexpr (interleaved) {
      if (rows == kRows) return V::Interleave(from, stride, depth, x);
      for (std::size_t row = 0; row < rows; ++row, from += stride) {
        for (std::size_t k = 0; k < depth; ++k) x[k * rows + row] = from[k];
      }
    } else {
      for (std::size_t row = 0; row < rows; ++row, from += stride) {
        std::copy_n(from, depth, x + row * kStride);
      }
    }
  }

  // Run of any number of rows: x is one block after the other, of NextBlock's rows. The panel that
  // is multiplied next, `panel_numbers` behind this one, is fetched meanwhile, once.
  PIXEMBED_VECTOR_CODE static void RunAll(std::size_t rows, const Number* x, const Number* panel,
                                          std::size_t depth, std::size_t panel_numbers, Sink sink) {
    const Number* next = panel + panel_numbers;
    while (rows > 0) {
      const std::size_t own = NextBlock(rows, kRows);
      Run(own, x, panel, depth, next, sink);
      next += depth / kUnroll * kLineFloats;
      if (next >= panel + 2 * panel_numbers) next = panel;
      rows -= own;
      x += BlockNumbers(own, depth);
      sink.Advance(own);
    }
  }

  // x: a block; 0 < rows <= kRows, depth <= kDepth. Each sum begins at 0 and grows step by
  // step of the depth, whatever stands beside it. `next`: what is read soon, depth / kUnroll lines
  // of it; any address will do.
  PIXEMBED_VECTOR_CODE static void Run(std::size_t rows, const Number* x, const Number* panel,
                                       std::size_t depth, const Number* next, const Sink& sink) {
    static constexpr std::array kFunctions = Functions(std::make_index_sequence<kRows>());
    kFunctions[rows - 1](x, panel, depth, next, sink);
  }

 private:
  using Function = void (*)(const Number*, const Number*, std::size_t, const Number*, const Sink&);

  template <std::size_t... less>
  static constexpr std::array<Function, kRows> Functions(std::index_sequence<less...> /*all*/) {
    return {MultiplyRows<less + 1>...};
  }

  template <std::size_t rows>
  PIXEMBED_VECTOR_CODE static void MultiplyRows(const Number* x, const Number* panel,
                                                std::size_t depth, const Number* next,
                                                const Sink& sink) {
    Multiply(x, panel, depth, next, sink, std::make_index_sequence<kUnroll>(),
             std::make_index_sequence<rows>(), std::make_index_sequence<kVectors>());
  }

  // Every index of an array of registers is a constant: else they lie in memory.
  template <std::size_t... steps, std::size_t... rows, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void Multiply(
      const Number* x, const Number* panel, std::size_t depth, const Number* next, const Sink& sink,
      std::index_sequence<steps...> /*all*/, std::index_sequence<rows...> every_row,
      std::index_sequence<vectors...> all) {
    constexpr std::size_t kStep = interleaved ? sizeof...(rows) : 1;
    Register sums[sizeof...(rows) * kVectors];
    (Clear<rows>(sums, all), ...);
    (sink.template Prefetch<rows>(), ...);
    std::size_t k = 0;
    for (; k + kUnroll <= depth; k += kUnroll) {
      __builtin_prefetch(next, 0, 2);
      next += kLineFloats;
      (MultiplyStep(x + steps * kStep, panel + steps * kColumns, sums, every_row, all), ...);
      x += kUnroll * kStep;
      panel += kUnroll * kColumns;
    }
    for (; k < depth; ++k) {
      MultiplyStep(x, panel, sums, every_row, all);
      x += kStep;
      panel += kColumns;
    }
    sink.Take(sums, every_row, all);
  }

  template <std::size_t... rows, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void MultiplyStep(
      const Number* x, const Number* panel, Register* sums, std::index_sequence<rows...> /*all*/,
      std::index_sequence<vectors...> all) {
    const Register own[] = {V::Load(panel + vectors * V::kLanes)...};
    (MultiplyRow<rows>(x, own, sums, all), ...);
  }

  template <std::size_t row, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void MultiplyRow(
      const Number* x, const Register* own, Register* sums,
      std::index_sequence<vectors...> /*all*/) {
    const Register factor = V::Broadcast(x[row * (interleaved ? 1 : kStride)]);
    ((sums[row * kVectors + vectors] =
          V::MultiplyAdd(factor, own[vectors], sums[row * kVectors + vectors])),
     ...);
  }

  template <std::size_t row, std::size_t... vectors>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void Clear(
      Register* sums, std::index_sequence<vectors...> /*all*/) {
    ((sums[row * kVectors + vectors] = V::Zero()), ...);
  }
};

// A panel of rows: panel[k][c] = rows[c][k] for c < count, 0 beyond. `rows`: [count, depth], which
// begin `stride` floats apart; `panel`: [depth, columns], columns whole registers, count <=
// columns.
template <typename V>
PIXEMBED_VECTOR_CODE void PackPanelOfRows(const float* rows, std::ptrdiff_t stride,
                                          std::size_t count, std::size_t depth, std::size_t columns,
                                          float* panel) {
  constexpr std::size_t kLanes = V::kLanes;
  for (std::size_t column = 0; column < columns; column += kLanes) {
    const auto row = [&](std::size_t lane) {
      return rows + static_cast<std::ptrdiff_t>(column + lane) * stride;
    };
    std::size_t k = 0;
    for (; k + kLanes <= depth; k += kLanes) {
      typename V::Floats block[kLanes];
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        block[lane] = column + lane < count ? V::Load(row(lane) + k) : V::Zero();
      }
      V::Transpose(block);
      for (std::size_t step = 0; step < kLanes; ++step) {
        V::Store(panel + (k + step) * columns + column, block[step]);
      }
    }
    for (; k < depth; ++k) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        panel[k * columns + column + lane] = column + lane < count ? row(lane)[k] : 0.0F;
      }
    }
  }
}

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_PANEL_PRODUCT_H_
