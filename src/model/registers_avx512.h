// A register of 16 floats, for the kernels of the room. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_REGISTERS_AVX512_H_
#define PIXEMBED_SRC_MODEL_REGISTERS_AVX512_H_

#include <immintrin.h>

#include <cstddef>
#include <iterator>

#include "src/model/exponential_terms.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

// Kernel: the type that inherits it, of the file's own, as is the instruction set that the file
// compiles this for.
template <typename Kernel>
struct Avx512Floats {
  using Number = float;
  using Floats = __m512;
  using Register = Floats;
  static constexpr std::size_t kLanes = 16;

  PIXEMBED_VECTOR_CODE static __m512 Zero() { return _mm512_setzero_ps(); }
  PIXEMBED_VECTOR_CODE static __m512 Load(const float* from) { return _mm512_loadu_ps(from); }
  // The first repeated beyond `count`, which is above 0 and below kLanes.
  PIXEMBED_VECTOR_CODE static __m512 LoadFirst(const float* from, std::size_t count) {
    return _mm512_mask_loadu_ps(Broadcast(*from), static_cast<__mmask16>((1U << count) - 1U), from);
  }
  PIXEMBED_VECTOR_CODE static void Store(float* to, __m512 x) { _mm512_storeu_ps(to, x); }
  PIXEMBED_VECTOR_CODE static __m512 Broadcast(float x) { return _mm512_set1_ps(x); }
  PIXEMBED_VECTOR_CODE static __m512 Add(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m512 Subtract(__m512 a, __m512 b) { return _mm512_sub_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m512 Multiply(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m512 Divide(__m512 a, __m512 b) { return _mm512_div_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m512 MultiplyAdd(__m512 a, __m512 b, __m512 c) {
    return _mm512_fmadd_ps(a, b, c);
  }
  PIXEMBED_VECTOR_CODE static __m512 Min(__m512 a, __m512 b) { return _mm512_min_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m512 Max(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }
  PIXEMBED_VECTOR_CODE static float ReduceMin(__m512 x) { return _mm512_reduce_min_ps(x); }
  PIXEMBED_VECTOR_CODE static float ReduceMax(__m512 x) { return _mm512_reduce_max_ps(x); }
  PIXEMBED_VECTOR_CODE static float ReduceAdd(__m512 x) { return _mm512_reduce_add_ps(x); }
  PIXEMBED_VECTOR_CODE static bool HasNan(__m512 x) {
    return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q) != 0;
  }
  PIXEMBED_VECTOR_CODE static __m512 Magnitude(__m512 x) { return _mm512_abs_ps(x); }

  // rows[i][j] <-> rows[j][i].
  PIXEMBED_VECTOR_CODE static void Transpose(__m512 (&rows)[kLanes]) {
    // fours[4 i + j]: of its part k, column 4 k + j of the rows 4 i to 4 i + 3.
    __m512 fours[kLanes];
    for (std::size_t i = 0; i < kLanes; i += 4) {
      const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(rows[i], rows[i + 1]));
      const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(rows[i], rows[i + 1]));
      const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(rows[i + 2], rows[i + 3]));
      const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(rows[i + 2], rows[i + 3]));
      fours[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
      fours[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
      fours[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));
      fours[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));
    }
    for (std::size_t j = 0; j < 4; ++j) {
      const __m512 low0 = _mm512_shuffle_f32x4(fours[j], fours[4 + j], 0x44);
      const __m512 high0 = _mm512_shuffle_f32x4(fours[j], fours[4 + j], 0xee);
      const __m512 low1 = _mm512_shuffle_f32x4(fours[8 + j], fours[12 + j], 0x44);
      const __m512 high1 = _mm512_shuffle_f32x4(fours[8 + j], fours[12 + j], 0xee);
      rows[j] = _mm512_shuffle_f32x4(low0, low1, 0x88);
      rows[4 + j] = _mm512_shuffle_f32x4(low0, low1, 0xdd);
      rows[8 + j] = _mm512_shuffle_f32x4(high0, high1, 0x88);
      rows[12 + j] = _mm512_shuffle_f32x4(high0, high1, 0xdd);
    }
  }

  // See ExponentialTerms.
  PIXEMBED_VECTOR_CODE static __m512 Exponential(__m512 x) {
    using Terms = ExponentialTerms;
    const __mmask16 counts = _mm512_cmp_ps_mask(x, Broadcast(Terms::kLowest), _CMP_GE_OQ);
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, Broadcast(Terms::kLog2E)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, Broadcast(Terms::kLn2High), x);
    r = _mm512_fnmadd_ps(n, Broadcast(Terms::kLn2Low), r);
    __m512 sum = Broadcast(Terms::kPolynomial[0]);
    for (std::size_t i = 1; i < std::size(Terms::kPolynomial); ++i) {
      sum = MultiplyAdd(sum, r, Broadcast(Terms::kPolynomial[i]));
    }
    sum = MultiplyAdd(sum, _mm512_mul_ps(r, r), Add(r, Broadcast(1.0F)));
    return _mm512_maskz_scalef_ps(counts, sum, n);
  }
};

// The same, with the shape of PanelProduct: 28 sums, 2 registers of a panel, a factor.
template <typename Kernel>
struct Avx512Panels : Avx512Floats<Kernel> {
  static constexpr std::size_t kRows = 14;
  static constexpr std::size_t kVectors = 2;
  static constexpr std::size_t kDepth = 256;
  static constexpr std::size_t kUnroll = 4;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_REGISTERS_AVX512_H_
