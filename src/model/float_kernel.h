// Products of activations with float32 weights, and their normalization, on one core, in plain
// memory. Internal to the room.
//
// The weight is packed once, in the order in which it is read: panels of as many columns as fill
// the registers beside a few rows, cut in the depth into blocks that stay in the first cache while
// all rows pass. What follows a product in a transformer (bias, activation, residual) is done while
// the sums are in registers.
#ifndef PIXEMBED_SRC_MODEL_FLOAT_KERNEL_H_
#define PIXEMBED_SRC_MODEL_FLOAT_KERNEL_H_

#include <cstddef>
#include <string_view>

#include "src/model/activation.h"

namespace pixembed {

// y = f(x W^T + bias) for some rows and panels: out = y, or out += scale * y.
struct FloatProduct {
  const float* x = nullptr;     // [rows, depth]
  std::ptrdiff_t x_stride = 0;  // floats from one row to the next
  std::size_t rows = 0;
  std::size_t depth = 0;
  std::size_t columns = 0;        // of the weight
  const float* packed = nullptr;  // of FloatKernel::pack
  std::size_t first_panel = 0;    // the panels [first_panel, last_panel) are multiplied
  std::size_t last_panel = 0;
  Activation activation = Activation::kNone;  // f; one that FusesActivation says
  bool add = false;                           // out += scale * y
  const float* scale = nullptr;               // [columns]; null: 1. Only with `add`
  float* out = nullptr;  // [rows, columns]; what is outside the panels stays untouched
  std::ptrdiff_t out_stride = 0;
};

// out = (x - mean) / sqrt(variance + epsilon) * weight + bias, of each row by itself.
struct FloatNorm {
  const float* x = nullptr;  // [rows, width], row-major
  std::size_t rows = 0;
  std::size_t width = 0;          // above 0
  const float* weight = nullptr;  // [width]
  const float* bias = nullptr;    // [width]
  float epsilon = 0.0F;
  float* out = nullptr;  // [rows, width], row-major; x or apart from it
};

// What an element of y is depends on its row of x and its row of the weight alone, to the bit: not
// on the rows and panels beside it.
struct FloatKernel {
  std::string_view instructions;  // "AVX-512"
  // Rows and columns that it multiplies at once: other numbers leave some of that unused.
  std::size_t rows;
  std::size_t columns;  // of a panel
  std::size_t (*packed_floats)(std::size_t depth, std::size_t columns);
  // `weight`: [columns, depth]; `bias`: [columns] or null. `packed`: packed_floats(), aligned to 64
  // bytes.
  void (*pack)(const float* weight, const float* bias, std::size_t depth, std::size_t columns,
               float* packed);
  // Enough for as many rows and panels or fewer, whichever they are.
  std::size_t (*scratch_floats)(const FloatProduct& product);
  // `scratch`: scratch_floats(), aligned to 64 bytes.
  void (*run)(const FloatProduct& product, float* scratch);
  void (*normalize)(const FloatNorm& norm);
};

// Whether a kernel's product takes `activation` along.
bool FusesActivation(Activation activation);

// Null where this CPU cannot run it.
const FloatKernel* Avx2FloatKernel();
const FloatKernel* Avx512FloatKernel();
// As exact as these, by six products of bfloat16: see tile_steps.h.
const FloatKernel* AmxFloatKernel();

// The fastest that this CPU runs; null where it has none.
const FloatKernel* NativeFloatKernel();

// The same of x and W rounded to bfloat16; bias, sums and what follows are float32. Null where this
// CPU cannot run it.
const FloatKernel* AmxBFloat16Kernel();

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_FLOAT_KERNEL_H_
