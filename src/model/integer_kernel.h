// Products of activations with weights in integers, on one core, in plain memory. Internal to the
// room.
//
// A group of input channels has scales of its own: a weight's for each output channel, a row's for
// itself. What is large in a few channels, as some of a vision transformer's always are, coarsens
// its group only. Sums within a group are integers, and exact; those of the groups are float32,
// added in their order.
//
// int8: weights are whole numbers to +-127, activations 0 to 255 above the least of the group. CPUs
// with VNNI multiply and add four of these at once. With AVX2 alone what is in between has 16 bits:
// activations are 0 to 127 there, and where weights of one sign that are added up in it are more
// than 258 together, all of the group are smaller, so that no sum leaves them. In the time of a
// product in float32, two are multiplied.
// int16: weights to +-2047, activations to +-4095; nearly as exact as float32. Every CPU with AVX2
// multiplies pairs of these, half as many in a time again as of float32, with VNNI twice as many.
#ifndef PIXEMBED_SRC_MODEL_INTEGER_KERNEL_H_
#define PIXEMBED_SRC_MODEL_INTEGER_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pixembed {

// Input channels that share a scale.
inline constexpr std::size_t kInt8Group = 64;
inline constexpr std::size_t kInt16Group = 256;

// out = f(x) W^T + bias for some rows. REQUIRES: rows, depth and columns > 0.
struct IntegerProduct {
  const float* x = nullptr;     // [rows, depth]
  std::ptrdiff_t x_stride = 0;  // floats from one row to the next
  std::size_t rows = 0;
  std::size_t depth = 0;
  std::size_t columns = 0;
  const std::byte* weight = nullptr;  // of IntegerKernel::pack
  const float* bias = nullptr;        // [columns]; null: none
  bool gelu = false;                  // f is the exact GELU, within 1e-6; else x itself
  float* out = nullptr;               // [rows, columns]
  std::ptrdiff_t out_stride = 0;
};

// What a row of `out` holds depends on its row of x and the weight alone, not on the rows beside
// it; a NaN in x makes all of it NaN.
struct IntegerKernel {
  std::string_view instructions;    // "AVX512_VNNI"
  std::int32_t largest_activation;  // the largest whole number of one
  std::size_t (*packed_bytes)(std::size_t depth, std::size_t columns);
  // `weight`: [columns, depth]; of a row that is not finite, all that is multiplied with it is NaN.
  // `packed`: packed_bytes(), aligned to 64 bytes.
  void (*pack)(const float* weight, std::size_t depth, std::size_t columns, std::byte* packed);
  // For so many rows at once.
  std::size_t (*scratch_bytes)(std::size_t rows, std::size_t depth);
  // `scratch`: scratch_bytes(), aligned to 64 bytes.
  void (*run)(const IntegerProduct& product, std::byte* scratch);
};

// Body: Int8Body or Int16Body of a vector type.
template <typename Body>
constexpr IntegerKernel IntegerKernelOf(std::string_view instructions) {
  return {.instructions = instructions,
          .largest_activation = Body::kLargestActivation,
          .packed_bytes = Body::PackedBytes,
          .pack = Body::Pack,
          .scratch_bytes = Body::ScratchBytes,
          .run = Body::Run};
}

// Null where this CPU cannot run it.
const IntegerKernel* Avx2Int8Kernel();
const IntegerKernel* AvxVnniInt8Kernel();
const IntegerKernel* Avx512Int8Kernel();

// The fastest in int8 that this CPU runs; null where none is faster than float32.
const IntegerKernel* NativeInt8Kernel();

// Null where this CPU cannot run it.
const IntegerKernel* Avx2Int16Kernel();
const IntegerKernel* AvxVnniInt16Kernel();
const IntegerKernel* Avx512Int16Kernel();

// The fastest in int16 that this CPU runs; null where none is faster than float32.
const IntegerKernel* NativeInt16Kernel();

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_INTEGER_KERNEL_H_
