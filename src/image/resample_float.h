// Resizing of rescaled float32 pixels, bit-identical to ATen's antialiased float kernels.
//
// Internal to the room. Two passes, along x and then along y, with a float32 intermediate; the
// weights are float32 too, so that they and the ranges of their inputs are not those of taps.h.
// Source: torch 2.11.0 aten/src/ATen/native/cpu/UpSampleKernel.cpp
// _compute_indices_min_size_weights_aa, interpolate_aa_single_dim, with the kernels that its build
// has for AVX2 and AVX512 (their bits are the same; those of the build for neither differ).
#ifndef PIXEMBED_SRC_IMAGE_RESAMPLE_FLOAT_H_
#define PIXEMBED_SRC_IMAGE_RESAMPLE_FLOAT_H_

#include <cstddef>
#include <vector>

#include "src/image/image.h"
#include "src/image/resample.h"
#include "src/image/taps.h"

namespace pixembed {

// Output i of an axis is the sum over t < count[i] of weight[i][t] * input[first[i] + t], in this
// order: the first product; the products up to fused(i), each rounded and then added; from there
// on fused multiply-adds.
struct FloatTaps {
  int stride = 0;              // weights per output
  std::vector<int> first;      // [outputs] first input
  std::vector<int> count;      // [outputs] number of inputs, 1 <= count <= stride
  std::vector<float> weights;  // [outputs, stride]

  int outputs() const { return static_cast<int>(first.size()); }
  // The compiler of ATen's build vectorised the loop over t by 4: what lies in whole groups of 4
  // after the first product is multiplied and added in two roundings, what is left over in one.
  int fused(int i) const { return 1 + (count[i] - 1) / 4 * 4; }
};

// The taps of outputs [begin, begin + outputs) of an axis that is resized from `input` to `output`
// samples. REQUIRES: all positive, begin + outputs <= output; the filter is kBilinear or kBicubic.
FloatTaps ComputeFloatTaps(Filter filter, int input, int output, int begin, int outputs);

// What these taps reach from first to last. REQUIRES: as ComputeFloatTaps.
InputRange ComputeFloatInputRange(Filter filter, int input, int output, int begin, int outputs);

// The two inner loops. A pixel is four floats, the last of which is of no use.
struct FloatKernels {
  static constexpr int kLanes = 4;
  // Rows of `vertical` are whole multiples of this many floats.
  static constexpr int kBlock = 16;

  // Resizes a row along x: out[i] from in[taps.first[i] ...].
  void (*horizontal)(const FloatTaps& taps, const float* in, float* out);
  // Output row i of a resize along y, `floats` of them: out[x] from in[t][x], t < taps.count[i].
  void (*vertical)(const FloatTaps& taps, int i, const float* const* in, int floats, float* out);
};

// Portable.
const FloatKernels& ScalarFloatKernels();
// nullptr where this build or this processor has no AVX2 with FMA.
const FloatKernels* FmaFloatKernels();
// The fastest that this processor has.
const FloatKernels& BestFloatKernels();

// Multiplies the levels of `source` by `factor`, resizes to `size`, and writes `window` of the
// result to `out`, interleaved RGB, rows `stride` floats apart. Thread-safe.
// REQUIRES: the filter is kBilinear or kBicubic; sizes positive; the window lies within `size`.
void ResampleFloat(const Image& source, float factor, Filter filter, Size size,
                   const Window& window, const FloatKernels& kernels, float* out,
                   std::ptrdiff_t stride);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_RESAMPLE_FLOAT_H_
