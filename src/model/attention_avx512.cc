// The kernel of attention_kernel.h for AVX-512: 32 registers of 16 floats. Only functions marked
// PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include <cstddef>
#include <iterator>

#include "src/model/attention_kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx512f")))

#include "src/model/attention_kernel_body.h"

namespace pixembed {
namespace {

struct Avx512 {
  using Register = __m512;
  static constexpr std::size_t kLanes = 16;
  static constexpr std::size_t kRows = 6;
  static constexpr std::size_t kVectors = 4;  // 24 sums, 4 of a row, a factor

  PIXEMBED_VECTOR_CODE static __m512 Zero() { return _mm512_setzero_ps(); }
  PIXEMBED_VECTOR_CODE static __m512 Load(const float* from) { return _mm512_loadu_ps(from); }
  PIXEMBED_VECTOR_CODE static void Store(float* to, __m512 x) { _mm512_storeu_ps(to, x); }
  PIXEMBED_VECTOR_CODE static __m512 Broadcast(float x) { return _mm512_set1_ps(x); }
  PIXEMBED_VECTOR_CODE static __m512 Add(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m512 Subtract(__m512 a, __m512 b) { return _mm512_sub_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m512 MultiplyAdd(__m512 a, __m512 b, __m512 c) {
    return _mm512_fmadd_ps(a, b, c);
  }
  PIXEMBED_VECTOR_CODE static __m512 Max(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }
  PIXEMBED_VECTOR_CODE static float ReduceMax(__m512 x) { return _mm512_reduce_max_ps(x); }
  PIXEMBED_VECTOR_CODE static float ReduceAdd(__m512 x) { return _mm512_reduce_add_ps(x); }

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

}  // namespace

const AttentionKernel* Avx512AttentionKernel() {
  static constexpr AttentionKernel kKernel = {AttentionBody<Avx512>::Run,
                                              AttentionBody<Avx512>::ScratchFloats};
  return __builtin_cpu_supports("avx512f") ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const AttentionKernel* Avx512AttentionKernel() { return nullptr; }

}  // namespace pixembed

#endif
