// The kernel of attention_kernel.h for AVX2 with FMA: 16 registers of 8 floats. Only functions
// marked PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include <cstddef>
#include <iterator>

#include "src/model/attention_kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx2,fma")))

#include "src/model/attention_kernel_body.h"

namespace pixembed {
namespace {

struct Avx2 {
  using Register = __m256;
  static constexpr std::size_t kLanes = 8;
  static constexpr std::size_t kRows = 6;
  static constexpr std::size_t kVectors = 2;  // 12 sums, 2 of a row, a factor

  PIXEMBED_VECTOR_CODE static __m256 Zero() { return _mm256_setzero_ps(); }
  PIXEMBED_VECTOR_CODE static __m256 Load(const float* from) { return _mm256_loadu_ps(from); }
  PIXEMBED_VECTOR_CODE static void Store(float* to, __m256 x) { _mm256_storeu_ps(to, x); }
  PIXEMBED_VECTOR_CODE static __m256 Broadcast(float x) { return _mm256_set1_ps(x); }
  PIXEMBED_VECTOR_CODE static __m256 Add(__m256 a, __m256 b) { return _mm256_add_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m256 Subtract(__m256 a, __m256 b) { return _mm256_sub_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m256 MultiplyAdd(__m256 a, __m256 b, __m256 c) {
    return _mm256_fmadd_ps(a, b, c);
  }
  PIXEMBED_VECTOR_CODE static __m256 Max(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
  PIXEMBED_VECTOR_CODE static float ReduceMax(__m256 x) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
  PIXEMBED_VECTOR_CODE static float ReduceAdd(__m256 x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }

  PIXEMBED_VECTOR_CODE static __m256 Exponential(__m256 x) {
    using Terms = ExponentialTerms;
    const __m256 counts = _mm256_cmp_ps(x, Broadcast(Terms::kLowest), _CMP_GE_OQ);
    // So that 2^n is a normal number.
    const __m256 clamped = Max(x, Broadcast(Terms::kLowest));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(clamped, Broadcast(Terms::kLog2E)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, Broadcast(Terms::kLn2High), clamped);
    r = _mm256_fnmadd_ps(n, Broadcast(Terms::kLn2Low), r);
    __m256 sum = Broadcast(Terms::kPolynomial[0]);
    for (std::size_t i = 1; i < std::size(Terms::kPolynomial); ++i) {
      sum = MultiplyAdd(sum, r, Broadcast(Terms::kPolynomial[i]));
    }
    sum = MultiplyAdd(sum, _mm256_mul_ps(r, r), Add(r, Broadcast(1.0F)));
    constexpr int kExponentBias = 127;
    const __m256i exponent =
        _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(kExponentBias));
    const __m256 power = _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
    return _mm256_and_ps(counts, _mm256_mul_ps(sum, power));
  }
};

}  // namespace

const AttentionKernel* Avx2AttentionKernel() {
  static constexpr AttentionKernel kKernel = {AttentionBody<Avx2>::Run,
                                              AttentionBody<Avx2>::ScratchFloats};
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const AttentionKernel* Avx2AttentionKernel() { return nullptr; }

}  // namespace pixembed

#endif
