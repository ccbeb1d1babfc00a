// Products of activations with int8 weights on one core, in plain memory. Internal to the room.
//
// Every 64 input channels (a group) have scales of their own: a weight's for each output channel, a
// row's for itself. What is large in a few channels, as some of a vision transformer's always are,
// coarsens its group only. Sums within a group are integers, and exact; those of the groups are
// float32, added in their order.
#ifndef PIXEMBED_SRC_MODEL_INT8_KERNEL_H_
#define PIXEMBED_SRC_MODEL_INT8_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pixembed {

// Input channels that share a scale.
inline constexpr std::size_t kInt8Group = 64;

// out = f(x) W^T + bias for some rows. REQUIRES: rows, depth and columns > 0.
struct Int8Product {
  const float* x = nullptr;     // [rows, depth]
  std::ptrdiff_t x_stride = 0;  // floats from one row to the next
  std::size_t rows = 0;
  std::size_t depth = 0;
  std::size_t columns = 0;
  const std::byte* weight = nullptr;  // of Int8Kernel::pack
  const float* bias = nullptr;        // [columns]; null: none
  bool gelu = false;                  // f is the exact GELU, within 1e-6; else x itself
  float* out = nullptr;               // [rows, columns]
  std::ptrdiff_t out_stride = 0;
};

// What a row of `out` holds depends on its row of x and the weight alone, not on the rows beside
// it; a NaN in x makes all of it NaN.
struct Int8Kernel {
  std::string_view instructions;  // "AVX512_VNNI"
  std::size_t (*packed_bytes)(std::size_t depth, std::size_t columns);
  // `weight`: [columns, depth], finite. `packed`: packed_bytes(), aligned to 64 bytes.
  void (*pack)(const float* weight, std::size_t depth, std::size_t columns, std::byte* packed);
  // For so many rows at once.
  std::size_t (*scratch_bytes)(std::size_t rows, std::size_t depth);
  // `scratch`: scratch_bytes(), aligned to 64 bytes.
  void (*run)(const Int8Product& product, std::byte* scratch);
};

// Null where this CPU cannot run it.
const Int8Kernel* AvxVnniInt8Kernel();
const Int8Kernel* Avx512Int8Kernel();

// The fastest that this CPU runs; null where it has none.
const Int8Kernel* NativeInt8Kernel();

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_INT8_KERNEL_H_
