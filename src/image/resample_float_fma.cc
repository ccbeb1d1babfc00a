// The kernels of resample_float.h for AVX2 with FMA, bit-identical to the scalar ones: every lane
// does what they do, in their order. Only functions marked PIXEMBED_FMA hold such code, so that the
// library runs where there is none.
#include <cstddef>

#include "src/image/resample_float.h"

#ifdef __x86_64__
#include <immintrin.h>

#define PIXEMBED_FMA __attribute__((target("avx2,fma")))

namespace pixembed {
namespace {

constexpr int kLanes = FloatKernels::kLanes;
constexpr int kBlock = FloatKernels::kBlock;

PIXEMBED_FMA void HorizontalFma(const FloatTaps& taps, const float* in, float* out) {
  const float* weights = taps.weights.data();
  for (int i = 0; i < taps.outputs(); ++i, weights += taps.stride, out += kLanes) {
    const float* pixel = in + std::ptrdiff_t{taps.first[i]} * kLanes;
    const int count = taps.count[i];
    const int fused = taps.fused(i);
    __m128 sum = _mm_mul_ps(_mm_loadu_ps(pixel), _mm_broadcast_ss(weights));
    int t = 1;
    for (; t < fused; ++t) {
      const __m128 product = _mm_mul_ps(_mm_loadu_ps(pixel + std::ptrdiff_t{t} * kLanes),
                                        _mm_broadcast_ss(weights + t));
      sum = _mm_add_ps(sum, product);
    }
    for (; t < count; ++t) {
      sum = _mm_fmadd_ps(_mm_loadu_ps(pixel + std::ptrdiff_t{t} * kLanes),
                         _mm_broadcast_ss(weights + t), sum);
    }
    _mm_storeu_ps(out, sum);
  }
}

PIXEMBED_FMA void VerticalFma(const FloatTaps& taps, int i, const float* const* in, int floats,
                              float* out) {
  const float* const weights = taps.weights.data() + static_cast<std::ptrdiff_t>(i) * taps.stride;
  const int count = taps.count[i];
  const int fused = taps.fused(i);
  for (int x = 0; x < floats; x += kBlock) {
    __m256 weight = _mm256_broadcast_ss(weights);
    __m256 low = _mm256_mul_ps(_mm256_loadu_ps(in[0] + x), weight);
    __m256 high = _mm256_mul_ps(_mm256_loadu_ps(in[0] + x + 8), weight);
    int t = 1;
    for (; t < fused; ++t) {
      weight = _mm256_broadcast_ss(weights + t);
      low = _mm256_add_ps(low, _mm256_mul_ps(_mm256_loadu_ps(in[t] + x), weight));
      high = _mm256_add_ps(high, _mm256_mul_ps(_mm256_loadu_ps(in[t] + x + 8), weight));
    }
    for (; t < count; ++t) {
      weight = _mm256_broadcast_ss(weights + t);
      low = _mm256_fmadd_ps(_mm256_loadu_ps(in[t] + x), weight, low);
      high = _mm256_fmadd_ps(_mm256_loadu_ps(in[t] + x + 8), weight, high);
    }
    _mm256_storeu_ps(out + x, low);
    _mm256_storeu_ps(out + x + 8, high);
  }
}

}  // namespace

const FloatKernels* FmaFloatKernels() {
  static constexpr FloatKernels kKernels = {HorizontalFma, VerticalFma};
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kKernels : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const FloatKernels* FmaFloatKernels() { return nullptr; }

}  // namespace pixembed

#endif
