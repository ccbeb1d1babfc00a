// The kernel of float_kernel.h for AVX2 with FMA: 16 registers of 8 floats. Only functions marked
// PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include "src/model/float_kernel.h"

#ifdef __x86_64__
#include <immintrin.h>

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx2,fma")))

#include "src/model/float_kernel_body.h"
#include "src/model/layer_norm_body.h"
#include "src/model/registers_avx2.h"

namespace pixembed {
namespace {

struct Avx2 : Avx2Panels<Avx2> {
  // As many sums, of 7 loads a step instead of 8: a Zen 3 makes no more of them than products, and
  // is slowed where another thread of the core loads, too.
  static constexpr std::size_t kRows = 4;
  static constexpr std::size_t kVectors = 3;
  static constexpr bool kInterleaved = true;

  PIXEMBED_VECTOR_CODE static void Interleave(const float* rows, std::ptrdiff_t stride,
                                              std::size_t depth, float* to) {
    static_assert(kRows == 4);
    std::size_t k = 0;
    for (; k + kLanes <= depth; k += kLanes, to += kRows * kLanes) {
      // Of their half h: steps 4 h and 4 h + 1, 4 h + 2 and 4 h + 3.
      const __m256 low01 = _mm256_unpacklo_ps(Load(rows + k), Load(rows + stride + k));
      const __m256 high01 = _mm256_unpackhi_ps(Load(rows + k), Load(rows + stride + k));
      const __m256 low23 =
          _mm256_unpacklo_ps(Load(rows + 2 * stride + k), Load(rows + 3 * stride + k));
      const __m256 high23 =
          _mm256_unpackhi_ps(Load(rows + 2 * stride + k), Load(rows + 3 * stride + k));
      const __m256 step0 = Pairs<0>(low01, low23);
      const __m256 step1 = Pairs<1>(low01, low23);
      const __m256 step2 = Pairs<0>(high01, high23);
      const __m256 step3 = Pairs<1>(high01, high23);
      Store(to, _mm256_permute2f128_ps(step0, step1, 0x20));
      Store(to + 8, _mm256_permute2f128_ps(step2, step3, 0x20));
      Store(to + 16, _mm256_permute2f128_ps(step0, step1, 0x31));
      Store(to + 24, _mm256_permute2f128_ps(step2, step3, 0x31));
    }
    for (; k < depth; ++k, to += kRows) {
      for (std::size_t row = 0; row < kRows; ++row) {
        to[row] = rows[static_cast<std::ptrdiff_t>(row) * stride + static_cast<std::ptrdiff_t>(k)];
      }
    }
  }

  PIXEMBED_VECTOR_CODE static __m256 SelectNegative(__m256 sign, __m256 a, __m256 b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(sign, Zero(), _CMP_LT_OQ));
  }

 private:
  // The low (high) two floats of a half of `a`, and those of `b`.
  template <int high>
  PIXEMBED_VECTOR_CODE static __m256 Pairs(__m256 a, __m256 b) {
    const __m256d x = _mm256_castps_pd(a);
    const __m256d y = _mm256_castps_pd(b);
    return _mm256_castpd_ps(high == 0 ? _mm256_unpacklo_pd(x, y) : _mm256_unpackhi_pd(x, y));
  }
};

}  // namespace

const FloatKernel* Avx2FloatKernel() {
  using Body = FloatBody<Avx2>;
  static constexpr FloatKernel kKernel = {
      .instructions = "AVX2",
      .rows = Avx2::kRows,
      .columns = Body::kColumns,
      .packed_floats = Body::PackedFloats,
      .pack = Body::Pack,
      .scratch_floats = Body::ScratchFloats,
      .run = Body::Run,
      .normalize = LayerNormBody<Avx2>::Run,
  };
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const FloatKernel* Avx2FloatKernel() { return nullptr; }

}  // namespace pixembed

#endif
