// What a GPU computes by kernels of ours, and by products whose kernel was chosen by measurement,
// where LibTorch takes several passes over memory or the first kernel that its library proposes.
// Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_DEVICE_KERNELS_H_
#define PIXEMBED_SRC_MODEL_DEVICE_KERNELS_H_

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>

#include "src/image/image.h"

namespace pixembed {

// What AddAndNormalize works on. All on one device, contiguous, their addresses multiples of 16.
struct NormalizeOperands {
  at::Tensor x;       // [..., width] float32, changed in place
  at::Tensor branch;  // the same shape, bfloat16; undefined: nothing is added
  at::Tensor scale;   // [width] float32, undefined: 1
  at::Tensor weight;  // [width] float32
  at::Tensor bias;    // [width] float32
  double epsilon = 0.0;
  at::ScalarType out = at::kFloat;  // or kBFloat16
};

// What Multiply works on.
struct ProductOperands {
  at::Tensor x;                        // [..., in] bfloat16, contiguous
  at::Tensor weight;                   // [out, in] bfloat16, contiguous or the transpose of what is
  at::Tensor bias;                     // [out] in the type of the result; undefined: none
  bool gelu = false;                   // GELU by its tanh form: see DeviceKernels::Multiply
  at::ScalarType out = at::kBFloat16;  // or kFloat
};

// Numbers in a row that stands for `values` numbers in two bfloat16 each (SplitPatches): three
// parts, and zeros up to a multiple of 8, since products have their fastest kernels for rows that
// begin at multiples of 16 bytes.
constexpr std::int64_t SplitWidth(std::int64_t values) { return (3 * values + 7) / 8 * 8; }

// Thread-safe. The work is put on the current stream, and may be recorded (GraphRecorder). Errors
// are thrown, as LibTorch's own are.
class DeviceKernels {
 public:
  DeviceKernels() = default;
  DeviceKernels(const DeviceKernels&) = delete;
  DeviceKernels& operator=(const DeviceKernels&) = delete;
  virtual ~DeviceKernels() = default;

  // Whether AddAndNormalize takes rows of so many numbers. The first call for a width compiles; it
  // throws where that fails.
  virtual bool Normalizes(std::int64_t width) const = 0;

  // x += scale * branch; gives the layer norm of x over its last dimension, in `out`. In float32
  // throughout, the result rounded once. REQUIRES: Normalizes(width).
  virtual at::Tensor AddAndNormalize(const NormalizeOperands& operands) const = 0;

  // x W^T + bias, and where `gelu` says so its GELU: sums in float32, rounded once (before GELU as
  // well where only LibTorch gives the product). The GELU is
  // 0.5 y (1 + tanh(sqrt(2 / pi) (y + 0.044715 y^3))), the only one that products end with; it
  // differs from the exact one by less than 5e-4, where a bfloat16 between 2 and 4 stands for
  // numbers up to 8e-3 away from it.
  //
  // The first product of its kind (rows up to the next quarter of a power of two, columns, depth)
  // that is not recorded runs what the library proposes in turn, and the fastest that gives the
  // product is kept: which one may differ between processes, and with it the last bits.
  virtual at::Tensor Multiply(const ProductOperands& operands) const = 0;

  // Whether SplitPatches takes patches of this size. The first call for a size compiles; it throws
  // where that fails.
  virtual bool Splits(Size patch) const = 0;

  // GatherPatches (runner.h) of uint8 `images`, each value v as two numbers:
  // -> [N, P, SplitWidth(values)] bfloat16 where [.., 0 : values] and the third part are v rounded,
  // the second is what that left of v, rounded, and 0 follows. REQUIRES: Splits(patch).
  virtual at::Tensor SplitPatches(const at::Tensor& images, const at::Tensor& table,
                                  Size patch) const = 0;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_DEVICE_KERNELS_H_
