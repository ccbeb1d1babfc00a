// The weights of a separable resize, one axis at a time.
//
// Internal to the room. Both backends start from the same double-precision weights (filter,
// support, centre and normalisation are the same formulas in the same order) and differ in how they
// turn them into integers.
// Source: Pillow 13.0.0 src/libImaging/Resample.c precompute_coeffs, normalize_coeffs_8bpc; torch
// 2.11.0 aten/src/ATen/native/cpu/UpSampleKernel.cpp _compute_indices_min_size_weights_aa,
// _compute_index_ranges_int16_weights.
#ifndef PIXEMBED_SRC_IMAGE_TAPS_H_
#define PIXEMBED_SRC_IMAGE_TAPS_H_

#include <cstdint>
#include <vector>

#include "src/image/image.h"

namespace pixembed {

// C's conversion, as in the references: towards zero.
inline int Truncate(double value) { return static_cast<int>(value); }

// Output i of an axis is
//   clip(0, 255, (2^(precision-1) + sum over t < count[i] of weight[i][t] * input[first[i] + t])
//                >> precision)
// and the sum fits 32 bits. weight[i][t] = coarse * 2^kFineBits + fine where there are fine parts,
// else coarse: 16-bit parts, because that is what SIMD multiplies.
struct AxisTaps {
  static constexpr int kFineBits = 11;
  // Weights come in groups of this many; a last group is filled up with zeros.
  static constexpr int kGroup = 4;

  int precision = 0;                 // fraction bits of the weights
  int stride = 0;                    // weights per output, a multiple of kGroup
  std::vector<int> first;            // [outputs] first input
  std::vector<int> count;            // [outputs] number of inputs, 1 <= count <= stride
  std::vector<std::int16_t> coarse;  // [outputs, stride]
  std::vector<std::int16_t> fine;    // [outputs, stride], each in [0, 2^kFineBits); or empty

  int outputs() const { return static_cast<int>(first.size()); }
  bool split() const { return !fine.empty(); }
  // The first input that is read, and the end of those that are.
  int begin() const { return first.front(); }
  int end() const { return first.back() + count.back(); }
};

// The taps of outputs [begin, begin + outputs) of an axis that is resized from `input` to `output`
// samples.
// REQUIRES: all positive, begin + outputs <= output; the backend has the filter, and it is not
// kNearest.
AxisTaps ComputeTaps(Backend backend, Filter filter, int input, int output, int begin, int outputs);

// The same for kNearest of the pil backend: the one input of each output.
// Source: Pillow 13.0.0 src/libImaging/Geometry.c ImagingScaleAffine.
std::vector<int> NearestInputs(int input, int output, int begin, int outputs);

// Inputs [begin, end) of an axis.
struct InputRange {
  int begin = 0;
  int end = 0;
};

// What the taps of outputs [begin, begin + outputs), or for kNearest their inputs, reach from first
// to last. REQUIRES: as ComputeTaps.
InputRange ComputeInputRange(Filter filter, int input, int output, int begin, int outputs);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_TAPS_H_
