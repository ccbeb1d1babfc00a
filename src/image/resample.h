// Resizing of uint8 RGB pixels, bit-identical to Pillow 13 or to ATen's antialiased uint8 kernels.
//
// Internal to the room. Two passes of one axis each, with a uint8 intermediate. Only what the
// window needs is computed. Scalar and SIMD kernels give the same bits.
// Source: Pillow 13.0.0 src/libImaging/Resample.c ImagingResampleInner; torch 2.11.0
// aten/src/ATen/native/cpu/UpSampleKernelAVXAntialias.h upsample_avx_bilinear_bicubic_uint8.
#ifndef PIXEMBED_SRC_IMAGE_RESAMPLE_H_
#define PIXEMBED_SRC_IMAGE_RESAMPLE_H_

#include <cstddef>
#include <cstdint>

#include "src/image/image.h"
#include "src/image/taps.h"

namespace pixembed {

// A part of a picture: rows [top, top + height), columns [left, left + width).
struct Window {
  int top = 0;
  int left = 0;
  int height = 0;
  int width = 0;
};

// The two inner loops. Pixels are interleaved RGB; counts are of pixels unless said otherwise.
struct ResampleKernels {
  // Rows that one call of `horizontal` takes.
  static constexpr int kRows = 4;
  // Bytes that `horizontal` may touch beyond its last input and beyond its last output pixel.
  static constexpr int kSlack = 8;

  // Resizes `rows` <= kRows rows along x: out[r][i] from in[r][taps.first[i] ...]. Weights of zero
  // are applied too: of each in[r], 3 * (taps.end() + taps.stride) + kSlack bytes must be readable,
  // of each out[r], 3 * taps.outputs() + kSlack bytes writable.
  void (*horizontal)(const AxisTaps& taps, const std::uint8_t* const* in, int rows,
                     std::uint8_t* const* out);
  // Output row i of a resize along y, `bytes` bytes: out[x] from in[t][x], t < taps.count[i]. `in`
  // has an entry, of any readable row, for t = taps.count[i] too.
  void (*vertical)(const AxisTaps& taps, int i, const std::uint8_t* const* in, int bytes,
                   std::uint8_t* out);
};

// Portable.
const ResampleKernels& ScalarKernels();
// nullptr where this build or this processor has no AVX2.
const ResampleKernels* Avx2Kernels();
// The fastest that this processor has.
const ResampleKernels& BestKernels();

// Resizes `source` to `size` as the backend does, and writes `window` of the result to `out`, rows
// `stride` bytes apart. Thread-safe.
// REQUIRES: the backend has the filter; sizes positive; the window lies within `size`.
void Resample(const Image& source, Backend backend, Filter filter, Size size, const Window& window,
              const ResampleKernels& kernels, std::uint8_t* out, std::ptrdiff_t stride);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_RESAMPLE_H_
